"""Numbered steps that bring a store to the layout of this version: forward only.

A store notes the highest step that it has taken. One that has taken steps which are not
here was written by a newer version, and is refused instead of damaged.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from apikeyrouter.errors import StateStoreError


@dataclass(slots=True, frozen=True)
class Step:
    """One change of a layout: a file such as `0001_records.sql`."""

    number: int
    name: str
    text: str


@cache
def steps_of(family: str) -> tuple[Step, ...]:
    """Return the steps of a family of stores (`sql`, `redis`, `mongo`) in order."""
    found = []
    for entry in files(__package__).joinpath(family).iterdir():
        stem = entry.name.partition(".")[0]
        number, separator, _ = stem.partition("_")
        if separator and number.isdigit():
            found.append(Step(int(number), stem, entry.read_text("utf-8")))
    return tuple(sorted(found, key=lambda step: step.number))


def script(family: str, name: str) -> str:
    """Return the text of a script that stands beside the steps."""
    return files(__package__).joinpath(family, name).read_text("utf-8")


def steps_after(taken: int, name: str, *, store: str, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps that a store has still to take.

    Args:
        taken: The highest number that it has taken; 0 for an empty one.
        name: That step's name.
        store: How errors call it.

    Raises:
        StateStoreError: It has taken a step that is not among *steps*.
    """
    newest = steps[-1].number
    if taken > newest:
        raise StateStoreError(
            f"{store} was written by a newer version: its layout is '{name}', and this one knows "
            f"no further than '{steps[-1].name}'; upgrade apikeyrouter"
        )
    return tuple(step for step in steps if step.number > taken)
