"""Route LLM requests over many API keys: exact quotas, no wasted calls, every choice explained."""

from apikeyrouter.domain.interfaces.provider_adapter import ProviderAdapter, WireAdapter
from apikeyrouter.domain.models.api_key import APIKey, KeyState
from apikeyrouter.domain.models.request_intent import Message, RequestIntent
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.system_response import ResponseChunk, SystemResponse
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.errors import (
    ApiKeyRouterError,
    ConfigurationError,
    NoEligibleKeysError,
    OwnLimitError,
    PinnedKeyError,
    UnknownModelError,
)
from apikeyrouter.infrastructure.config.settings import RouterSettings
from apikeyrouter.router import ApiKeyRouter

__version__ = "0.1.0"

__all__ = [
    "APIKey",
    "ApiKeyRouter",
    "ApiKeyRouterError",
    "ConfigurationError",
    "Demand",
    "ErrorCategory",
    "KeyState",
    "Message",
    "NoEligibleKeysError",
    "ObjectiveType",
    "OwnLimitError",
    "PinnedKeyError",
    "ProviderAdapter",
    "RequestIntent",
    "ResponseChunk",
    "RouterSettings",
    "RoutingObjective",
    "SystemError",
    "SystemResponse",
    "UnknownModelError",
    "WireAdapter",
    "__version__",
]
