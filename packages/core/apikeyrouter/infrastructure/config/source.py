"""A configuration text as plain data that remembers its lines.

YAML (and so JSON) with the few plain types of YAML 1.2: `no` and `on` are
text, `010` is ten. `${NAME}` and `${NAME:-default}` are filled in from the
environment in every text, `$${NAME}` stands for itself, and `file:PATH` is
read where a secret is expected. Knows nothing of what the fields mean.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML without libyaml reads the same, slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.pasted import trimmed

#: Where in the data: names of mappings and positions in lists, outermost first.
FieldPath = tuple[str | int, ...]

MAX_TEXT_CHARS = 4 * 2**20
_MAX_SECRET_BYTES = 64 * 2**10
_MAX_DEPTH = 32
# Aliases can make a small text unfold without end: every node costs, long ones more.
_MAX_COST = 500_000
_COST_CHARS = 64

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"(\$?)\$\{([^{}\n]*)\}")
_REFERENCE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?")
# Braces end a plain text inside {...} and [...]; private characters of the same length do not.
_SHIELD = {"${": "\ue000\ue001", "}": "\ue002"}
_SECRET_FIELDS = {("keys", "secret"), ("clients", "token"), ("providers", "admin_secret")}

_STR, _NULL, _BOOL, _INT, _FLOAT, _MAP, _SEQ = (
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "bool", "int", "float", "map", "seq")
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands and what would be right."""

    path: FieldPath
    text: str
    line: int


@dataclass(slots=True)
class Source:
    """Plain data with the line and the written form of each of its fields.

    Attributes:
        data: Mappings, lists and scalars, references filled in.
        line_by_path: Counted from 1; for an entry of a mapping the line of its name.
        written_by_path: Scalars as written, before anything was filled in.
    """

    data: object = None
    line_by_path: dict[FieldPath, int] = field(default_factory=dict)
    written_by_path: dict[FieldPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: FieldPath) -> int:
        """Return the line of *path*, or of the nearest field around it."""
        while path and path not in self.line_by_path:
            path = path[:-1]
        return self.line_by_path.get(path, 1)

    def report(self, path: FieldPath, text: str) -> None:
        """Note a mistake at *path*."""
        self.problems.append(Problem(path, text, self.line_of(path)))


class _Loader(_SafeLoader):
    """Only composes nodes; constructs nothing."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, r"[-+]?[0-9][0-9_]*", list("-+0123456789")),
    (_FLOAT, r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def read_source(text: str, *, name: str, env: Mapping[str, str]) -> Source:
    """Read *text*; mistakes that leave the rest readable are in `problems`.

    Args:
        name: The file's path: errors name it, and a relative `file:PATH` starts beside it.

    Raises:
        ConfigurationError: The text as a whole cannot be read as YAML.
    """
    root = _compose(text, name)
    source = Source()
    if root is not None:
        reader = _Reader(source, name, env)
        source.data = reader.read(root, ())
    return source


def _compose(text: str, name: str) -> yaml.Node | None:
    if len(text) > MAX_TEXT_CHARS:
        raise ConfigurationError(f"{name}: should not be larger than {MAX_TEXT_CHARS} characters")
    if bad := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise ConfigurationError(f"{name}:{line}: holds the control character {bad[0]!a}")
    shielded = _shield(text)
    try:
        _refuse_depth(shielded, name)
        return yaml.compose(shielded, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The end of the text counts as a line of its own.
        line = min(mark.line, text.count("\n")) + 1 if mark else 1
        raise ConfigurationError(f"{name}:{line}: not valid YAML: {_describe(error)}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{name}: not valid YAML") from None


def _refuse_depth(text: str, name: str) -> None:
    """Raise before nodes are composed, which takes stack for every level."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise ConfigurationError(f"{name}:{line}: nested too deeply")


def _describe(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong without the words of the file, for one may be a secret."""
    problem = re.sub(r"(['\"])(?!<)[^'\"]{2,}\1", "...", error.problem or "malformed")
    if "alias" in problem or "anchor" in problem:
        return f"{problem}; a value that starts with * or & should stand in quotes"
    if "tag" in problem:
        return f"{problem}; a value that starts with ! should stand in quotes"
    return problem


class _Reader:
    """Turns nodes into data, once; one object for one text."""

    def __init__(self, source: Source, name: str, env: Mapping[str, str]) -> None:
        self._source = source
        self._name = name
        self._env = env
        self._cost_left = _MAX_COST

    def read(self, node: yaml.Node, path: FieldPath) -> object:
        """Return the data of *node*, which stands at *path*.

        Raises:
            ConfigurationError: The text nests too deeply or unfolds too far.
        """
        line = self._source.line_by_path.setdefault(path, node.start_mark.line + 1)
        self._cost_left -= 1 + len(node.value) // _COST_CHARS
        if len(path) > _MAX_DEPTH or self._cost_left < 0:
            raise ConfigurationError(f"{self._name}:{line}: nested too deeply or repeats too much")
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node, path)
        self._source.report(path, "YAML tags are not supported: remove what starts with !")
        return None

    def _read_mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, object]:
        data: dict[str, object] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._source.problems.append(Problem(path, "a name should be plain text", line))
                continue
            name = _unshield(name_node.value)
            if name in data:
                first = self._source.line_by_path[*path, name]
                text = f"stands here a second time, first on line {first}: keep one"
                self._source.problems.append(Problem((*path, name), text, line))
                continue
            self._source.line_by_path[*path, name] = line
            data[name] = self.read(value_node, (*path, name))
        return data

    def _read_scalar(self, node: yaml.ScalarNode, path: FieldPath) -> object:
        written = _unshield(node.value)
        self._source.written_by_path[path] = written
        if node.tag == _STR:
            return self._read_text(written, path)
        try:
            return _plain_value(node.tag, written)
        except ValueError:
            self._source.report(
                path, "should be plain text or a number: a value that starts with ! needs quotes"
            )
            return None

    def _read_text(self, written: str, path: FieldPath) -> str | None:
        text = self._fill_in(written, path)
        is_secret = len(path) == 3 and (path[0], path[2]) in _SECRET_FIELDS
        if text is None or not is_secret:
            return text
        # Trimmed before anything is derived from it, such as the key's id.
        text = trimmed(text)
        if text.startswith("file:"):
            return self._read_secret(text.removeprefix("file:"), path)
        return text

    def _fill_in(self, written: str, path: FieldPath) -> str | None:
        """Return *written* with its references replaced, or `None` if one is wrong."""
        missing: list[str] = []

        def value_of(match: re.Match[str]) -> str:
            escaped, body = match[1], _REFERENCE_BODY.fullmatch(match[2])
            if escaped:
                return match[0][1:]
            if body is None:
                missing.append("${...} should hold the name of an environment variable")
                return ""
            value = self._env.get(body[1])
            if not value and body[2] is not None:
                value = body[2]
            if value is None:
                missing.append(
                    f"environment variable {body[1]} is not set: export it, or put it in .env"
                )
            return value or ""

        text = _REFERENCE.sub(value_of, written)
        for reason in missing:
            self._source.report(path, reason)
        return None if missing else text

    def _read_secret(self, written: str, path: FieldPath) -> str | None:
        # A relative path starts at the configuration file, not where the process was started.
        try:
            file = Path(self._name).parent / written
            if not file.is_file():
                reason = "there is no such file"
            elif file.stat().st_size > _MAX_SECRET_BYTES:
                reason = "it is too large for a secret"
            else:
                return trimmed(file.read_text(encoding="utf-8-sig"))
        except OSError as error:
            reason = error.strerror or "the system refuses"
        except ValueError:  # not UTF-8, or a path that cannot exist
            reason = "it should be UTF-8 text"
        self._source.report(path, f"cannot read the secret's file: {reason}")
        return None


def _plain_value(tag: str, written: str) -> object:
    """Return the value of a scalar that is not text.

    Raises:
        ValueError: The tag is not one of the plain types, or does not fit.
    """
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return written.lower() == "true"
    if tag == _INT:
        return int(written.replace("_", ""))
    if tag == _FLOAT:
        return float(written)
    raise ValueError(tag)


def _shield(text: str) -> str:
    return _REFERENCE.sub(lambda match: f"{match[1]}{_SHIELD['${']}{match[2]}{_SHIELD['}']}", text)


def _unshield(text: str) -> str:
    return text.replace(_SHIELD["${"], "${").replace(_SHIELD["}"], "}")
