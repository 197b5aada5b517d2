"""A registered provider: its adapter, its keys, and what is known of the models it serves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from apikeyrouter.domain.accounts.registry import ALL_MODELS
from apikeyrouter.domain.interfaces.provider_adapter import (
    Admission,
    ProviderAdapter,
    Serving,
    WireAdapter,
)
from apikeyrouter.domain.key_slot import KeySlot, matches


@dataclass(slots=True, eq=False)
class ProviderEntry:
    """A registered provider.

    Attributes:
        models: Patterns such as `gpt-*` that it serves; `None` admits any.
        known_models: Names that any of its keys was told to exist, for `/v1/models` and hints.
        listed_by_key: What each key was told by its own list: evidence, never the whole truth,
            since aliases and variants (`model:online`) are rarely listed.
        wire: Its adapter where requests can be built for it; `None` where it is a user's own.
        in_flight: Calls under way.
    """

    id: str
    adapter: ProviderAdapter
    models: tuple[str, ...] | None = None
    known_models: tuple[str, ...] = ()
    listed_by_key: dict[str, frozenset[str]] = field(default_factory=dict)
    slots: dict[str, KeySlot] = field(default_factory=dict)
    wire: WireAdapter | None = field(init=False)
    in_flight: int = 0
    _listed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        # Every request asks several times, and to look at an abstract class costs.
        self.wire = self.adapter if isinstance(self.adapter, WireAdapter) else None

    @property
    def admission(self) -> Admission:
        """How it charges a request that it lets in."""
        return self.wire.admission if self.wire is not None else Admission()

    def serving(self, endpoint: str) -> Serving:
        """Say how it serves *endpoint*; a user's own adapter takes whatever it is asked."""
        return self.wire.serving(endpoint) if self.wire is not None else Serving.NATIVE

    def group(self, model: str, endpoint: str) -> str:
        """Return the group whose limits requests for *model* at *endpoint* share."""
        if self.wire is None:
            return ALL_MODELS
        return self.wire.limit_group(model, endpoint) or ALL_MODELS

    def serves(self, model: str) -> bool:
        """Tell whether its patterns admit *model*; what it lists excludes nothing."""
        return not model or matches(self.models, model)

    def may_serve(self, model: str) -> bool:
        """Tell whether its patterns and those of any of its keys admit *model*."""
        return self.serves(model) and any(slot.serves(model) for slot in self.slots.values())

    def lists(self, model: str) -> bool:
        """Tell whether it is known to serve *model*: by a key's list, or by a pattern for it."""
        if self.models is not None:
            return any(pattern != "*" and fnmatchcase(model, pattern) for pattern in self.models)
        return bool(_names_for(model) & self._listed)

    def lacks(self, model: str) -> bool:
        """Tell whether it has told what it serves, and not *model*."""
        return bool(self._listed) and not self.lists(model)

    def slots_for(self, model: str) -> list[KeySlot]:
        """Return the keys that may serve *model*: not those that lack what another one lists."""
        slots = [slot for slot in self.slots.values() if slot.serves(model)]
        names = _names_for(model)
        if not names & self._listed:
            return slots
        listed = self.listed_by_key
        return [s for s in slots if s.id not in listed or names & listed[s.id]] or slots

    def names(self) -> list[str]:
        """Return the models that it is known to serve by name."""
        if self.known_models:
            return [model for model in self.known_models if self.serves(model)]
        patterns: list[str] = list(self.models or ())
        for slot in self.slots.values():
            patterns += slot.models or ()
        return sorted({name for name in patterns if not set(name) & set("*?[")})

    def note_list(self, key_id: str, models: tuple[str, ...]) -> bool:
        """Take what a key is told to exist, nothing if empty; tell whether anything is new."""
        names = frozenset(models)
        if not names or self.listed_by_key.get(key_id) == names:
            return False
        # Keys of one account are told the same: it is kept once.
        same = (known for known in self.listed_by_key.values() if known == names)
        self.listed_by_key[key_id] = next(same, names)
        lists = {id(known): known for known in self.listed_by_key.values()}
        self._listed = frozenset().union(*lists.values())
        kept = [name for name in self.known_models if name in self._listed]
        self.known_models = tuple(dict.fromkeys([*kept, *models, *sorted(self._listed)]))
        return True

    def forget_list(self, key_id: str) -> bool:
        """Take nothing for told to a key any more, such as to its old secret; names stay known."""
        return self.listed_by_key.pop(key_id, None) is not None


def _names_for(model: str) -> set[str]:
    """Return the names under which *model* may be listed: variants (`m:online`) rarely are."""
    return {model, model.rpartition(":")[0], model.partition(":")[0]} - {""}


#: A provider, and its own name of a model.
Target = tuple[ProviderEntry, str]


def by_serving(targets: Sequence[Target], endpoint: str) -> Iterator[list[Target]]:
    """Yield who serves *endpoint* as it is, then who does by translation; leave the others out."""
    for serving in (Serving.NATIVE, Serving.TRANSLATED):
        yield [target for target in targets if target[0].serving(endpoint) is serving]
