"""Plain text for people: columns, and nothing that a terminal would obey."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
#: A heading, and what stands below it.
Column = tuple[str, Callable[[Row], object]]


def table(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a table; nothing but its headings where there are no rows."""
    lines = [
        [heading for heading, _ in columns],
        *([plain(cell(row)) for _, cell in columns] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def facts(columns: Sequence[Column], row: Row) -> Iterator[str]:
    """Yield a line for each fact of one thing."""
    width = max(len(heading) for heading, _ in columns)
    for heading, cell in columns:
        yield f"{heading.ljust(width)}  {plain(cell(row))}".rstrip()


def plain(value: object) -> str:
    """Return a value as it may stand in a line; what is not known is a dash."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return plain(", ".join(f"{name}={plain(part)}" for name, part in value.items()) or None)
    if isinstance(value, list | tuple):
        return plain(", ".join(map(plain, value)) or None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.15g}"
    return "".join(sign if sign.isprintable() else "?" for sign in str(value))


def of(name: str) -> Callable[[Row], object]:
    """Return what takes one field of a row."""
    return lambda row: row.get(name)


def moment(name: str) -> Callable[[Row], object]:
    """Return what takes an instant of a row, to the second."""
    return lambda row: _to_the_second(row.get(name))


def _to_the_second(value: object) -> object:
    if not isinstance(value, str):
        return None
    day, _, time = value.partition("T")
    return f"{day} {time[:8]}Z" if time else value
