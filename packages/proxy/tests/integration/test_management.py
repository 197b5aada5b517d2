"""The management API from outside: who is let in, and how errors look."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = "management-key-of-the-tests"
RIGHT = {"X-API-Key": KEY}
ROUTES = [
    ("GET", "/api/v1/keys"),
    ("POST", "/api/v1/keys"),
    ("GET", "/api/v1/keys/key-1"),
    ("PATCH", "/api/v1/keys/key-1"),
    ("DELETE", "/api/v1/keys/key-1"),
    ("POST", "/api/v1/keys/key-1/rotate"),
    ("POST", "/api/v1/keys/key-1/revoke"),
    ("POST", "/api/v1/keys/key-1/test"),
    ("GET", "/api/v1/clients"),
    ("POST", "/api/v1/clients"),
    ("GET", "/api/v1/clients/team"),
    ("PATCH", "/api/v1/clients/team"),
    ("DELETE", "/api/v1/clients/team"),
    ("POST", "/api/v1/clients/team/rotate"),
    ("POST", "/api/v1/keys/import"),
    ("GET", "/api/v1/audit"),
    ("GET", "/api/v1/policies"),
    ("POST", "/api/v1/budgets"),
    ("GET", "/api/v1/providers"),
    ("GET", "/api/v1/providers/openai"),
    ("GET", "/api/v1/accounts"),
    ("GET", "/api/v1/accounts/p1/key-1"),
    ("GET", "/api/v1/state"),
    ("GET", "/api/v1/requests"),
    ("GET", "/api/v1/requests/absent"),
    ("GET", "/api/v1/config"),
    ("POST", "/api/v1/config/validate"),
    ("GET", "/api/v1/nothing"),
    ("PUT", "/api/v1/keys"),
]


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    return manage()


def problem_of(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """Return the problem details of a refusal, whose shape is checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors", "request_id"}
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    return problem


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_is_let_in_without_the_key(client: httpx2.Client, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Basic Zm9v"}):
        refused = client.request(method, path, headers=headers)
        problem_of(refused, 401)
        assert refused.headers["www-authenticate"].startswith("Bearer ")
    for headers in ({"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}):
        assert (
            "not the management key"
            in problem_of(client.request(method, path, headers=headers), 401)["detail"]
        )
    for headers in (RIGHT, {"Authorization": f"bearer {KEY}"}):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code not in (401, 403, 429, 500)


@pytest.mark.parametrize("headers", [{}, RIGHT])
def test_without_a_configured_key_it_is_closed(
    manage: Callable[..., httpx2.Client], headers: dict[str, str]
) -> None:
    problem = problem_of(manage(None).get("/api/v1/keys", headers=headers), 403)
    assert "APIKEYROUTER_MANAGEMENT_API_KEY" in problem["detail"]


def test_who_guesses_is_slowed_down_and_says_how_long(client: httpx2.Client) -> None:
    seen = [client.get("/api/v1/keys", headers={"X-API-Key": f"guess-{n}"}) for n in range(40)]
    assert [answer.status_code for answer in seen[:30]] == [401] * 30
    problem_of(seen[-1], 429)
    assert 1 <= int(seen[-1].headers["retry-after"]) <= 3
    # Whoever sends no key guesses nothing; the right one waits like all of that address.
    assert client.get("/api/v1/keys").status_code == 401
    assert client.get("/api/v1/keys", headers=RIGHT).status_code == 429


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("GET", "/api/v1/nothing", None, 404, None),
        ("GET", "/api/v1/keys/absent", None, 404, None),
        ("PATCH", "/api/v1/keys/absent", {"weight": 2}, 404, None),
        ("DELETE", "/api/v1/keys/absent", None, 404, None),
        ("PUT", "/api/v1/keys", None, 405, None),
        ("GET", "/api/v1/providers/nobody", None, 404, None),
        ("GET", "/api/v1/clients/nobody", None, 404, None),
        ("GET", "/api/v1/policies/none", None, 404, None),
        ("GET", "/api/v1/aliases/none", None, 404, None),
        ("PATCH", "/api/v1/budgets/of-the-team", {"limit_usd": 1}, 404, None),
        ("GET", "/api/v1/usage?group_by=colour", None, 422, "group_by"),
        ("GET", "/api/v1/usage?period=week", None, 422, "period"),
        ("GET", "/api/v1/usage?since=1999-01-01T00:00:00Z", None, 422, "since"),
        ("POST", "/api/v1/config/reload", None, 409, None),
        ("POST", "/api/v1/keys/import", [], 422, "body"),
        ("POST", "/api/v1/keys/import", {"keys": {}}, 422, "body"),
        ("POST", "/api/v1/keys/import", [{"provider": "p1"}], 422, "0.secret"),
        ("POST", "/api/v1/keys/import", [{"provider": "x", "secret": "s"}], 422, "provider"),
        ("POST", "/api/v1/clients", {}, 422, "name"),
        ("POST", "/api/v1/clients", {"name": "a/b"}, 422, "name"),
        ("POST", "/api/v1/clients", {"name": "a", "weight": 0}, 422, "weight"),
        ("POST", "/api/v1/clients", {"name": "a", "models": []}, 422, "models"),
        ("POST", "/api/v1/clients", {"name": "a", "limits": {"rpm": 0}}, 422, "limits.rpm"),
        (
            "POST", "/api/v1/clients", {"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, 422,
            "expires_at",
        ),
        ("POST", "/api/v1/clients", {"name": "a", "expires_at": "soon"}, 422, "expires_at"),
        ("GET", "/api/v1/accounts/p1/absent", None, 404, None),
        ("GET", "/api/v1/requests/absent", None, 404, None),
        ("GET", "/api/v1/requests?cursor=none", None, 422, "cursor"),
        ("GET", "/api/v1/requests?since=yesterday", None, 422, "since"),
        ("GET", "/api/v1/state?scope=everything", None, 422, "scope"),
        ("GET", "/api/v1/keys?limit=0", None, 422, "limit"),
        ("GET", "/api/v1/keys?cursor=none", None, 422, "cursor"),
        ("GET", "/api/v1/keys?state=lazy", None, 422, "state"),
        ("POST", "/api/v1/keys", {"provider": "p1"}, 422, "secret"),
        ("POST", "/api/v1/keys", {"provider": "nobody", "secret": "sk-x"}, 422, "provider"),
        ("POST", "/api/v1/keys", {"provider": "p1", "secret": "sk x"}, 422, "secret"),
        ("POST", "/api/v1/keys", {"provider": "p1", "secret": "s", "id": "a/b"}, 422, "id"),
        ("POST", "/api/v1/keys", {"provider": "p1", "secret": "s", "odd": 1}, 422, "odd"),
        ("POST", "/api/v1/keys", {"provider": "p1", "secret": "s", "id": "key-1"}, 409, "id"),
        ("POST", "/api/v1/keys", {"provider": "p1", "secret": "sk-sim-1"}, 409, "secret"),
        ("PATCH", "/api/v1/keys/key-1", {"limits": {"rpm": -1}}, 422, "limits.rpm"),
        ("PATCH", "/api/v1/keys/key-1", {"limits": {"rqm": 1}}, 422, None),
        ("PATCH", "/api/v1/keys/key-1", {"weight": None}, 422, "weight"),
        ("PATCH", "/api/v1/keys/key-1", {"state": "recovering"}, 409, None),
        ("POST", "/api/v1/keys/key-1/rotate", {"secret": ""}, 422, "secret"),
        ("POST", "/api/v1/keys/key-1/rotate", None, 422, "body"),
    ],
)  # fmt: skip
def test_errors_are_problem_details_that_name_the_field(
    client: httpx2.Client, method: str, path: str, body: Any, status: int, field: str | None
) -> None:
    problem = problem_of(client.request(method, path, json=body, headers=RIGHT), status)
    if field is not None:
        assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 422), (b"\xff", 400), (b"[[[", 422), (b"3", 422), (b'{"secret": "sk-leak-123"', 422)],
)
def test_a_body_that_is_no_json_is_told_without_repeating_it(
    client: httpx2.Client, body: bytes, status: int
) -> None:
    headers = {**RIGHT, "content-type": "application/json"}
    answer = client.post("/api/v1/keys", content=body, headers=headers)
    problem_of(answer, status)
    assert "sk-leak" not in answer.text


def test_a_body_of_another_kind_is_told_the_right_one(client: httpx2.Client) -> None:
    headers = {**RIGHT, "content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/api/v1/keys", content=b'{"provider": "p1"}', headers=headers)
    assert "application/json" in problem_of(answer, 415)["detail"]
    problem_of(client.get("/api/v1/keys?limit=0", headers=headers), 422)


def test_browsers_of_named_origins_may_manage_and_others_may_not(
    manage: Callable[..., httpx2.Client],
) -> None:
    client = manage(cors_origins="https://console.example.com")
    asked = {
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "x-api-key, if-match",
    }
    named = {"Origin": "https://console.example.com"}
    preflight = client.options("/api/v1/keys/key-1", headers={**asked, **named})
    assert preflight.status_code == 204
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    for headers, status in ((named, 401), ({**named, **RIGHT}, 200)):
        answer = client.get("/api/v1/keys", headers=headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == named["Origin"]
    foreign = {"Origin": "https://elsewhere.example"}
    assert client.options("/api/v1/keys", headers={**asked, **foreign}).status_code == 403
    answer = client.get("/api/v1/keys", headers={**RIGHT, **foreign})
    assert "access-control-allow-origin" not in answer.headers


def test_description_is_whole_and_open(client: httpx2.Client) -> None:
    assert "swagger" in client.get("/docs").text.lower()
    description = client.get("/openapi.json").json()
    assert "/api/v1/keys/{key_id}" in description["paths"]
    for operations in description["paths"].values():
        for operation in operations.values():
            assert operation["security"]
            refusal = operation["responses"]["422"]["content"]
            assert list(refusal) == ["application/problem+json"]
    dumped = json.dumps(description)
    names = description["components"]["schemas"]
    assert all(f"schemas/{name}" not in dumped for name in ("HTTPValidationError",))
    assert "Problem" in names


def test_starting_does_not_wait_for_the_framework() -> None:
    """The service and its commands start without FastAPI."""
    ask = "import sys, apikeyrouter_proxy.cli.commands as _; print('fastapi' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_an_order_that_is_sent_twice_is_carried_out_once(client: httpx2.Client) -> None:
    body = {"provider": "p1", "secret": "sk-sim-2", "id": "two"}
    headers = {**RIGHT, "Idempotency-Key": "order-1"}
    first = client.post("/api/v1/keys", json=body, headers=headers)
    second = client.post("/api/v1/keys", json=body, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    other = client.post("/api/v1/keys", json={**body, "id": "three"}, headers=headers)
    assert problem_of(other, 422)["errors"][0]["field"] == "Idempotency-Key"
    without = client.post("/api/v1/keys", json=body, headers=RIGHT)
    assert without.status_code == 409
