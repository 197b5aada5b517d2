"""Who may do what at the management API, and what every answer of it carries."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from apikeyrouter_proxy.api.logins import FAILURES_AT_ONCE

pytestmark = pytest.mark.integration

FULL, LOOKING = "full-key-of-the-tests", "looking-key-of-the-tests"
ORIGIN = "https://console.example.com"


@pytest.fixture
def client(manage: Callable[..., httpx2.Client], monkeypatch: pytest.MonkeyPatch) -> httpx2.Client:
    monkeypatch.setenv("APIKEYROUTER_MANAGEMENT_READ_KEY", LOOKING)
    monkeypatch.setenv("CORS_ORIGINS", ORIGIN)
    return manage(f"older-key,{FULL}", {"server": {"trusted_proxies": ["127.0.0.1"]}})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/keys", 200),
        ("GET", "/api/v1/audit", 200),
        ("GET", "/api/v1/config", 200),
        ("POST", "/api/v1/keys", 403),
        ("POST", "/api/v1/config/validate", 403),
        ("PATCH", "/api/v1/clients/a", 403),
        ("DELETE", "/api/v1/keys/a", 403),
        ("PUT", "/api/v1/nothing", 403),
    ],
)
def test_a_key_that_only_looks_changes_nothing(
    client: httpx2.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path, headers={"X-API-Key": LOOKING})
    assert answer.status_code == status
    if status == 403:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "only look" in answer.json()["detail"]
    # Any of the others may do it, or is told what else is wrong.
    for key in ("older-key", FULL):
        allowed = client.request(method, path, headers={"X-API-Key": key})
        assert allowed.status_code not in (401, 403, 500)


def guess(client: httpx2.Client, forwarded: str) -> int:
    headers = {"X-API-Key": "wrong", "X-Forwarded-For": forwarded}
    return client.get("/api/v1/keys", headers=headers).status_code


def test_wrong_keys_are_counted_by_who_stands_behind_the_proxy(client: httpx2.Client) -> None:
    told = [guess(client, f"10.9.9.{n}, 203.0.113.9") for n in range(FAILURES_AT_ONCE + 2)]
    assert told == [401] * FAILURES_AT_ONCE + [429] * 2
    assert guess(client, "203.0.113.10") == 401


def test_a_forwarded_address_of_a_stranger_is_ignored(
    manage: Callable[..., httpx2.Client],
) -> None:
    client = manage(FULL)
    told = {guess(client, f"203.0.113.{n}") for n in range(FAILURES_AT_ONCE + 2)}
    assert told == {401, 429}


def test_the_audit_log_tells_the_forwarded_address(client: httpx2.Client) -> None:
    headers = {"X-API-Key": FULL, "X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    assert client.post("/api/v1/clients", json={"name": "a"}, headers=headers).status_code == 201
    [row] = client.get("/api/v1/audit", headers=headers).json()["items"]
    assert row["peer"] == "203.0.113.9"


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/api/v1/keys", {"headers": {"X-API-Key": FULL}}, 200),
        ("GET", "/api/v1/keys", {}, 401),
        ("POST", "/api/v1/keys", {"headers": {"X-API-Key": LOOKING}}, 403),
        ("GET", "/api/v1/nothing", {"headers": {"X-API-Key": FULL}}, 404),
        ("PUT", "/api/v1/keys", {"headers": {"X-API-Key": FULL}}, 405),
        ("POST", "/api/v1/keys", {"headers": {"X-API-Key": FULL}, "json": {"x": 1}}, 422),
        ("POST", "/api/v1/keys", {"headers": {"X-API-Key": FULL}, "content": b"{"}, 422),
        ("GET", "/openapi.json", {}, 200),
        ("OPTIONS", "/api/v1/keys", {"headers": {"Access-Control-Request-Method": "POST"}}, 204),
    ],
)
def test_every_answer_carries_what_browsers_need(
    client: httpx2.Client, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    headers = {**more.get("headers", {}), "Origin": ORIGIN}
    answer = client.request(method, path, **{**more, "headers": headers})
    assert answer.status_code == status
    carried = {
        "x-content-type-options": "nosniff", "x-frame-options": "DENY",
        "access-control-allow-origin": ORIGIN, "vary": "Origin",
    }  # fmt: skip
    assert {name: answer.headers[name] for name in carried} == carried
    assert "etag" in answer.headers["access-control-expose-headers"]
