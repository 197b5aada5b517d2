"""One key in memory: what the hot path needs of it, beside its record."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import translate
from functools import lru_cache
from typing import Any, NamedTuple

from apikeyrouter.domain.cooldown import Cooldown
from apikeyrouter.domain.models.api_key import USABLE, APIKey, KeyState
from apikeyrouter.domain.models.routing_decision import instant

_MEMORY = 0.9  # share of the old average that stays after one more sample
_IS_WILD = re.compile(r"[*?[]")


class KeyVersion(NamedTuple):
    """What a finding about a key holds for: its state, and the generation of its secret."""

    state: KeyState
    generation: int


@dataclass(slots=True, frozen=True)
class Standing:
    """How a key stands: its state, and until when and why it rests."""

    state: KeyState
    cooldown: Cooldown = field(default_factory=Cooldown)
    cooldown_until: datetime | None = None
    since: datetime | None = None


@dataclass(slots=True, eq=False)
class KeySlot:
    """A key at work.

    Attributes:
        record: The stored record; its state is the truth.
        secret: In the clear, in memory only.
        generation: How often the secret was replaced.
        moves: How often the state changed.
        orders: How often an operator changed it.
        kept_revision: The revision of the record that the store has; `None` if it has none.
        models: Patterns such as `gpt-*`; `None` admits all.
        failed: Calls that did not succeed, for whatever reason lies with the provider.
        refused: Those of them that went into a limit.
        cooldown: No call before it is over.
        success: Decaying share of calls that succeeded.
        latency_s: Decaying average of seconds to the first byte.
        streak: Refusals of the key itself in a row; of calls under way together one counts.
        refused_at: When the last of them was noted.
        turn: Virtual time for taking turns within a scope: grows by 1/weight a call.
        may_try: It was refused as a credential, and one request may find out whether it still is.
        is_withdrawn: It is declared no more: calls under way end, and no other begins.
    """

    record: APIKey
    secret: str = field(repr=False)
    generation: int = 0
    moves: int = 0
    orders: int = 0
    kept_revision: int | None = None
    models: tuple[str, ...] | None = None
    weight: float = 1.0
    priority: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    cooldown: Cooldown = field(default_factory=Cooldown)
    in_flight: int = 0
    success: float = 1.0
    latency_s: float = 0.0
    served: int = 0
    failed: int = 0
    refused: int = 0
    used_at: float = 0.0
    streak: int = 0
    refused_at: float = 0.0
    turn: float = 0.0
    account: str = ""
    may_try: bool = False
    confirmed_invalid: bool = False
    is_withdrawn: bool = False
    #: Where it takes turns; filed by the candidate index.
    candidates: list[Any] = field(default_factory=list, repr=False)

    @property
    def id(self) -> str:
        """The key's id."""
        return self.record.id

    @property
    def provider_id(self) -> str:
        """The provider's id."""
        return self.record.provider_id

    @property
    def is_in_use(self) -> bool:
        """Whether it may be called at all, now or once a wait is over."""
        return (self.record.state in USABLE or self.may_try) and not self.is_withdrawn

    @property
    def version(self) -> KeyVersion:
        """What a finding about it holds for from now on."""
        return KeyVersion(self.record.state, self.generation)

    def standing(self) -> Standing:
        """Return how it stands now."""
        cooldown = replace(self.cooldown)
        record = self.record
        return Standing(record.state, cooldown, record.cooldown_until, record.state_updated_at)

    def stand(self, standing: Standing) -> None:
        """Rest as it did before; the state is moved by the key manager."""
        self.cooldown = replace(standing.cooldown)
        self.record.cooldown_until = standing.cooldown_until
        if standing.since is not None:
            self.record.state_updated_at = standing.since

    def take_secret(self, secret: str, sealed: str) -> None:
        """Use another secret from now on; what was found out about the old one is forgotten."""
        self.secret = secret
        self.record.key_material = sealed
        self.generation += 1
        self.confirmed_invalid = False
        self.streak = 0
        for candidate in self.candidates:
            candidate.refusals = None

    def take_facts(self) -> bool:
        """Go by what its record says of it; tell whether its models or its share are others now."""
        facts = self.record.metadata
        before = self.models, self.weight, self.priority
        models = facts.get("models")
        self.models = tuple(models) if models else None
        self.weight = float(facts.get("weight", 1.0))
        self.priority = int(facts.get("priority", 0))
        self.tags = dict(facts.get("tags") or {})
        return before != (self.models, self.weight, self.priority)

    def serves(self, model: str) -> bool:
        """Tell whether the key's own patterns admit *model*; without one any key will do."""
        return not model or matches(self.models, model)

    def is_awake(self, now: float) -> bool:
        """Tell whether the key may be called at all now."""
        return self.cooldown.until <= now and (self.record.state in USABLE or self.may_try)

    def cause_of_rest(self) -> str:
        """Return why it rests: a failure class or an operator's reason."""
        if self.record.state is KeyState.INVALID:
            return self.cooldown.cause or "key_invalid"
        return self.cooldown.cause

    def snapshot(self) -> APIKey:
        """Return its record, with what has been counted of its use."""
        record = self.record
        record.usage_count = self.served + self.failed
        record.failure_count = self.failed
        if self.used_at:
            record.last_used_at = instant(self.used_at)
        return record

    def note_success(self, latency_s: float, now: float) -> None:
        """Fold in one answered call."""
        self.served += 1
        self.used_at = now
        self.streak = 0
        self.success += (1.0 - self.success) * (1.0 - _MEMORY)
        self.latency_s = (
            self.latency_s * _MEMORY + latency_s * (1.0 - _MEMORY) if self.latency_s else latency_s
        )

    def note_failure(self, now: float) -> None:
        """Fold in one call that the key's provider failed."""
        self.failed += 1
        self.used_at = now
        self.success *= _MEMORY


def matches(patterns: tuple[str, ...] | None, model: str) -> bool:
    """Tell whether any of *patterns* (`gpt-*`) admits *model*; `None` admits all."""
    if patterns is None or model in patterns:
        return True
    wild = _wild(patterns)
    return wild is not None and wild.match(model) is not None


@lru_cache(maxsize=1024)
def _wild(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """Join what is more than a name: most of many keys' patterns are plain names."""
    wild = [translate(pattern) for pattern in patterns if _IS_WILD.search(pattern)]
    return re.compile("|".join(wild)) if wild else None
