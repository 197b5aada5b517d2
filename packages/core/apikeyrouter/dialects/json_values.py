"""Members of decoded JSON, read without trusting their types."""

from typing import Any

import msgspec


def text_in(value: object) -> str:
    """Return *value* if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def object_in(value: object) -> dict[str, Any]:
    """Return *value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects_in(value: object) -> list[dict[str, Any]]:
    """Return the objects in *value* if it is a list, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number_in(value: object) -> float | None:
    """Return *value* if it is a number, else `None`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None  # type: ignore[return-value] # it is one


def whole_in(value: object) -> int | None:
    """Return *value* if it is a whole number, else `None`."""
    number = number_in(value)
    return int(number) if number is not None and number == number // 1 else None


def count_in(value: object) -> int:
    """Return *value* if it is a whole number above zero, else 0."""
    return max(whole_in(value) or 0, 0)


def flag_in(value: object) -> bool | None:
    """Return *value* if it is true or false, else `None`."""
    return value if isinstance(value, bool) else None


def decoded(data: bytes | str) -> dict[str, Any]:
    """Return the object that *data* is as JSON, else an empty one."""
    try:
        return object_in(msgspec.json.decode(data))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
