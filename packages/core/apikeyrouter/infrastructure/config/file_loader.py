"""One file of YAML or JSON -> a validated `RouterConfig`.

Everything that is wrong is reported together, a line each: file, line, field
and what would be right. Values are shown as written, those that may hold a
secret never. Starts nothing and keeps nothing.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.model import (
    BudgetConfig,
    ClientConfig,
    KeyConfig,
    PriceConfig,
    ProviderConfig,
    RouterConfig,
    RoutingConfig,
    ServerConfig,
)
from apikeyrouter.infrastructure.config.references import Finding, check_references
from apikeyrouter.infrastructure.config.source import (
    MAX_TEXT_CHARS,
    FieldPath,
    Problem,
    Source,
    read_source,
)
from apikeyrouter.infrastructure.config.values import nearest

__all__ = [
    "BudgetConfig",
    "ClientConfig",
    "Finding",
    "KeyConfig",
    "ProviderConfig",
    "RouterConfig",
    "RoutingConfig",
    "ServerConfig",
    "field_name",
    "load_config",
    "parse_config",
]

#: Finds what is well written and still cannot be used.
Judge = Callable[[RouterConfig], Iterable[Finding]]

_MAX_REPORTED = 40
_MAX_SHOWN_CHARS = 60
_MODEL_BY_SECTION: Mapping[str, type[BaseModel]] = {
    "server": ServerConfig,
    "routing": RoutingConfig,
    "providers": ProviderConfig,
    "keys": KeyConfig,
    "clients": ClientConfig,
    "budgets": BudgetConfig,
    "prices": PriceConfig,
}
#: Documented names that this version does not know yet, by section; "" holds the sections.
_NOT_YET: Mapping[str, frozenset[str]] = {
    "": frozenset({"alerts", "observability"}),
    "server": frozenset({"trusted_proxies", "workers", "sse_keepalive"}),
    "clients": frozenset({"budget_usd", "expires", "tags"}),
}  # fmt: skip
# Addresses may hold a password.
_NEVER_SHOWN = frozenset(
    {"secret", "admin_secret", "token", "store", "ledger", "base_url", "proxy"}
)

# Pydantic's name of a mistake -> what would be right; {...} is filled from its context.
_ADVICE = {
    "missing": "is missing",
    "string_type": "should be text: put a number or true/false in quotes",
    "string_unicode": "should be valid Unicode text",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "should be a smaller number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "decimal_type": "should be an amount such as 100 or 99.50",
    "decimal_parsing": "should be an amount such as 100 or 99.50",
    "finite_number": "should be a finite number",
    "greater_than": "should be above {gt}",
    "greater_than_equal": "should be {ge} or more",
    "less_than_equal": "should be {le} or less",
    "literal_error": "should be one of {expected}",
    "list_type": "should be a list, such as [first, second]",
    "too_short": "should have at least one entry, or be left out",
    "dict_type": "should be a mapping, such as {{name: value}}",
    "model_type": "should be a mapping, such as {{name: value}}",
    "model_attributes_type": "should be a mapping, such as {{name: value}}",
    "value_error": "{error}",
}


def load_config(
    path: str | Path,
    env: Mapping[str, str],
    *,
    known_providers: Collection[str],
    judge: Judge | None = None,
) -> RouterConfig:
    """Read and validate the file at *path*; see `parse_config`.

    Raises:
        ConfigurationError: The file cannot be read, or what it says is wrong.
    """
    return parse_config(
        _read(Path(path)), name=str(path), env=env, known_providers=known_providers, judge=judge
    )


def parse_config(
    text: str,
    *,
    name: str,
    env: Mapping[str, str],
    known_providers: Collection[str],
    judge: Judge | None = None,
) -> RouterConfig:
    """Return the configuration that *text* describes.

    Args:
        name: The file's path: it stands in errors, and a relative `file:PATH` starts beside it.
        env: Where `${NAME}` is looked up.
        known_providers: Names of the catalogue, which need no `kind` and `base_url`.
        judge: What else to refuse, such as parts that a program does not have.

    Raises:
        ConfigurationError: Something is wrong; one line for each mistake, in order of lines.
    """
    source = read_source(text, name=name, env=env)
    data = source.data
    if not _is_mapping(data):
        raise ConfigurationError(f"{name}:1: should be a mapping that begins with 'version: 1'")
    # A section with nothing behind its name is an absent one.
    data = {section: value for section, value in data.items() if value is not None}
    if "version" not in data:
        source.report(("version",), "is missing: the file should begin with 'version: 1'")
    config = _validate(data, source)
    for path, finding in check_references(data, known_providers):
        source.report(path, finding)
    if config is not None and judge is not None:
        for path, finding in judge(config):
            source.report(path, finding)
    if config is None or source.problems:
        raise ConfigurationError("\n".join(_render(source, name)))
    return config


def _read(path: Path) -> str:
    try:
        # A character takes at most four bytes; what is longer is refused by its length.
        with path.open("rb") as file:
            return file.read(4 * MAX_TEXT_CHARS + 4).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: should be UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path is not valid"
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from error


def _is_mapping(data: object) -> TypeGuard[dict[str, object]]:
    return isinstance(data, dict)


def _validate(data: Mapping[str, object], source: Source) -> RouterConfig | None:
    """Return the model, or report what is wrong and return `None`."""
    try:
        return RouterConfig.model_validate(data)
    except ValidationError as error:
        for mistake in error.errors(include_url=False, include_input=False):
            # `[key]` marks that an entry's name is wrong, not its value.
            path = tuple(part for part in mistake["loc"] if part != "[key]")
            source.report(path, _advise(mistake, path, source))
    return None


def _advise(mistake: ErrorDetails, path: FieldPath, source: Source) -> str:
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "extra_forbidden":
        return _advise_name(path)
    advice = _ADVICE[kind].format(**context) if kind in _ADVICE else mistake["msg"]
    written = source.written_by_path.get(path)
    if written is None or "[key]" in mistake["loc"] or _NEVER_SHOWN.intersection(path):
        return advice
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        advice = advice.replace("one of ", "" if len(known) < 2 else "one of ")
        advice += nearest(written, known)
    return f"{advice}; got '{_shown(written)}'"


def _advise_name(path: FieldPath) -> str:
    section = "" if len(path) == 1 else str(path[0])
    if path[-1] in _NOT_YET.get(section, ()):
        return f"this version does not have {path[-1]} yet: leave it out to start without"
    model = RouterConfig if len(path) == 1 else _MODEL_BY_SECTION.get(str(path[0]), RouterConfig)
    known = [_written_name(name, field) for name, field in model.model_fields.items()]
    hint = nearest(str(path[-1]), known) or f"; known are {', '.join(known)}"
    return f"unknown name{hint}"


def _written_name(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name


def _render(source: Source, name: str) -> Iterator[str]:
    """Yield one line for each mistake, the first of each field only."""
    first: dict[FieldPath, Problem] = {}
    for problem in source.problems:
        first.setdefault(problem.path, problem)
    ordered = sorted(first.values(), key=lambda problem: problem.line)
    for problem in ordered[:_MAX_REPORTED]:
        text = _shown(problem.text, limit=None)
        yield f"{name}:{problem.line}: {field_name(problem.path)}: {text}"
    if len(ordered) > _MAX_REPORTED:
        yield f"{name}: and {len(ordered) - _MAX_REPORTED} more"


def field_name(path: FieldPath) -> str:
    """Write a path as a user would: `keys[0].limits.rpm`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in path)
    return "".join(parts).removeprefix(".") or "the file"


def _shown(text: str, *, limit: int | None = _MAX_SHOWN_CHARS) -> str:
    """Return *text* on one printable line."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if limit is None or len(shown) <= limit else f"{shown[:limit]}..."
