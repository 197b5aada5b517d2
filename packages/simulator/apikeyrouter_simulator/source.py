"""Plain data that remembers where it was written, so that a mistake can be shown.

Reads YAML and converts one part at a time; knows nothing of what a scenario is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeVar, get_args, get_type_hints

import msgspec
import yaml

Path = tuple[str | int, ...]
T = TypeVar("T")


class ScenarioError(ValueError):
    """A scenario is wrong; the message names line, field and what would be right."""


@dataclass(slots=True)
class Source:
    """Plain data, the name of its file and the lines of its fields (none if it was no text)."""

    data: object
    name: str = "scenario"
    line_by_path: Mapping[Path, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str, name: str) -> "Source":
        """Read YAML.

        Raises:
            ScenarioError: It is no YAML, or says something twice.
        """
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            line_by_path = dict(_lines(node, ())) if node is not None else {}
            data = loader.construct_document(node) if node is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise ScenarioError(f"{name}{line}: not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError) as error:
            raise ScenarioError(f"{name}: not valid YAML: {error}") from None
        return cls(data, name, line_by_path)

    def mistake(self, path: Path, text: str) -> ScenarioError:
        """Return the error to raise about the field at *path*."""
        at = path
        while at and at not in self.line_by_path:
            at = at[:-1]
        line = f":{self.line_by_path[at]}" if at in self.line_by_path else ""
        where = f"{_written(path)}: " if path else ""
        return ScenarioError(f"{self.name}{line}: {where}{text}")

    def convert(self, value: object, type_: type[T], path: Path) -> T:
        """Make a value of a given type out of plain data.

        Raises:
            ScenarioError: It does not fit.
        """
        if isinstance(value, Mapping) and issubclass(type_, msgspec.Struct):
            self.check_fields(value, type_.__struct_encode_fields__, path)
        try:
            return msgspec.convert(value, type_)
        except msgspec.ValidationError as error:
            text, _, place = str(error).partition(" - at `$")
            inner = [step.partition("[")[0] for step in place.rstrip("`").split(".") if step]
            hint = _nearest_choice(text, type_, inner)
            raise self.mistake((*path, *inner), _in_plain_words(text) + hint) from None

    def check_fields(
        self, value: Mapping[object, object], known: Iterable[str], path: Path
    ) -> None:
        """Raise `ScenarioError` if there is a field that is not known."""
        names = list(known)
        for name in value:
            if name not in names:
                hint = nearest(str(name), names)
                raise self.mistake((*path, str(name)), f"unknown field{hint}")

    def check_known(self, name: str, known: Iterable[str], what: str, path: Path) -> None:
        """Raise `ScenarioError` if *name* is not among the known names of *what*."""
        names = list(known)
        if name not in names:
            raise self.mistake(path, f"unknown {what} '{name}'{nearest(name, names)}")

    def mapping(self, value: object, path: Path) -> Iterator[tuple[str, object]]:
        """Yield the entries of a mapping by name; nothing if it is absent.

        Raises:
            ScenarioError: It is no mapping, or a name is no text.
        """
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise self.mistake(path, "should be a mapping of names")
        for name, entry in value.items():
            if not isinstance(name, str):
                raise self.mistake(path, f"name {name!r} should be text; put it in quotes")
            yield name, entry

    def items(self, value: object, path: Path) -> Iterator[tuple[int, object]]:
        """Yield the entries of a list by position; nothing if it is absent.

        Raises:
            ScenarioError: It is no list.
        """
        if value is None:
            return
        if not isinstance(value, list | tuple):
            raise self.mistake(path, "should be a list")
        yield from enumerate(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the known names when none looks like *name*."""
    names = list(known)
    found = get_close_matches(name, names, 1)
    if found:
        return f"; did you mean '{found[0]}'?"
    return f"; known are {', '.join(names)}" if names else "; none is known"


def _nearest_choice(text: str, type_: type, inner: list[str]) -> str:
    """Return the nearest allowed value when *text* tells of one that is not."""
    if not text.startswith("Invalid enum value") or len(inner) != 1:
        return ""
    choices = [c for c in get_args(get_type_hints(type_)[inner[0]]) if isinstance(c, str)]
    return nearest(text.split("'")[1], choices) if choices else ""


def _in_plain_words(text: str) -> str:
    text = text.replace("Object missing required field", "needs the field")
    return text.replace("`", "'")[:1].lower() + text.replace("`", "'")[1:]


def _written(path: Path) -> str:
    """Write a path as `providers.acorn.headers` or `conditions[2].status`."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]
    return "".join(steps).removeprefix(".")


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    """Yield every field with its line; the line of a named field is that of its name."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            yield from _lines(entry, (*path, number))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                problem = f"'{key.value}' is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
            yield from _lines(value, (*path, key.value))
            yield (*path, key.value), key.start_mark.line + 1
