"""A router furnished as a configuration says."""

from pathlib import Path
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, ConfigurationError
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import create_app
from apikeyrouter_proxy.composition import furnish, read_config

pytestmark = pytest.mark.unit

LATER = """\
version: 1
store: sqlite:///apikeyrouter.db
ledger: redis://user:sk-hidden@host:6379/0
providers:
  claude:
    kind: anthropic
    base_url: https://host/v1
budgets:
  - {limit_usd: 5, period: daily}
policies:
  - {name: a}
"""


def test_part_that_this_version_lacks_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(LATER)
    with pytest.raises(ConfigurationError) as caught:
        read_config(file, {})
    assert str(caught.value).replace(str(file), "router.yaml").splitlines() == [
        "router.yaml:2: store: this version keeps state in memory:// only; leave store out",
        "router.yaml:3: ledger: this version has the local ledger only; leave ledger out",
        "router.yaml:6: providers.claude.kind: this version speaks openai only, not anthropic",
        "router.yaml:8: budgets: this version enforces none; remove them to start without",
        "router.yaml:10: policies: this version applies none; remove them to start without",
    ]


def test_part_that_this_version_lacks_is_refused_without_a_file() -> None:
    config = RouterConfig.model_validate({"budgets": [{"limit_usd": 5, "period": "daily"}]})
    with pytest.raises(ConfigurationError, match=r"^budgets: this version enforces none"):
        create_app(config)


@pytest.mark.parametrize("first", [0, 1], ids=["by the first", "by the second"])
async def test_limits_named_by_one_key_bind_its_scope(first: int) -> None:
    keys: list[dict[str, Any]] = [
        {"provider": "openai", "secret": secret, "scope": "org"} for secret in ("a", "b")
    ]
    keys[first]["limits"] = {"rpm": 60}
    config = RouterConfig.model_validate({"providers": {"openai": {}}, "keys": keys})
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await furnish(router, config)
        router.routes.route_for(Demand(model="gpt-4o", request_id="r"))
        (scope,) = router.get_state_summary()["scopes"]
    assert [(w["dimension"], w["capacity"]) for w in scope["windows"]] == [("requests", 60.0)]
