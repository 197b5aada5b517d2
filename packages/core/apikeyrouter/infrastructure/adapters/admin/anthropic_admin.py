"""Anthropic's administration: workspaces of keys, limits of groups of models.

Limits are a workspace's own where it has some, and its organisation's else; answers name an
account by both.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from apikeyrouter.dialects.json_values import number_in, object_in, objects_in, text_in
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    MINUTE_S,
    Dimension,
    ObservedLimit,
    Provenance,
)
from apikeyrouter.infrastructure.adapters.admin.report import (
    AccountReport,
    AdminReport,
    items,
    keys_like,
    told,
)
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter

_D = Dimension
#: Of a limiter's name, without what it says of caches.
_LIMITERS: Mapping[str, tuple[Dimension, float]] = {
    "requests_per_minute": (_D.REQUESTS, MINUTE_S),
    "requests_per_day": (_D.REQUESTS, DAY_S),
    "tokens_per_minute": (_D.TOKENS, MINUTE_S),
    "tokens_per_day": (_D.TOKENS, DAY_S),
    "input_tokens_per_minute": (_D.INPUT_TOKENS, MINUTE_S),
    "output_tokens_per_minute": (_D.OUTPUT_TOKENS, MINUTE_S),
}
_MESSAGES, _COUNTS = "messages", "messages/count_tokens"
_ROOT = "v1/organizations"


async def report(adapter: HttpAdapter, admin: str, secrets: Mapping[str, str]) -> AdminReport:
    """Ask whose *secrets* are, and what is allowed there."""
    me = await told(adapter, f"{_ROOT}/me", admin)
    organization = text_in(me.get("id"))
    keys: dict[str, list[str]] = {}
    async for key in items(
        adapter, f"{_ROOT}/api_keys?limit=1000&status=active", admin, cursor="after_id"
    ):
        known = keys_like(text_in(key.get("partial_key_hint")), secrets)
        keys.setdefault(_workspace_of(key), []).extend(known)
    told_of = {
        workspace: (tuple(dict.fromkeys(ids)), await _entries_of(adapter, workspace, admin))
        for workspace, ids in keys.items()
        if ids
    }
    groups = _groups_in(adapter, [entry for _, entries in told_of.values() for entry in entries])
    accounts = tuple(
        AccountReport(
            "/".join(filter(None, (organization, workspace))), ids,
            _limits_by_group(adapter, entries, groups),
        )
        for workspace, (ids, entries) in told_of.items()
    )  # fmt: skip
    return AdminReport(accounts, groups)


def _workspace_of(key: dict[str, Any]) -> str:
    """Return the workspace of a key, which older versions of the API tell in another place."""
    scope = object_in(key.get("scope"))
    return text_in(scope.get("workspace_id")) or text_in(key.get("workspace_id"))


async def _entries_of(adapter: HttpAdapter, workspace: str, admin: str) -> list[dict[str, Any]]:
    where = f"{_ROOT}/rate_limits"
    if workspace:
        place = quote(workspace, safe="")
        where = f"{_ROOT}/workspaces/{place}/rate_limits?include_inherited=true"
    return [entry async for entry in items(adapter, where, admin, cursor="page")]


def _groups_in(adapter: HttpAdapter, entries: list[dict[str, Any]]) -> dict[str, str]:
    """Return the group of each model.

    It has a name that one of its models has had here, so that what is known of it stays. Each
    account is told only those models of a group that it may use.
    """
    models_of: dict[str, list[str]] = {}
    for number, entry in enumerate(entries):
        group = text_in(object_in(entry.get("group")).get("id")) or str(number)
        models_of.setdefault(group, []).extend(_models_of(adapter, entry))
    names = {}
    for models in models_of.values():
        if models:
            name = min(adapter.limit_group(model, _MESSAGES) for model in models)
            names.update(dict.fromkeys(models, name))
    return names


def _models_of(adapter: HttpAdapter, entry: dict[str, Any]) -> list[str]:
    listed = entry.get("models")
    if not adapter.per_model or _kind_of(entry) != "model_group" or not isinstance(listed, list):
        return []
    return [model for model in listed if isinstance(model, str) and model]


def _kind_of(entry: dict[str, Any]) -> str:
    return text_in(object_in(entry.get("group")).get("type")) or text_in(entry.get("group_type"))


def _limits_by_group(
    adapter: HttpAdapter, entries: list[dict[str, Any]], groups: Mapping[str, str]
) -> dict[str, tuple[ObservedLimit, ...]]:
    found = {}
    for entry in entries:
        if models := _models_of(adapter, entry):
            found[groups[models[0]]] = _limits_in(entry)
        elif _kind_of(entry) == "token_count" and (name := adapter.limit_group("", _COUNTS)):
            found[name] = _limits_in(entry)
    return found


def _limits_in(entry: dict[str, Any]) -> tuple[ObservedLimit, ...]:
    found = []
    for limiter in objects_in(entry.get("limits")):
        kind = text_in(limiter.get("type")).removesuffix("_cache_aware")
        value = number_in(limiter.get("value"))
        if kind in _LIMITERS and value is not None and value >= 0:
            dimension, period_s = _LIMITERS[kind]
            found.append(
                ObservedLimit(
                    dimension, float(value), period_s=period_s, source=Provenance.ADMIN_API
                )
            )
    return tuple(found)
