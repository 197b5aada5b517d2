"""A simulated world for clients in the same process, and routers over it."""

from typing import Any

from apikeyrouter import ApiKeyRouter
from apikeyrouter.infrastructure.adapters.anthropic_adapter import AnthropicAdapter
from apikeyrouter.infrastructure.adapters.gemini_adapter import GeminiAdapter
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter_simulator import RunningSimulator

HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("weather", "time")
]
_WIDE = {"limits": {"rpm": 60000, "tpm": 100000000}}
SCENARIO: Any = {
    "providers": {
        "sim": {
            "models": ["small", "large"],
            "reply": {"tokens": 8},
            "scopes": {"one": _WIDE, "two": _WIDE},
            "keys": {
                "k1": {"secret": "sk-sim-1", "scope": "one"},
                "k2": {"secret": "sk-sim-2", "scope": "two"},
            },
        },
        "slow": {
            "models": ["tight"],
            "reply": {"tokens": 8},
            "scopes": {"few": {"limits": {"rpm": {"capacity": 120, "used": 119}}}},
            "keys": {"k3": {"secret": "sk-slow-1", "scope": "few"}},
        },
        "claude": {
            "speaks": ["anthropic"],
            "models": ["claude-x"],
            "reply": {"tokens": 8},
            "scopes": {"one": {"limits": {"rpm": 60000}}},
            "keys": {"c1": {"secret": "sk-ant-1", "scope": "one"}},
        },
        "google": {
            "speaks": ["gemini"],
            "models": ["flash"],
            "reply": {"tokens": 8},
            "scopes": {"one": {"limits": {"rpm": 60000}}, "two": {"limits": {"rpm": 60000}}},
            "keys": {
                "g1": {"secret": "AQ.sim-1", "scope": "one"},
                "g2": {"secret": "AQ.sim-2", "scope": "two"},
            },
        },
    }
}


async def router_over(world: RunningSimulator | None, base_url: str = "") -> ApiKeyRouter:
    """Return a router over the simulated providers, or over one at *base_url*."""
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    if world is None:
        await router.register_provider("sim", OpenAIAdapter(base_url=base_url))
        await router.register_key("sk-sim-1", "sim", {"id": "k1"})
        return router
    adapters = {
        "sim": OpenAIAdapter(base_url=world.base_url("sim")),
        "slow": OpenAIAdapter(base_url=world.base_url("slow")),
        "claude": AnthropicAdapter(base_url=f"{world.url}/claude"),
        "google": GeminiAdapter(base_url=f"{world.url}/google"),
    }
    for name, adapter in adapters.items():
        models = tuple(SCENARIO["providers"][name]["models"])
        await router.register_provider(name, adapter, models=models)
        for key, described in SCENARIO["providers"][name]["keys"].items():
            await router.register_key(described["secret"], name, {"id": key})
    return router
