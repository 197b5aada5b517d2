"""The application says what keeps it from starting."""

from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import ProxyApp, create_app
from apikeyrouter_proxy.settings import ProxySettings

pytestmark = pytest.mark.unit

SETTINGS = RouterSettings(log_level="CRITICAL")
KEY = {"id": "same", "provider": "openai"}


async def lifespan_of(app: ProxyApp) -> list[dict[str, Any]]:
    """Start and stop the application; return what it says."""
    said: list[dict[str, Any]] = []
    asked = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(asked)

    async def send(message: Any) -> None:
        said.append(message)

    await app({"type": "lifespan"}, receive, send)
    return said


async def test_start_and_stop_are_told() -> None:
    app = create_app(RouterConfig(), settings=SETTINGS)
    assert [message["type"] for message in await lifespan_of(app)] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_key_that_cannot_be_registered_fails_the_start() -> None:
    keys = [{**KEY, "secret": "sk-1"}, {**KEY, "secret": "sk-2"}]
    config = RouterConfig.model_validate({"providers": {"openai": {}}, "keys": keys})
    app = create_app(config, settings=SETTINGS)
    assert await lifespan_of(app) == [
        {
            "type": "lifespan.startup.failed",
            "message": "key 'same': key 'same' is registered already; "
            "rotate it to change its secret",
        }
    ]
    with pytest.raises(ConfigurationError, match="registered already"):
        await create_app(config, settings=SETTINGS).start()


async def test_any_other_error_fails_the_start_too() -> None:
    router = ApiKeyRouter(config=SETTINGS)
    config = RouterConfig.model_validate({"providers": {"openai": {}}})
    await ProxyApp(config, router, ProxySettings()).start()
    said = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        said.append(message["type"])

    # Its provider is registered already, which is a mistake of whoever built it.
    with pytest.raises(ValueError, match="is registered"):
        await ProxyApp(config, router, ProxySettings())({"type": "lifespan"}, receive, send)
    assert said == ["lifespan.startup.failed"]
