"""What a simulated world is made of, and the YAML that says so.

A mistake is told by line and field, with what would be right.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import yaml

from apikeyrouter_simulator.limits import CHARGES, LIMIT_NAMES, Algorithm

ConditionKind = Literal[
    "invalid_key",
    "revoked_key",
    "insufficient_quota",
    "status",
    "slow_first_token",
    "tokens_per_s",
    "cut",
    "stall",
    "no_finish",
    "down",
    "limit",
    "consume",
]


class ScenarioError(ValueError):
    """A scenario is wrong; the message names line and field."""


class Fact(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A part of a scenario; unknown fields are mistakes."""


class ScopeFacts(Fact):
    """Who owns limits.

    Attributes:
        limits: By name (`rpm`, `tpm`, `concurrency`, ...).
        hidden: Names that are enforced but told in no header.
        charges_refused: A refused call still counts as a request.
    """

    limits: dict[str, float] = {}
    algorithm: Algorithm = "token_bucket"
    hidden: list[str] = []
    charges_refused: bool = False


class KeyFacts(Fact):
    """A key: its secret (its own name if not given) and the scope it draws on."""

    scope: str
    secret: str | None = None


class ReplyFacts(Fact):
    """How answers are: tokens, seconds to the first one, tokens a second (0 is at once)."""

    tokens: int = 20
    first_token_s: float = 0.0
    tokens_per_s: float = 0.0


class ProviderFacts(Fact):
    """One provider.

    Attributes:
        headers: Dialect of the rate-limit headers; `none` tells nothing at all.
        charge: How a call is charged when it is let in (see `limits.CHARGES`).
        models: Names it serves; none at all serves any.
        account_header: Tell the scope's name as `openai-organization`.
    """

    keys: dict[str, KeyFacts]
    scopes: dict[str, ScopeFacts]
    headers: Literal["openai", "groq", "none"] = "openai"
    charge: str = "openai"
    models: list[str] = []
    reply: ReplyFacts = msgspec.field(default_factory=ReplyFacts)
    account_header: bool = False


class Condition(Fact):
    """Something that happens: to whom, from when, for how long.

    Attributes:
        after_s: Seconds after the start, or after it was added while running.
        for_s: Seconds it lasts; `None` for good.
        times: Requests it befalls; `None` all.
        probability: Of befalling a request.
        status: Of `status`.
        retry_after_s: Told with `status`, if given.
        seconds: Of `slow_first_token`.
        rate: Of `tokens_per_s`.
        chunks: Pieces that still go out before `cut`, `stall`; -1 drops the
            connection without any answer.
        limits: New limits of `limit`, by name.
        requests_per_minute: What another user takes by `consume`.
        fraction: Share of every limit that another user takes by `consume`.
    """

    kind: ConditionKind
    provider: str | None = None
    key: str | None = None
    scope: str | None = None
    model: str | None = None
    after_s: float = 0.0
    for_s: float | None = None
    times: int | None = None
    probability: float = 1.0
    status: int = 500
    retry_after_s: float | None = None
    seconds: float = 1.0
    rate: float = 10.0
    chunks: int = 0
    limits: dict[str, float] = {}
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    fraction: float = 0.0


class Scenario(Fact):
    """A whole world: providers in order (the first also answers under `/v1`), what happens."""

    providers: dict[str, ProviderFacts]
    conditions: list[Condition] = []
    seed: int = 0

    @classmethod
    def parse(cls, text: str, *, name: str = "scenario") -> Self:
        """Read YAML.

        Raises:
            ScenarioError: What is wrong, with line and field.
        """
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ScenarioError(f"{name}: no valid YAML: {error}") from None
        try:
            scenario = msgspec.convert(data, cls)
            _check(scenario)
        except (msgspec.ValidationError, ScenarioError) as error:
            raise ScenarioError(f"{name}{_line_of(str(error), text)}: {error}") from None
        return scenario

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file.

        Raises:
            ScenarioError: It cannot be read, or is wrong.
        """
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{path}: cannot be read: {error}") from None
        return cls.parse(text, name=str(path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build one from plain data.

        Raises:
            ScenarioError: What is wrong, with its field.
        """
        try:
            scenario = msgspec.convert(dict(data), cls)
        except msgspec.ValidationError as error:
            raise ScenarioError(str(error)) from None
        _check(scenario)
        return scenario


def _check(scenario: Scenario) -> None:
    """Check what binds one part to another."""
    if not scenario.providers:
        raise ScenarioError("at least one provider is needed - at `$.providers`")
    for name, provider in scenario.providers.items():
        where = f"$.providers.{name}"
        _known(provider.charge, CHARGES, f"{where}.charge")
        for scope_name, scope in provider.scopes.items():
            _check_limits(scope.limits, f"{where}.scopes.{scope_name}.limits")
            for hidden in scope.hidden:
                _known(hidden, scope.limits, f"{where}.scopes.{scope_name}.hidden")
        for key_name, key in provider.keys.items():
            _known(key.scope, provider.scopes, f"{where}.keys.{key_name}.scope")
    for number, condition in enumerate(scenario.conditions):
        check_condition(condition, scenario, f"$.conditions[{number}]")


def check_condition(condition: Condition, scenario: Scenario, where: str = "$") -> None:
    """Check that a condition speaks of what there is.

    Raises:
        ScenarioError: It does not.
    """
    providers = scenario.providers
    if condition.provider is not None:
        _known(condition.provider, providers, f"{where}.provider")
    if condition.key is not None:
        _known(condition.key, [k for p in providers.values() for k in p.keys], f"{where}.key")
    if condition.scope is not None:
        _known(condition.scope, [s for p in providers.values() for s in p.scopes], f"{where}.scope")
    _check_limits(condition.limits, f"{where}.limits")


def _check_limits(limits: Mapping[str, float], where: str) -> None:
    for name, limit in limits.items():
        _known(name, LIMIT_NAMES, where)
        if not 0 <= limit < 1e15:
            raise ScenarioError(f"{name} should be 0 or more, not {limit} - at `{where}.{name}`")


def _known(name: str, known: Any, where: str) -> None:
    if name not in known:
        near = get_close_matches(name, list(known), 1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
        raise ScenarioError(f"unknown '{name}'{hint} - at `{where}`")


def _line_of(message: str, text: str) -> str:
    """Find the line that a message's path speaks of; empty if it names none."""
    _, _, path = message.rpartition("at `$")
    node = yaml.compose(text)
    steps = path.rstrip("`").replace("[...]", "").replace("]", "").replace("[", ".").split(".")
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == step), node)
        elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
            node = node.value[int(step)]
    return f":{node.start_mark.line + 1}" if node is not None else ""
