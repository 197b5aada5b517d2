"""Without clients the service answers this machine alone, however it was started."""

import socket
from typing import Any

import httpx2
import pytest

from apikeyrouter import RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import ProxyApp, create_app

pytestmark = pytest.mark.integration

CLIENT = {"name": "a", "token": "t"}


def service(**config: Any) -> ProxyApp:
    facts = RouterConfig.model_validate(config)
    return create_app(facts, settings=RouterSettings(log_level="CRITICAL"))


def own_address() -> str:
    """Return an address of this machine that is not loopback, if it has any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    ("server", "clients", "status"),
    [
        (("127.0.0.1", 8000), [], 200),
        (("::1", 8000), [], 200),
        (("::ffff:127.0.0.1", 8000), [], 200),
        (("10.0.0.5", 8000), [], 403),
        (("0.0.0.0", 8000), [], 403),
        (("fe80::1%eth0", 8000), [], 403),
        (("::ffff:10.0.0.5", 8000), [], 403),
        (["10.0.0.5", 8000], [], 403),
        (("testserver", 80), [], 200),
        (("/run/router.sock", None), [], 200),
        (None, [], 200),
        (("10.0.0.5", 8000), [CLIENT], 200),
    ],
)
async def test_address_decides_who_is_answered(server: Any, clients: Any, status: int) -> None:
    told: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    scope = {"type": "http", "method": "GET", "path": "/health", "headers": [], "server": server}
    await service(clients=clients)(scope, receive, send)
    assert told[0]["status"] == status


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
async def test_stranger_is_told_what_to_do(path: str, serve: Any) -> None:
    address = own_address()
    port = serve(service(), host="0.0.0.0").url.rpartition(":")[2]
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"http://{address}:{port}{path}", content=b'{"model":"m"}')
        assert answer.status_code == 403
        error = answer.json()["error"]
        assert error["code"] == "no_clients"
        assert "add an entry under clients" in error["message"]
        assert answer.headers["x-request-id"]
        local = await client.get(f"http://127.0.0.1:{port}/v1/models")
        assert local.status_code == 200
