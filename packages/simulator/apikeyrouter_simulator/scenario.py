"""What a simulated world is made of, and the YAML that says so.

A mistake is told by line and field, with what would be right.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import msgspec

from apikeyrouter_simulator import source
from apikeyrouter_simulator.quotas.limits import (
    CHARGES,
    LIMIT_NAMES,
    Algorithm,
    Dimension,
    Settlement,
)
from apikeyrouter_simulator.source import ScenarioError, Source

_S = TypeVar("_S", bound="Scenario")
_MAX_CAPACITY = 1e15
#: Formulas whose charge stays as it was at admission, if nothing else is said.
_UNSETTLED = ("input", "azure")

Tongue = Literal["openai", "responses", "anthropic", "gemini"]
ConditionKind = Literal[
    "invalid_key",
    "revoked_key",
    "insufficient_quota",
    "status",
    "slow_first_token",
    "tokens_per_s",
    "cut",
    "stall",
    "stream_error",
    "no_finish",
    "refuse_upgrade",
    "down",
    "limit",
    "consume",
    "move",
]


class Fact(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A part of a scenario; unknown fields are mistakes."""


class LimitFacts(Fact):
    """A limit that a number does not say enough about.

    Attributes:
        algorithm: How it counts; the scope's if not given.
        hidden: Enforced, but told in no header.
        used: What is taken already at the start.
    """

    capacity: float
    algorithm: Algorithm | None = None
    hidden: bool = False
    used: float = 0.0


class ScopeFacts(Fact):
    """Who owns limits.

    Attributes:
        limits: By name (`rpm`, `tpm`, `concurrency`, ...): a capacity, or more.
        hidden: Names that are enforced but told in no header.
        charges_refused: A refused call still counts as a request.
        first_reset_s: When fixed windows end first, after the start; then once a period.
    """

    limits: dict[str, float | LimitFacts] = {}
    algorithm: Algorithm = "token_bucket"
    hidden: list[str] = []
    charges_refused: bool = False
    first_reset_s: float = 0.0

    @property
    def capacities(self) -> dict[str, float]:
        """The capacity of every limit, by name."""
        return {n: v.capacity if isinstance(v, LimitFacts) else v for n, v in self.limits.items()}

    @property
    def algorithms(self) -> dict[str, Algorithm]:
        """How the limits count that have an algorithm of their own, by name."""
        return {n: v.algorithm for n, v in self._detailed if v.algorithm is not None}

    @property
    def used(self) -> dict[str, float]:
        """What is taken already at the start, by name."""
        return {n: v.used for n, v in self._detailed if v.used}

    @property
    def untold(self) -> list[str]:
        """The names of the limits that no header tells."""
        return [*self.hidden, *(n for n, v in self._detailed if v.hidden)]

    @property
    def _detailed(self) -> list[tuple[str, LimitFacts]]:
        return [(n, v) for n, v in self.limits.items() if isinstance(v, LimitFacts)]


class KeyFacts(Fact):
    """A key: its secret (its own name if not given) and the scope it draws on."""

    scope: str
    secret: str | None = None


class ReplyFacts(Fact):
    """How answers are.

    Attributes:
        tokens: Their median, if they differ.
        tokens_spread: Standard deviation of the logarithm of the tokens; 0: all alike.
        first_token_s: Seconds to the first token; their median, if they differ.
        first_token_spread: Standard deviation of their logarithm; 1 gives a long tail.
        first_token_max_s: No answer takes longer.
        tokens_per_s: Pace of the rest; 0 is at once.
        echoes: Begin with the last word of the chat, so that who asked can be told.
    """

    tokens: int = 20
    tokens_spread: float = 0.0
    first_token_s: float = 0.0
    first_token_spread: float = 0.0
    first_token_max_s: float = 60.0
    tokens_per_s: float = 0.0
    echoes: bool = False


class ProviderFacts(Fact):
    """One provider.

    Attributes:
        speaks: Its tongues; the first one answers where a request could be in several.
        headers: `openai` tells what the tongue of a call has to tell, `groq` calls the
            requests of a day requests; `remaining` tells what is left and nothing else,
            `none` nothing at all.
        charge: How a call is charged when it is let in (see `limits.CHARGES`).
        settles: What becomes of that charge; by the formula, if not given.
        counts: Input tokens of `usage`: a quarter of the `body`, or of its `text` alone.
        models: Names it serves; none at all serves any.
        account_header: Tell the scope's name as `openai-organization`.
        refusals: What a refusal tells: `full` figures and whose they are, the `wait`
            alone, the wait in whole `seconds`, or nothing at all (`bare`). If not given,
            `bare` where headers do not tell the wait either, else `full`.
    """

    keys: dict[str, KeyFacts]
    scopes: dict[str, ScopeFacts]
    speaks: list[Tongue] = msgspec.field(default_factory=lambda: ["openai", "responses"])
    headers: Literal["openai", "groq", "remaining", "none"] = "openai"
    charge: str = "openai"
    settles: Settlement | None = None
    counts: Literal["body", "text"] = "body"
    models: list[str] = []
    reply: ReplyFacts = msgspec.field(default_factory=ReplyFacts)
    account_header: bool = False
    refusals: Literal["full", "wait", "seconds", "bare"] | None = None

    @property
    def settlement(self) -> Settlement:
        """What becomes of a charge when a call ends."""
        return self.settles or ("never" if self.charge in _UNSETTLED else "actual")

    @property
    def refusals_tell(self) -> Literal["full", "wait", "seconds", "bare"]:
        """What a refusal tells."""
        return self.refusals or ("bare" if self.headers in ("none", "remaining") else "full")


class Condition(Fact):
    """Something that happens: to whom, from when, for how long.

    Attributes:
        after_s: Seconds after the start, or after it was added while running.
        for_s: Seconds it lasts; `None` for good.
        times: Requests it befalls; `None` all.
        probability: Of befalling a request.
        status: Of `status`, `stream_error` and `refuse_upgrade`.
        retry_after_s: Told with `status`, if given.
        seconds: Of `slow_first_token`.
        rate: Of `tokens_per_s`.
        chunks: Pieces that still go out before `cut`, `stall`, `stream_error`; -1 of
            `cut` drops the connection without any answer.
        limits: New limits of `limit`, by name.
        factor: What `limit` multiplies every capacity by that is not in *limits*.
        dimension: What *amount* and *per_second* are taken of by `consume`.
        amount: What another user takes at once by `consume`, or what is there of it.
        every_s: Takes *amount* again every so many seconds.
        per_second: What another user takes steadily by `consume`.
        requests_per_minute: What another user takes by `consume`.
        fraction: Share of every limit that another user takes by `consume`.
        to: The scope of the same provider that *key* draws on by `move`.
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
    factor: float = 1.0
    dimension: Dimension = "requests"
    amount: float = 0.0
    every_s: float | None = None
    per_second: float = 0.0
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    fraction: float = 0.0
    to: str | None = None


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
        return _build(cls, Source.read(text, name))

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
        return _build(cls, Source(dict(data)))


def _build(cls: type[_S], written: Source) -> _S:
    """Check the parts, smallest first, so that a mistake is told where it stands; then all."""
    for path, value, type_ in _parts(written):
        written.convert(value, type_, path)
    scenario = written.convert(written.data, cls, ())
    _check(scenario, written)
    return scenario


def _parts(written: Source) -> Iterator[tuple[source.Path, object, type[Fact]]]:
    data = written.data
    if not isinstance(data, Mapping):
        raise written.mistake((), "should be a mapping with `providers`")
    for name, provider in written.mapping(data.get("providers"), ("providers",)):
        path: source.Path = ("providers", name)
        if not isinstance(provider, Mapping):
            raise written.mistake(path, "should be a mapping with `keys` and `scopes`")
        for scope, facts in written.mapping(provider.get("scopes"), (*path, "scopes")):
            limits = facts.get("limits") if isinstance(facts, Mapping) else None
            for limit, value in written.mapping(limits, (*path, "scopes", scope, "limits")):
                if isinstance(value, Mapping):
                    yield (*path, "scopes", scope, "limits", limit), value, LimitFacts
            yield (*path, "scopes", scope), facts, ScopeFacts
        for key, facts in written.mapping(provider.get("keys"), (*path, "keys")):
            yield (*path, "keys", key), facts, KeyFacts
        if "reply" in provider:
            yield (*path, "reply"), provider["reply"], ReplyFacts
        yield path, provider, ProviderFacts
    for number, condition in written.items(data.get("conditions"), ("conditions",)):
        yield ("conditions", number), condition, Condition


def _check(scenario: Scenario, written: Source) -> None:
    """Check what binds one part to another."""
    if not scenario.providers:
        raise written.mistake(("providers",), "at least one provider is needed")
    for name, provider in scenario.providers.items():
        path: source.Path = ("providers", name)
        if not provider.speaks:
            raise written.mistake((*path, "speaks"), "at least one tongue is needed")
        written.check_known(provider.charge, CHARGES, "formula", (*path, "charge"))
        for scope_name, scope in provider.scopes.items():
            at = (*path, "scopes", scope_name)
            _check_limits(scope.capacities, written, (*at, "limits"))
            for hidden in scope.hidden:
                written.check_known(hidden, scope.limits, "limit", (*at, "hidden"))
        for key_name, key in provider.keys.items():
            at = (*path, "keys", key_name, "scope")
            written.check_known(key.scope, provider.scopes, "scope", at)
    for number, condition in enumerate(scenario.conditions):
        _check_condition(condition, scenario, written, ("conditions", number))


def check_condition(condition: Condition, scenario: Scenario) -> None:
    """Check that a condition speaks of what there is.

    Raises:
        ScenarioError: It does not.
    """
    _check_condition(condition, scenario, Source(None, "condition"), ())


def _check_condition(
    condition: Condition, scenario: Scenario, written: Source, path: source.Path
) -> None:
    providers = scenario.providers
    keys = [key for provider in providers.values() for key in provider.keys]
    scopes = [scope for provider in providers.values() for scope in provider.scopes]
    for field, name, known in (
        ("provider", condition.provider, list(providers)),
        ("key", condition.key, keys),
        ("scope", condition.scope, scopes),
        ("to", condition.to, scopes),
    ):
        if name is not None:
            written.check_known(name, known, field, (*path, field))
    _check_limits(condition.limits, written, (*path, "limits"))
    if condition.kind == "move":
        _check_move(condition, scenario, written, path)


def _check_move(
    condition: Condition, scenario: Scenario, written: Source, path: source.Path
) -> None:
    """Check that the key and the scope it moves to are of one provider."""
    for name, provider in scenario.providers.items():
        if condition.key in provider.keys and condition.provider in (None, name):
            if condition.to in provider.scopes:
                return
            raise written.mistake((*path, "to"), f"should be a scope of provider '{name}'")
    raise written.mistake((*path, "key"), "should name the key that moves")


def _check_limits(limits: Mapping[str, float], written: Source, path: source.Path) -> None:
    for name, limit in limits.items():
        written.check_known(name, LIMIT_NAMES, "limit", (*path, name))
        if not 0 <= limit < _MAX_CAPACITY:
            raise written.mistake((*path, name), f"should be 0 or more, not {limit:g}")
