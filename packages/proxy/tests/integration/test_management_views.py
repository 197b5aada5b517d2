"""What the management API shows of providers, accounts, requests and the configuration."""

import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    client = manage()
    client.headers["X-API-Key"] = "management-key-of-the-tests"
    return client


def chat(client: httpx2.Client, name: str, model: str = "small") -> httpx2.Response:
    body = {**CHAT, "model": model}
    return client.post("/v1/chat/completions", json=body, headers={"X-Request-ID": name})


def listed(client: httpx2.Client, path: str, **query: Any) -> list[dict[str, Any]]:
    """Return all items of a list, read in pages."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = client.get(path, params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_providers_are_those_in_use_and_those_that_could_be(client: httpx2.Client) -> None:
    used = listed(client, "/api/v1/providers", configured="true")
    assert [one["id"] for one in used] == ["p1"]
    assert (used[0]["keys"], used[0]["usable_keys"]) == (1, 1)
    names = [one["id"] for one in listed(client, "/api/v1/providers", limit=10)]
    assert names == sorted(set(names))
    assert {"openai", "anthropic", "gemini", "p1"} <= set(names)
    assert client.get("/api/v1/providers/p1").json() == used[0]
    assert client.get("/api/v1/providers/openai").json()["configured"] is False


def test_usage_sums_up_what_requests_used(client: httpx2.Client) -> None:
    assert [chat(client, f"counted-{n}").status_code for n in range(3)] == [200] * 3
    assert chat(client, "nobody-serves-it", "none/at-all").status_code == 404
    deadline = time.monotonic() + 20
    while sum(row["requests"] for row in listed(client, "/api/v1/usage")) < 3:
        assert time.monotonic() < deadline
    (row,) = listed(client, "/api/v1/usage", group_by="model,key", period="hour", model="small")
    assert (row["model"], row["key"], row["client"]) == ("small", "key-1", None)
    assert (row["requests"], row["failed"], row["cost_usd"]) == (3, 0, None)
    assert row["input_tokens"] > 0
    assert row["output_tokens"] > 0
    assert listed(client, "/api/v1/usage", key="another") == []
    assert listed(client, "/api/v1/usage", until="2026-01-01T00:00:00Z") == []
    groups = [r["model"] for r in listed(client, "/api/v1/usage", group_by="model", limit=1)]
    assert "small" in groups


def test_accounts_show_what_was_learned_of_their_limits(client: httpx2.Client) -> None:
    assert chat(client, "one").status_code == 200
    client.patch("/api/v1/keys/key-1", json={"limits": {"rph": 5000}})
    (account,) = listed(client, "/api/v1/accounts")
    assert (account["provider"], account["keys"]) == ("p1", ["key-1"])
    assert {
        "id", "provider", "keys", "model_group", "windows", "cooldown_until", "drift",
    } <= set(account)  # fmt: skip
    by_name = {(one["dimension"], one["period_s"]): one for one in account["windows"]}
    told, declared = by_name["requests", 60], by_name["requests", 3600]
    assert set(told) == {
        "dimension", "period_s", "algorithm", "capacity", "used", "held", "left", "resets_at",
        "source", "confidence",
    }  # fmt: skip
    assert (told["source"], told["capacity"]) == ("header", 60000)
    assert (declared["source"], declared["capacity"]) == ("declared", 5000)
    assert client.get(f"/api/v1/accounts/{account['id']}").status_code == 200


@pytest.mark.parametrize(
    ("scope", "parts"),
    [
        ("keys", {"keys"}),
        ("quotas", {"quotas"}),
        ("routing", {"routing"}),
        ("all", {"keys", "quotas", "routing"}),
    ],
)
def test_state_has_the_parts_that_are_asked_for(
    client: httpx2.Client, scope: str, parts: set[str]
) -> None:
    chat(client, "one")
    state = client.get("/api/v1/state", params={"scope": scope}).json()
    assert set(state) == parts
    if "routing" in parts:
        assert state["routing"]["waiting"] == 0


async def test_requests_are_told_with_their_attempts_and_tokens(
    client: httpx2.Client, until: Callable[..., Any]
) -> None:
    for name in ("r-1", "r-2", "r-3"):
        assert chat(client, name).status_code == 200
    assert chat(client, "r-4", "nobody/has").status_code == 404
    told = client.get("/api/v1/requests/r-2").json()
    assert {
        "request_id", "at", "client", "model", "endpoint", "outcome", "status", "waited_ms",
        "first_token_ms", "total_ms", "attempts", "tokens", "cost_usd", "estimate_usd", "decision",
    } <= set(told)  # fmt: skip
    assert (told["outcome"], told["status"], told["model"]) == ("ok", 200, "small")
    assert told["endpoint"] == "chat/completions"
    assert [attempt["key_id"] for attempt in told["attempts"]] == ["key-1"]
    assert told["tokens"]["output"] == 8
    assert 0 < told["first_token_ms"] <= told["total_ms"]
    assert told["cost_usd"] is None
    assert "key-1" in told["decision"]["explanation"]
    await until(lambda: len(listed(client, "/api/v1/requests", limit=2)) == 4)
    names = [one["request_id"] for one in listed(client, "/api/v1/requests", limit=2)]
    assert names == ["r-4", "r-3", "r-2", "r-1"]
    assert len(listed(client, "/api/v1/requests", key="key-1")) == 4
    assert listed(client, "/api/v1/requests", key="key-2") == []
    assert listed(client, "/api/v1/requests", since="2999-01-01T00:00:00Z") == []


async def test_requests_are_told_after_a_restart(
    manage: Callable[..., httpx2.Client], client: httpx2.Client
) -> None:
    chat(client, "before")
    told = client.get("/api/v1/requests/before").json()
    client.running.stop()
    again = manage()
    again.headers.update(client.headers)
    assert again.get("/api/v1/requests/before").json() == told


def test_configuration_is_shown_without_secrets(manage: Callable[..., httpx2.Client]) -> None:
    hidden = "token-that-nobody-may-see"
    client = manage(config={"clients": [{"name": "team", "token": hidden}]})
    client.headers["X-API-Key"] = "management-key-of-the-tests"
    answer = client.get("/api/v1/config")
    assert answer.json()["keys"][0]["id"] == "key-1"
    assert answer.json()["clients"][0]["name"] == "team"
    assert hidden not in answer.text
    assert "sk-sim-1" not in answer.text


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("version: 1\nkeys:\n  - {provider: openai, secret: sk-of-somebody}\n", []),
        ("version: 1\nkeys:\n  - {provider: nobody, secret: sk-of-somebody}\n", [(3, "keys[0]")]),
        ("version: 1\nserver: {port: x}\nodd: 1\n", [(2, "server.port"), (3, "odd")]),
        ("[", [(1, "")]),
        ("", [(1, "")]),
        (b"\xff", [(None, "")]),
    ],
)
def test_a_configuration_is_judged_without_being_used(
    client: httpx2.Client, text: Any, errors: list[tuple[int | None, str]]
) -> None:
    answer = client.post("/api/v1/config/validate", content=text)
    verdict = answer.json()
    assert answer.status_code == 200
    assert "sk-of-somebody" not in answer.text
    assert verdict["valid"] is (not errors)
    found = [(error["line"], error["field"]) for error in verdict["errors"]]
    assert [line for line, _ in found] == [line for line, _ in errors]
    assert all(
        one[1].startswith(field) and " " not in one[1]
        for one, (_, field) in zip(found, errors, strict=True)
    )
    assert all(error["message"] for error in verdict["errors"])
