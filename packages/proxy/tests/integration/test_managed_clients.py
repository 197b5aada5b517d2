"""Clients by the management API: tokens hold at once, end at once, and outlive a restart."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"X-API-Key": "management-key-of-the-tests"}


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    return manage()


def add(client: httpx2.Client, name: str, **facts: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/clients", json={"name": name, **facts}, headers=KEY)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/clients/{name}"
    added: dict[str, Any] = answer.json()
    return added


def ask(client: httpx2.Client, token: str | None, model: str = "small") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {**CHAT, "model": model}
    return client.post("/v1/chat/completions", json=body, headers=headers).status_code


def test_once_there_is_a_client_everybody_is_asked_for_a_token(client: httpx2.Client) -> None:
    assert ask(client, None) == 200
    added = add(client, "team", tags={"floor": "3"})
    assert ask(client, added["token"]) == 200
    assert (ask(client, None), ask(client, "akr-wrong")) == (401, 401)
    shown = client.get("/api/v1/clients/team", headers=KEY)
    assert shown.json() == {name: added[name] for name in added if name != "token"}
    assert added["token"] not in shown.text
    assert shown.json()["token_hints"] == [f"…{added['token'][-4:]}"]
    listed = client.get("/api/v1/clients?tag=floor:3", headers=KEY).json()["items"]
    assert [one["name"] for one in listed] == ["team"]
    assert client.delete("/api/v1/clients/team", headers=KEY).status_code == 204
    # Who is gone must not open the door to everybody else.
    assert (ask(client, added["token"]), ask(client, None)) == (401, 401)
    assert client.get("/api/v1/clients/team", headers=KEY).status_code == 404


def test_a_name_is_taken_once(client: httpx2.Client) -> None:
    first = add(client, "team")
    again = client.post("/api/v1/clients", json={"name": "team"}, headers=KEY)
    assert again.status_code == 409
    client.delete("/api/v1/clients/team", headers=KEY)
    second = add(client, "team")
    assert (ask(client, first["token"]), ask(client, second["token"])) == (401, 200)


def test_rotation_ends_the_token_before_unless_they_overlap(client: httpx2.Client) -> None:
    first = add(client, "team")["token"]
    second = client.post("/api/v1/clients/team/rotate", headers=KEY).json()["token"]
    assert (ask(client, first), ask(client, second)) == (401, 200)
    overlap = client.post("/api/v1/clients/team/rotate", json={"overlap_s": 0.4}, headers=KEY)
    third = overlap.json()["token"]
    assert (ask(client, second), ask(client, third)) == (200, 200)
    deadline = time.monotonic() + 5
    while ask(client, second) == 200 and time.monotonic() < deadline:
        pass
    assert (ask(client, second), ask(client, third)) == (401, 200)


def test_models_limits_and_expiry_hold_and_can_be_changed(client: httpx2.Client) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    short = add(client, "short", expires_at=soon.isoformat())["token"]
    token = add(client, "team", models=["large"])["token"]
    assert (ask(client, token), ask(client, token, "large")) == (403, 200)
    change = {"models": ["small"], "limits": {"rpd": 1}}
    changed = client.patch("/api/v1/clients/team", json=change, headers=KEY)
    assert (changed.json()["models"], changed.json()["limits"]) == (["small"], {"rpd": 1})
    stale = {**KEY, "If-Match": '"0"'}
    assert client.patch("/api/v1/clients/team", json={}, headers=stale).status_code == 412
    assert (ask(client, token), ask(client, token)) == (200, 429)
    assert ask(client, short) == 200 or datetime.now(UTC) >= soon
    while datetime.now(UTC) < soon:
        ask(client, short)
    assert ask(client, short) == 401


def test_clients_of_the_file_are_shown_and_changed_there(
    manage: Callable[..., httpx2.Client],
) -> None:
    client = manage(config={"clients": [{"name": "filed", "token": "token-of-the-file"}]})
    assert ask(client, "token-of-the-file") == 200
    other = add(client, "team")
    assert (ask(client, other["token"]), ask(client, "token-of-the-file")) == (200, 200)
    listed = client.get("/api/v1/clients", headers=KEY)
    sources = {one["name"]: one["source"] for one in listed.json()["items"]}
    assert sources == {"filed": "configuration", "team": "management"}
    assert "token-of-the-file" not in listed.text
    for method, path, body in (
        ("POST", "/api/v1/clients", {"name": "filed"}),
        ("PATCH", "/api/v1/clients/filed", {"weight": 2}),
        ("DELETE", "/api/v1/clients/filed", None),
        ("POST", "/api/v1/clients/filed/rotate", None),
    ):
        assert client.request(method, path, json=body, headers=KEY).status_code == 409


def test_clients_are_there_after_a_restart_and_their_tokens_nowhere(
    manage: Callable[..., httpx2.Client], client: httpx2.Client, tmp_path: Path
) -> None:
    token = add(client, "team", models=["small"])["token"]
    gone = add(client, "gone")["token"]
    client.delete("/api/v1/clients/gone", headers=KEY)
    before = client.get("/api/v1/clients", headers=KEY).json()
    client.running.stop()
    again = manage()
    assert (ask(again, token), ask(again, gone), ask(again, None)) == (200, 401, 401)
    assert again.get("/api/v1/clients", headers=KEY).json() == before
    again.running.stop()
    for file in tmp_path.iterdir():
        assert token.encode() not in file.read_bytes()


def test_another_machine_may_call_once_there_are_clients(client: httpx2.Client) -> None:
    foreign = {"Host": "router.example.com"}
    assert client.get("/v1/models", headers=foreign).status_code == 403
    token = add(client, "team")["token"]
    answer = client.get("/v1/models", headers={**foreign, "Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
