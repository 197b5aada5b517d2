"""Every change is stored before it takes effect: where it cannot be, nothing has changed."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = {"X-API-Key": "management-key-of-the-tests"}
POLICY = {"id": "new", "then": {"max_wait": "5s"}}
#: Method, path below /api/v1, body: one for each route that changes something.
CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "/keys", {"id": "new", "provider": "p1", "secret": "sk-new-1"}),
    ("POST", "/keys/import", [{"id": "new", "provider": "p1", "secret": "sk-new-1"}]),
    ("PATCH", "/keys/key-2", {"weight": 3, "tags": {"a": "b"}, "limits": {"rpm": 7}}),
    ("PATCH", "/keys/key-2", {"state": "disabled"}),
    ("POST", "/keys/key-2/rotate", {"secret": "sk-other-1"}),
    ("POST", "/keys/key-2/revoke", {"reason": "lost"}),
    ("DELETE", "/keys/key-2", None),
    ("POST", "/clients", {"name": "new"}),
    ("PATCH", "/clients/team", {"models": ["small"]}),
    ("POST", "/clients/team/rotate", {"overlap_s": 0}),
    ("DELETE", "/clients/team", None),
    ("POST", "/aliases", {"name": "new", "targets": ["p1/large"]}),
    ("PATCH", "/aliases/fast", {"targets": ["p1/large"]}),
    ("DELETE", "/aliases/fast", None),
    ("POST", "/policies", POLICY),
    ("PATCH", "/policies/old", {"priority": 3}),
    ("DELETE", "/policies/old", None),
    ("POST", "/budgets", {"id": "new", "limit_usd": 5, "period": "daily"}),
    ("PATCH", "/budgets/month", {"limit_usd": 7}),
    ("DELETE", "/budgets/month", None),
    ("POST", "/providers", {"id": "new", "base_url": "http://127.0.0.1:9/v1"}),
    ("PATCH", "/providers/lab", {"models": ["x"]}),
    ("DELETE", "/providers/lab", None),
    ("POST", "/accounts/p1/key-1/merge", {"accounts": ["p1/key-2"]}),
    ("POST", "/accounts/p1/key-1/split", {"keys": ["key-1"]}),
    ("PATCH", "/accounts/p1/key-1", {"limits": {"rpm": 3}}),
    ("POST", "/accounts/p1/key-1/topped-up", None),
]
#: Changes nothing that the store has: the last asks a provider, the others read a file.
UNSTORED = {"/keys/{key_id}/test", "/config/validate", "/config/reload"}
LISTS = (
    "keys", "clients", "aliases", "policies", "budgets", "providers?configured=true", "accounts",
    "audit",
)  # fmt: skip


def test_every_route_that_changes_something_is_in_the_table(
    manage: Callable[..., httpx2.Client],
) -> None:
    described = manage().get("/openapi.json").json()["paths"]
    changing = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, operations in described.items()
        for method in operations
        if method != "get" and path.removeprefix("/api/v1") not in UNSTORED
    }
    tried = {(method, _route_of(path)) for method, path, _ in CHANGES}
    assert {(method, _route_of(path)) for method, path in changing} <= tried


def _route_of(path: str) -> str:
    """Return a path with its name left out: `/keys/*/rotate`."""
    parts = path.strip("/").split("/")
    verbs = {"rotate", "revoke", "merge", "split", "topped-up"}
    if len(parts) == 1 or parts[1] == "import":
        return "/".join(parts)
    return f"{parts[0]}/*" + (f"/{parts[-1]}" if parts[-1] in verbs else "")


@pytest.fixture
def client(
    manage: Callable[..., httpx2.Client], config_for: Callable[..., dict[str, Any]], simulator: Any
) -> httpx2.Client:
    made = manage()
    made.headers.update(KEY)
    for path, body in (
        ("providers", {"id": "lab", "base_url": simulator.base_url()}),
        ("keys", {"id": "key-2", "provider": "p1", "secret": "sk-sim-2"}),
        ("aliases", {"name": "fast", "targets": ["p1/small"]}),
        ("policies", {**POLICY, "id": "old"}),
        ("budgets", {"id": "month", "limit_usd": 3, "period": "monthly"}),
    ):
        assert made.post(f"/api/v1/{path}", json=body).status_code == 201
    added = made.post("/api/v1/clients", json={"name": "team"})
    made.token = {"Authorization": f"Bearer {added.json()['token']}"}
    return made


@contextmanager
def refusing_writes(file: Path) -> Iterator[None]:
    """Let the store take nothing any more, until this is over."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        verbs = ("INSERT", "UPDATE", "DELETE")
        for table in tables:
            for verb in verbs:
                database.execute(
                    f"CREATE TRIGGER no_{verb}_{table} BEFORE {verb} ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
                )
        yield
        for table in tables:
            for verb in verbs:
                database.execute(f"DROP TRIGGER no_{verb}_{table}")


def snapshot(client: httpx2.Client) -> dict[str, Any]:
    """Return all that the service shows and does, but for what it counts."""
    lists = {name: client.get(f"/api/v1/{name}").json()["items"] for name in LISTS}
    for key in lists["keys"]:
        for counted in ("requests", "failures", "last_used_at"):
            del key[counted]
    lists["accounts"] = [
        {name: account[name] for name in ("id", "keys", "basis", "cooldown_until")}
        | {"limits": [(w["dimension"], w["period_s"], w["source"]) for w in account["windows"]]}
        for account in lists["accounts"]
    ]
    for provider in lists["providers?configured=true"]:
        # Asked in the background.
        del provider["listed_models"]
    body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
    answers = [
        client.post("/v1/chat/completions", json=body, headers=client.token).status_code
        for _ in range(4)
    ]
    return {**lists, "answers": answers}


@pytest.mark.parametrize(
    ("method", "path", "body"), CHANGES, ids=[f"{m} {p}" for m, p, _ in CHANGES]
)
def test_what_cannot_be_stored_has_no_effect(
    client: httpx2.Client, tmp_path: Path, method: str, path: str, body: Any
) -> None:
    snapshot(client)
    before = snapshot(client)
    with refusing_writes(tmp_path / "router.db"):
        answer = client.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == 503
        assert snapshot(client) == before
    again = client.request(method, f"/api/v1{path}", json=body)
    assert again.status_code in (200, 201, 204), again.text
    assert snapshot(client) != before
