"""From a configuration to a router that is ready: providers, keys, names, objective."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apikeyrouter import (
    ApiKeyRouter,
    ConfigurationError,
    ObjectiveType,
    RoutingObjective,
)
from apikeyrouter.infrastructure.config.environment import (
    base_url_variable,
    keys_from_environment,
    merge_dotenv,
    providers_from_environment,
)
from apikeyrouter.infrastructure.config.file_loader import Finding, field_name, load_config
from apikeyrouter.infrastructure.config.model import (
    BudgetConfig,
    KeyConfig,
    ProviderConfig,
    RouterConfig,
)
from apikeyrouter.service import (
    ADMIN_APIS,
    CATALOGUE,
    KINDS,
    AdminReports,
    ConnectionOptions,
    HttpAdapter,
    Layout,
    bare,
    custom_adapter,
    make_adapter,
    missing_address,
)
from apikeyrouter_proxy.storage import with_store

_log = logging.getLogger("apikeyrouter")


def config_path(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file that `read_config` reads; `None` if it reads none."""
    named = path or merge_dotenv(environ).get("APIKEYROUTER_CONFIG_FILE")
    return Path(named) if named else None


def read_config(path: str | Path | None, environ: Mapping[str, str]) -> RouterConfig:
    """Read the named file, else what `APIKEYROUTER_CONFIG_FILE` names, else the environment.

    Raises:
        ConfigurationError: What is wrong, with file, line and field.
    """
    env = merge_dotenv(environ)
    if named := config_path(path, environ):
        config = load_config(named, env, known_providers=frozenset(CATALOGUE), judge=unsupported)
    else:
        config = RouterConfig()
    config = with_store(config, env)
    if config.keys:
        _tell_ignored_addresses(config, env)
        return config
    keys = keys_from_environment(env, CATALOGUE)
    placed = providers_from_environment(env, CATALOGUE)
    providers = dict(config.providers)
    keys = [key for key in keys if _is_placed(key.provider, providers, placed)]
    for name in dict.fromkeys(key.provider for key in keys):
        own = providers.get(name, ProviderConfig())
        providers[name] = own if own.base_url else _placed(own, placed.get(name))
    return config.model_copy(update={"keys": keys, "providers": providers})


def _is_placed(
    name: str, providers: Mapping[str, ProviderConfig], placed: Mapping[str, ProviderConfig]
) -> bool:
    """Tell whether it is known where provider *name* is; if not, say why its keys are left out."""
    own = providers.get(name, ProviderConfig())
    if own.base_url or name in placed or not (missing := missing_address(CATALOGUE[name])):
        return True
    _log.warning("keys of '%s' are left out: %s; set %s", name, missing, base_url_variable(name))
    return False


def _placed(own: ProviderConfig, placed: ProviderConfig | None) -> ProviderConfig:
    if placed is None:
        return own
    return own.model_copy(
        update={"base_url": placed.base_url, "models": own.models or placed.models}
    )


def _tell_ignored_addresses(config: RouterConfig, env: Mapping[str, str]) -> None:
    """Tell of `OPENAI_BASE_URL` and its like: they are for keys from the environment alone."""
    for name in dict.fromkeys(key.provider for key in config.keys):
        variable, own = base_url_variable(name), config.providers.get(name, ProviderConfig())
        if name in CATALOGUE and env.get(variable) and own.base_url is None:
            _log.warning(
                "%s is ignored, since the keys come from a file: set providers.%s.base_url there",
                variable, name,
            )  # fmt: skip


def unsupported(config: RouterConfig) -> Iterator[Finding]:
    """Yield what this version cannot do, rather than do without it silently."""
    for index, budget in enumerate(config.budgets):
        text = wrong_when_over(budget)
        if text:
            yield ("budgets", index, "when_over"), text
    if config.policies:
        yield ("policies",), "this version applies none; remove them to start without"
    for name, provider in config.providers.items():
        if provider.admin_secret is not None and not _layout_of(name, provider).admin:
            yield (
                ("providers", name, "admin_secret"),
                f"no admin API is known here: remove it; {', '.join(ADMIN_APIS)} have one",
            )
    yield from _without_address(config)


def wrong_when_over(budget: BudgetConfig) -> str:
    """Return why what a budget changes once it is spent cannot be; empty if it can."""
    named, objectives = budget.when_over, [objective.value for objective in ObjectiveType]
    if named and (set(named) != {"objective"} or named["objective"] not in objectives):
        return f"should be {{objective: …}}, one of {', '.join(objectives)}"
    if named and budget.mode == "hard":
        return "a hard budget refuses once it is spent: set mode: soft, or remove it"
    if named and budget.scope not in ("global", "per_client", "per_tag"):
        return "is for budgets that are global, per_client or per_tag: remove it"
    return ""


def _layout_of(name: str, provider: ProviderConfig) -> Layout:
    if name in CATALOGUE and provider.kind in (None, CATALOGUE[name].kind):
        return CATALOGUE[name].layout
    return KINDS[provider.kind or "openai"].unknown.layout


def _without_address(config: RouterConfig) -> Iterator[Finding]:
    """Yield what names a provider of the catalogue whose address only the operator knows."""
    missing = {name: text for name, row in CATALOGUE.items() if (text := missing_address(row))}
    for name, provider in config.providers.items():
        if name in missing and provider.base_url is None:
            yield ("providers", name), missing[name]
    for index, key in enumerate(config.keys):
        if key.provider in missing and key.provider not in config.providers:
            text = f"add {key.provider} under providers: {missing[key.provider]}"
            yield ("keys", index, "provider"), text


def refuse_unsupported(config: RouterConfig) -> None:
    """Refuse what `unsupported` finds in a configuration that came from no file.

    Raises:
        ConfigurationError: One line for each such part.
    """
    lines = [f"{field_name(path)}: {finding}" for path, finding in unsupported(config)]
    if lines:
        raise ConfigurationError("\n".join(lines))


def adapter_of(name: str, provider: ProviderConfig) -> HttpAdapter:
    """Make what speaks to a provider.

    Raises:
        ConfigurationError: It cannot be made so.
    """
    dialects = tuple(provider.dialects) if provider.dialects else None
    if name in CATALOGUE and provider.kind in (None, CATALOGUE[name].kind):
        return make_adapter(
            name, base_url=provider.base_url, dialects=dialects,
            stream_usage=provider.stream_usage, api_version=provider.api_version,
            connection=_connection_of(provider),
        )  # fmt: skip
    if provider.base_url is None:
        raise ConfigurationError(f"providers.{name}: base_url is missing: say where it is")
    return custom_adapter(
        name, provider.base_url, kind=provider.kind or "openai", dialects=dialects,
        stream_usage=provider.stream_usage, api_version=provider.api_version,
        connection=_connection_of(provider),
    )  # fmt: skip


def _connection_of(provider: ProviderConfig) -> ConnectionOptions:
    usual = ConnectionOptions()
    return ConnectionOptions(
        proxy=provider.proxy,
        ca_file=provider.ca_file,
        first_token_timeout_s=provider.first_token_timeout,
        stall_timeout_s=provider.stall_timeout or usual.stall_timeout_s,
        learns_stall=provider.stall_timeout is None,
    )


def facts_of(key: KeyConfig) -> dict[str, object]:
    """Return what is registered with a key beside its provider and secret."""
    facts: dict[str, object] = {
        "id": key.id,
        "weight": key.weight,
        "priority": key.priority,
        "tags": key.tags,
        "limits": dict(key.limits),
    }
    if key.scope is not None:
        facts["scope"] = key.scope
    if key.hard:
        facts["hard"] = True
    if key.models is not None:
        facts["models"] = list(key.models)
    return facts


def objective_of(config: RouterConfig) -> RoutingObjective:
    """Return what choices should be good at."""
    routing = config.routing
    if routing.weights:
        weights = {ObjectiveType(name): float(weight) for name, weight in routing.weights.items()}
        heaviest = max(weights, key=lambda name: weights[name])
        return RoutingObjective(primary=heaviest, weights=weights)
    return RoutingObjective(primary=ObjectiveType(routing.objective or ObjectiveType.FAIRNESS))


def target_of(target: str) -> tuple[str, str]:
    """Return the provider and its own name of a model."""
    provider, _, model = target.partition("/")
    return provider, model


def patterns_of(models: object) -> tuple[str, ...] | None:
    """Return what a provider serves; `None` leaves it to its adapter."""
    return tuple(models) if isinstance(models, (list, tuple)) else None


def admin_reports(router: ApiKeyRouter, config: RouterConfig) -> AdminReports:
    """Return what asks the admin APIs of those providers that *config* has a secret for."""
    return AdminReports(
        router.routes, router.quota_awareness_engine, clock=router.now,
        secrets=admin_secrets_of(config), log=router.observability_manager.log,
    )  # fmt: skip


def admin_secrets_of(config: RouterConfig) -> dict[str, str]:
    """Return the administrator's secret of each provider that has one."""
    return {
        name: provider.admin_secret.get_secret_value()
        for name, provider in config.providers.items()
        if provider.admin_secret is not None
    }


def masked(facts: RouterConfig) -> dict[str, Any]:
    """Return the configuration as plain data, every secret as stars."""
    data = facts.model_dump(mode="json")
    data["store"], data["ledger"] = bare(facts.store), bare(facts.ledger)
    for provider in data["providers"].values():
        if provider["proxy"]:
            provider["proxy"] = bare(provider["proxy"])
    for key in data["keys"]:
        key["secret"] = "****"  # noqa: S105 - that is the mask
    for client in data["clients"]:
        client["token"] = "****"  # noqa: S105 - that is the mask
    return data
