"""A router furnished as a configuration says."""

from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.composition import furnish

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("first", [0, 1], ids=["by the first", "by the second"])
async def test_limits_named_by_one_key_bind_its_scope(first: int) -> None:
    keys: list[dict[str, Any]] = [
        {"provider": "openai", "secret": secret, "scope": "org"} for secret in ("a", "b")
    ]
    keys[first]["limits"] = {"rpm": 60}
    config = RouterConfig.model_validate({"providers": {"openai": {}}, "keys": keys})
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await furnish(router, config)
        router.routing_engine.route_for(Demand(model="gpt-4o", request_id="r"))
        (scope,) = router.get_state_summary()["scopes"]
    assert [(w["dimension"], w["capacity"]) for w in scope["windows"]] == [("requests", 60.0)]
