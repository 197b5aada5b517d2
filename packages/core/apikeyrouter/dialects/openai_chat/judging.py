"""What one event of a streamed chat carries."""

from typing import Any

import msgspec

from apikeyrouter.dialects.dialect import Verdict

_EMPTY: tuple[object, ...] = (None, "", [], {})


def judge(data: bytes) -> Verdict:
    """Tell what the data of one event of a chat carries."""
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Verdict.NOTHING
    if not isinstance(event, dict):
        return Verdict.NOTHING
    if _is_failure(event):
        return Verdict.FAILED
    choices = event.get("choices")
    carries = isinstance(choices, list) and any(map(_choice_carries, choices))
    return Verdict.CARRIES if carries else Verdict.NOTHING


def _is_failure(event: dict[str, Any]) -> bool:
    if event.get("error") not in _EMPTY or event.get("type") == "error":
        return True
    return event.get("choices", ()) is None and event.get("error_message") not in _EMPTY


def _choice_carries(choice: object) -> bool:
    if not isinstance(choice, dict):
        return False
    if choice.get("finish_reason") or choice.get("text") or choice.get("message"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(
        value not in _EMPTY for name, value in delta.items() if name != "role"
    )
