"""What binds the entries of a configuration to each other.

Each check reads the plain data, not the validated model, so that one wrong
field elsewhere does not hide these mistakes; what has the wrong shape is
passed over here, since validation reports it.
"""

from collections.abc import Collection, Iterator, Mapping

from apikeyrouter.domain.components.key_manager import derived_id
from apikeyrouter.infrastructure.config.model import refuse_open_service
from apikeyrouter.infrastructure.config.source import FieldPath
from apikeyrouter.infrastructure.config.values import nearest

#: A field and what is wrong with it.
Finding = tuple[FieldPath, str]
_Data = Mapping[str, object]


def check_references(data: _Data, known_providers: Collection[str]) -> Iterator[Finding]:
    """Yield what refers to nothing, stands twice, or leaves the service open to strangers."""
    if isinstance(data.get("providers", {}), dict):
        yield from _check_providers(data, known_providers)
        yield from _check_key_providers(data, known_providers)
        yield from _check_targets(data, known_providers)
    yield from _check_key_ids(data)
    yield from _check_shared_limits(data)
    yield from _check_clients(data)
    yield from _check_budgets(data, known_providers)
    yield from _check_exposure(data)


def _check_providers(data: _Data, known: Collection[str]) -> Iterator[Finding]:
    for name, entry in _mapping(data, "providers").items():
        if name in known or not isinstance(entry, (dict, type(None))):
            continue
        missing = [part for part in ("kind", "base_url") if part not in (entry or {})]
        if missing:
            yield (
                ("providers", name),
                f"not a provider of the catalogue{nearest(name, list(known))}; "
                f"any other one needs {' and '.join(missing)}",
            )


def _check_key_providers(data: _Data, known: Collection[str]) -> Iterator[Finding]:
    there = [*_mapping(data, "providers"), *known]
    for index, key in _entries(data, "keys"):
        provider = _text(key, "provider")
        if provider is not None and provider not in there:
            yield (
                ("keys", index, "provider"),
                f"unknown provider '{provider}'{nearest(provider, there)}; "
                "add it under providers with kind and base_url",
            )


def _check_targets(data: _Data, known: Collection[str]) -> Iterator[Finding]:
    used = {name for _, key in _entries(data, "keys") if (name := _text(key, "provider"))}
    there = sorted({*_mapping(data, "providers"), *used})
    for name, targets in _mapping(data, "models").items():
        for index, target in enumerate(targets if isinstance(targets, list) else []):
            provider = target.partition("/")[0] if isinstance(target, str) else ""
            if provider and "/" in target and provider not in there:
                place = "" if provider in known else " with kind and base_url"
                yield (
                    ("models", name, index),
                    f"provider '{provider}' is not configured{nearest(provider, there)}; "
                    f"add it under providers{place}",
                )


def _check_key_ids(data: _Data) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, key in _entries(data, "keys"):
        key_id = _key_id(key)
        if key_id is None:
            continue
        if key_id in first:
            same = f"id '{key_id}'" if _text(key, "id") else "provider and secret"
            yield ("keys", index), f"has the same {same} as keys[{first[key_id]}]: keep one"
        first.setdefault(key_id, index)


def _check_shared_limits(data: _Data) -> Iterator[Finding]:
    """Yield limits that differ from those of an earlier key; a key may leave them to the other."""
    first: dict[tuple[str, str], tuple[int, dict[str, object]]] = {}
    for index, key in _entries(data, "keys"):
        provider, scope = _text(key, "provider"), _text(key, "scope")
        limits = _mapping(key, "limits")
        if provider is None or scope is None or not limits:
            continue
        before, same = first.setdefault((provider, scope), (index, key))
        if _written(limits) != _written(_mapping(same, "limits")):
            name, other = _key_id(key) or f"keys[{index}]", _key_id(same) or "the key"
            yield (
                ("keys", index, "limits"),
                f"'{name}' names other limits than '{other}' (keys[{before}]) for scope "
                f"'{scope}' of {provider}: keys of one scope share its limits",
            )


def _check_clients(data: _Data) -> Iterator[Finding]:
    for field in ("name", "token"):
        first: dict[str, int] = {}
        for index, client in _entries(data, "clients"):
            value = _text(client, field)
            if value is None:
                continue
            if value in first:
                yield (
                    ("clients", index, field),
                    f"the same {field} as clients[{first[value]}]: every client needs its own",
                )
            first.setdefault(value, index)


def _check_budgets(data: _Data, known: Collection[str]) -> Iterator[Finding]:
    names = {
        "per_provider": [*_mapping(data, "providers"), *known],
        "per_key": [name for _, key in _entries(data, "keys") if (name := _key_id(key))],
        "per_client": [
            name for _, client in _entries(data, "clients") if (name := _text(client, "name"))
        ],
    }
    first: dict[str, int] = {}
    for index, budget in _entries(data, "budgets"):
        budget_id = _text(budget, "id")
        if budget_id is not None and budget_id in first:
            yield (
                ("budgets", index, "id"),
                f"the same id as budgets[{first[budget_id]}]: every budget needs its own",
            )
        first.setdefault(budget_id or "", index)
        scope, scope_id = _text(budget, "scope"), _text(budget, "scope_id")
        there = names.get(scope or "")
        if there is not None and scope_id is not None and scope_id not in there:
            kind = str(scope).removeprefix("per_")
            yield (
                ("budgets", index, "scope_id"),
                f"there is no {kind} '{scope_id}'{nearest(scope_id, there)}",
            )


def _check_exposure(data: _Data) -> Iterator[Finding]:
    host = _text(_mapping(data, "server"), "host")
    if host and (reason := refuse_open_service(host, has_clients=bool(data.get("clients")))):
        yield ("server", "host"), reason


def _mapping(data: _Data, section: str) -> dict[str, object]:
    value = data.get(section)
    return value if isinstance(value, dict) else {}


def _entries(data: _Data, section: str) -> list[tuple[int, dict[str, object]]]:
    value = data.get(section)
    items = value if isinstance(value, list) else []
    return [(index, item) for index, item in enumerate(items) if isinstance(item, dict)]


def _text(entry: _Data, field: str) -> str | None:
    value = entry.get(field)
    return value if isinstance(value, str) else None


def _written(limits: _Data) -> dict[str, str]:
    """Return amounts as text: one that was filled in from the environment is no number yet."""
    return {name: str(amount) for name, amount in limits.items()}


def _key_id(key: _Data) -> str | None:
    if key.get("id") is not None:
        return _text(key, "id")
    provider, secret = _text(key, "provider"), _text(key, "secret")
    return derived_id(provider, secret) if provider and secret else None
