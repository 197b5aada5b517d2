"""What web pages may do with the service, and what browsers are told about it."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
BODY = b'{"model":"small","messages":[{"role":"user","content":"x"}]}'
CONSOLE = "https://console.example.com"


@pytest.fixture
def start(
    simulator: RunningSimulator, serve: Callable[..., Any], config_for: Callable[..., Any]
) -> Callable[..., str]:
    """Run the service with these proxy settings; return its URL."""

    def begin(clients: tuple[dict[str, Any], ...] = (), **settings: Any) -> str:
        config = config_for(simulator.base_url(), clients=list(clients))
        return str(serve(config, **settings).url)

    return begin


async def ask(url: str, method: str = "POST", path: str = CHAT, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(base_url=url) as client:
        return await client.request(method, path, content=BODY, headers=named)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"host": "localhost:8000"}, None),
        ({"host": "LOCALHOST"}, None),
        ({"host": "app.localhost"}, None),
        ({"host": "127.1.2.3:1"}, None),
        ({"host": "[::1]:8000"}, None),
        ({"origin": "http://localhost:3000"}, None),
        ({"host": "evil.example:8000", "origin": "http://evil.example:8000"}, "foreign_host"),
        ({"host": "evil.example"}, "foreign_host"),
        ({"host": "127.0.0.1.evil.example"}, "foreign_host"),
        ({"host": "localhost@evil.example"}, "foreign_host"),
        ({"host": "10.0.0.1:8000"}, "foreign_host"),
        ({"host": "[bad"}, "foreign_host"),
        ({"origin": "https://evil.example", "content_type": "text/plain"}, "foreign_origin"),
        ({"origin": "https://localhost.evil.example"}, "foreign_origin"),
        ({"origin": "null"}, "foreign_origin"),
    ],
)
async def test_open_service_answers_this_machine_alone(
    headers: dict[str, str], code: str | None, start: Any, simulator: RunningSimulator
) -> None:
    answer = await ask(start(), **headers)
    if code is None:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
        assert simulator.stats()["totals"]["accepted"] == 0


async def test_foreign_host_reads_no_models_either(start: Any) -> None:
    answer = await ask(start(), "GET", "/v1/models", host="evil.example")
    assert answer.status_code == 403
    assert "CORS_ORIGINS" in answer.json()["error"]["message"]


async def test_named_origin_may_call_an_open_service_by_its_host_too(start: Any) -> None:
    url = start(cors_origins=f"https://other.example, {CONSOLE}")
    assert (await ask(url, origin=CONSOLE, host="console.example.com")).status_code == 200
    assert (await ask(url, origin="https://evil.example")).status_code == 403
    assert (await ask(start(cors_origins="*"), origin="https://evil.example")).status_code == 200


async def test_token_opens_a_service_with_clients_from_anywhere(start: Any) -> None:
    url = start(clients=({"name": "a", "token": "t"},))
    headers = {"host": "router.example", "origin": "https://evil.example"}
    answer = await ask(url, authorization="Bearer t", **headers)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_preflight_of_a_named_origin_needs_no_token(path: str, start: Any) -> None:
    url = start(clients=({"name": "a", "token": "t"},), cors_origins=CONSOLE)
    asked = {"origin": CONSOLE, "access_control_request_method": "POST"}
    wanted = "authorization,x-stainless-os"
    answer = await ask(url, "OPTIONS", path, **asked, access_control_request_headers=wanted)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == CONSOLE
    assert answer.headers["access-control-allow-headers"] == wanted
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["vary"] == "Origin"
    refused = await ask(url, "OPTIONS", path, **{**asked, "origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


async def test_page_of_a_named_origin_reads_answers_and_refusals(start: Any) -> None:
    url = start(clients=({"name": "a", "token": "t"},), cors_origins=CONSOLE)
    for token, status in (("t", 200), ("wrong", 401)):
        answer = await ask(url, origin=CONSOLE, authorization=f"Bearer {token}")
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == CONSOLE
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_browsers_are_told_to_be_careful(start: Any) -> None:
    for url, hsts in ((start(), False), (start(enable_hsts=True), True)):
        for method, path in (("POST", CHAT), ("GET", "/health"), ("GET", "/nowhere")):
            for scheme in ("http", "https"):
                answer = await ask(url, method, path, x_forwarded_proto=scheme)
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["x-frame-options"] == "DENY"
                is_told = "strict-transport-security" in answer.headers
                assert is_told is (hsts and scheme == "https")
