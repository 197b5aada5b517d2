"""From what a caller of `route` asks for to what a decision may know of it."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.domain.routing.demand import MOST_OUTPUT_TOKENS, Demand
from apikeyrouter.domain.token_estimate import estimate_tokens
from apikeyrouter.errors import ConfigurationError, NoEligibleKeysError


def intent_of(intent: RequestIntent | dict[str, Any]) -> RequestIntent:
    """Return *intent* as such, validated if it is a dict."""
    return intent if isinstance(intent, RequestIntent) else RequestIntent.model_validate(intent)


def objective_of(objective: RoutingObjective | str | None) -> RoutingObjective | None:
    """Return the objective that a name means.

    Raises:
        ConfigurationError: It means none.
    """
    if not isinstance(objective, str):
        return objective
    try:
        return RoutingObjective(primary=ObjectiveType(objective.lower()))
    except ValueError:
        known = ", ".join(ObjectiveType)
        raise ConfigurationError(f"unknown objective '{objective}'; known are {known}") from None


def demand_of(
    intent: RequestIntent,
    objective: RoutingObjective | str | None,
    providers: Collection[str],
    *,
    stream: bool = False,
) -> Demand:
    """Return what a decision may know of *intent*.

    Raises:
        NoEligibleKeysError: It names a provider that is not among *providers*.
    """
    if intent.provider_id is not None and intent.provider_id not in providers:
        known = ", ".join(providers) or "none"
        raise NoEligibleKeysError(
            f"provider '{intent.provider_id}' is not registered; known: {known}"
        )
    body = intent.encoded()
    return Demand(
        model=intent.model,
        request_id=intent.request_id or uuid.uuid4().hex,
        provider_id=intent.provider_id,
        input_tokens=estimate_tokens(body),
        body_bytes=len(body),
        output_cap=_output_cap_of(intent.parameters),
        objective=objective_of(objective),
        priority=intent.priority,
        max_wait=intent.max_wait,
        stream=stream,
        tags=intent.tags,
    )


def _output_cap_of(parameters: Mapping[str, Any]) -> int | None:
    cap = parameters.get("max_completion_tokens", parameters.get("max_tokens"))
    return min(cap, MOST_OUTPUT_TOKENS) if isinstance(cap, int) and cap > 0 else None
