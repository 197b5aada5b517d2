"""What sets one configuration apart from the one before, by names alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from apikeyrouter import ConfigurationError
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import budgets_of

#: What is one value.
_VALUES = ("routing", "prices", "unknown_price")
#: What is taken up once, when the service starts.
_AT_START = ("store", "ledger", "translation")


@dataclass(slots=True, frozen=True)
class Names:
    """Entries of one kind, in the order of the file."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.added or self.changed or self.removed)


def changes_between(before: RouterConfig, after: RouterConfig) -> dict[str, Names]:
    """Return what is added, changed and removed by kind of entry; kinds without any are left out.

    What is one value, such as `routing`, is changed under its own name.
    """
    found = {kind: _compared(entries, _entries(after)[kind]) for kind, entries in
             _entries(before).items()}  # fmt: skip
    for name in _VALUES:
        if getattr(before, name) != getattr(after, name):
            found[name] = Names(changed=(name,))
    return {kind: names for kind, names in found.items() if names}


def plain(changes: Mapping[str, Names]) -> dict[str, dict[str, list[str]]]:
    """Return changes as plain data."""
    return {
        kind: {
            "added": list(names.added),
            "changed": list(names.changed),
            "removed": list(names.removed),
        }
        for kind, names in changes.items()
    }


def refuse_fixed(before: RouterConfig, after: RouterConfig) -> None:
    """Refuse what cannot change while the service runs.

    Raises:
        ConfigurationError: A line for each such field.
    """
    lines = [
        f"{name}: takes effect at a restart only: restart the service, or put it back"
        for name in _fixed(before, after)
    ]
    if lines:
        raise ConfigurationError("\n".join(lines))


def _fixed(before: RouterConfig, after: RouterConfig) -> Iterator[str]:
    for name in type(before.server).model_fields:
        if getattr(before.server, name) != getattr(after.server, name):
            yield f"server.{name}"
    for name in _AT_START:
        if getattr(before, name) != getattr(after, name):
            yield name


def _entries(config: RouterConfig) -> dict[str, Mapping[str, BaseModel | list[str]]]:
    return {
        "providers": config.providers,
        "keys": {str(key.id): key for key in config.keys},
        "models": config.models,
        "clients": {client.name: client for client in config.clients},
        "budgets": {budget.id: budget for budget in budgets_of(config)},
    }


def _compared(before: Mapping[str, object], after: Mapping[str, object]) -> Names:
    return Names(
        tuple(name for name in after if name not in before),
        tuple(name for name in after if name in before and after[name] != before[name]),
        tuple(name for name in before if name not in after),
    )
