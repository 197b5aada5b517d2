"""An operator's word on accounts: it goes before what is learned, and survives a restart."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = {"X-API-Key": "management-key-of-the-tests"}
ACCOUNTS = "/api/v1/accounts"
FIRST, SECOND = f"{ACCOUNTS}/p1/key-1", f"{ACCOUNTS}/p1/key-2"


@pytest.fixture
def start(manage: Callable[..., httpx2.Client]) -> Callable[..., httpx2.Client]:
    def begin(**more: Any) -> httpx2.Client:
        client = manage(**more)
        client.headers.update(KEY)
        return client

    return begin


@pytest.fixture
def client(start: Callable[..., httpx2.Client]) -> httpx2.Client:
    made = start()
    made.post("/api/v1/keys", json={"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    return made


def ask(client: httpx2.Client, times: int = 1) -> list[int]:
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    return [client.post("/v1/chat/completions", json=body).status_code for _ in range(times)]


def keys_of(client: httpx2.Client) -> dict[str, list[str]]:
    items = client.get(ACCOUNTS).json()["items"]
    return {one["id"]: sorted(one["keys"]) for one in items}


def window(account: dict[str, Any], dimension: str, period_s: float) -> dict[str, Any]:
    (found,) = (
        one
        for one in account["windows"]
        if (one["dimension"], one["period_s"]) == (dimension, period_s)
    )
    return dict(found)


def audited(client: httpx2.Client) -> dict[str, Any]:
    row = client.get("/api/v1/audit").json()["items"][0]
    return {name: row[name] for name in ("action", "target", "before", "after")}


def test_keys_are_put_together_and_apart_and_stay_so(
    client: httpx2.Client, start: Callable[..., httpx2.Client]
) -> None:
    assert ask(client, 4) == [200] * 4
    assert keys_of(client) == {"p1/key-1": ["key-1"], "p1/key-2": ["key-2"]}
    merged = client.post(f"{FIRST}/merge", json={"accounts": ["p1/key-2"]})
    assert merged.status_code == 200, merged.text
    assert sorted(merged.json()["keys"]) == ["key-1", "key-2"]
    assert merged.json()["basis"] == "configured"
    assert keys_of(client) == {"p1/key-1": ["key-1", "key-2"]}
    assert audited(client) == {
        "action": "account.merge", "target": "p1/key-1",
        "before": {"accounts": {"key-2": "key-2"}}, "after": {"accounts": {"key-2": "key-1"}},
    }  # fmt: skip
    client.running.stop()
    again = start()
    assert ask(again, 2) == [200] * 2
    assert keys_of(again) == {"p1/key-1": ["key-1", "key-2"]}
    parted = again.post(f"{FIRST}/split", json={"keys": ["key-2"]})
    assert parted.status_code == 200, parted.text
    assert [(one["id"], one["keys"]) for one in parted.json()["items"]] == [("p1/key-2", ["key-2"])]
    assert parted.json()["items"][0]["basis"] == "alone"
    assert audited(again)["after"] == {"accounts": {"key-2": "key-2"}}
    again.running.stop()
    last = start()
    assert ask(last, 4) == [200] * 4
    assert keys_of(last) == {"p1/key-1": ["key-1"], "p1/key-2": ["key-2"]}


def test_accounts_that_nobody_has_asked_for_are_put_together_too(client: httpx2.Client) -> None:
    assert client.get(SECOND).json()["windows"] == []
    merged = client.post(f"{SECOND}/merge", json={"accounts": ["p1/key-1"]})
    assert sorted(merged.json()["keys"]) == ["key-1", "key-2"]
    assert ask(client) == [200]
    assert keys_of(client) == {"p1/key-2": ["key-1", "key-2"]}


def test_an_overruled_limit_holds_against_what_the_provider_tells(
    client: httpx2.Client, start: Callable[..., httpx2.Client]
) -> None:
    client.delete("/api/v1/keys/key-2")
    assert ask(client) == [200]
    told = client.get(FIRST)
    learned = window(told.json(), "requests", 60)
    assert learned["source"] == "header"
    changed = client.patch(
        FIRST, json={"limits": {"rpm": 5}}, headers={"If-Match": told.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text
    ruled = window(changed.json(), "requests", 60)
    assert (ruled["capacity"], ruled["source"]) == (5, "operator")
    stale = {"If-Match": told.headers["etag"]}
    assert client.patch(FIRST, json={"limits": {"rpm": 6}}, headers=stale).status_code == 412
    assert audited(client) == {
        "action": "account.change", "target": "p1/key-1",
        "before": {"limits": {}}, "after": {"limits": {"rpm": 5}},
    }  # fmt: skip
    assert ask(client, 3) == [200] * 3
    held = window(client.get(FIRST).json(), "requests", 60)
    assert (held["capacity"], held["source"]) == (5, "operator")
    assert held["left"] < 4
    client.running.stop()
    again = start(config={"server": {"max_queue_wait": "0s"}})
    # What was used of it is used after a restart too.
    assert 429 in ask(again, 5)
    kept = window(again.get(FIRST).json(), "requests", 60)
    assert (kept["capacity"], kept["source"]) == (5, "operator")
    freed = again.patch(FIRST, json={"limits": {"rpm": None}})
    assert freed.status_code == 200
    assert ask(again, 8) == [200] * 8
    assert window(again.get(FIRST).json(), "requests", 60)["source"] == "header"


def test_a_limit_that_is_overruled_no_more_is_the_declared_one(client: httpx2.Client) -> None:
    client.delete("/api/v1/keys/key-1")
    client.patch("/api/v1/keys/key-2", json={"limits": {"rph": 70}})
    assert ask(client) == [200]
    client.patch(SECOND, json={"limits": {"rph": 9}})
    client.patch("/api/v1/keys/key-2", json={"limits": {"rph": 80}})
    assert window(client.get(SECOND).json(), "requests", 3600)["capacity"] == 9
    after = client.patch(SECOND, json={"limits": {"rph": None}}).json()
    declared = window(after, "requests", 3600)
    assert (declared["capacity"], declared["source"]) == (80, "declared")


def test_a_declared_limit_that_is_null_is_declared_no_more(client: httpx2.Client) -> None:
    client.delete("/api/v1/keys/key-1")
    key = "/api/v1/keys/key-2"
    client.patch(key, json={"limits": {"rph": 70, "rpd": 900}})
    assert ask(client) == [200]
    ended = client.patch(key, json={"limits": {"rph": None, "tpd": 10**6}})
    assert (ended.status_code, ended.json()["limits"]) == (200, {"rpd": 900, "tpd": 10**6})
    periods = {w["period_s"] for w in client.get(SECOND).json()["windows"]}
    assert 3600 not in periods
    assert 86400 in periods
    assert client.get(key).json()["limits"] == {"rpd": 900, "tpd": 10**6}
    for wrong in ({"rpx": None}, {"rpm": 0}, {"rpm": "x"}):
        assert client.patch(key, json={"limits": wrong}).status_code == 422


def test_nothing_is_left_beyond_a_limit(client: httpx2.Client) -> None:
    assert ask(client, 6) == [200] * 6
    for account in client.get(ACCOUNTS).json()["items"]:
        assert account["windows"]
        for one in account["windows"]:
            assert 0 <= one["left"] <= one["capacity"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", f"{ACCOUNTS}/p1/none/merge", {"accounts": ["p1/key-2"]}, 404, None),
        ("POST", f"{ACCOUNTS}/p1/none/topped-up", None, 404, None),
        ("POST", f"{FIRST}/merge", {"accounts": ["p1/none"]}, 422, "accounts.0"),
        ("POST", f"{FIRST}/merge", {"accounts": []}, 422, "accounts"),
        ("POST", f"{FIRST}/merge", {"accounts": ["p1/key-2", "p2/other"]}, 422, "accounts.1"),
        ("POST", f"{FIRST}/merge", {"accounts": ["p1/org"]}, 409, "accounts"),
        ("POST", f"{FIRST}/split", {"keys": ["key-2"]}, 422, "keys.0"),
        ("POST", f"{ACCOUNTS}/p1/org/split", {"keys": ["scoped"]}, 409, "keys"),
        ("PATCH", FIRST, {"limits": {"rpx": 5}}, 422, "limits"),
        ("PATCH", FIRST, {"limits": {"rpm": 0}}, 422, "limits.rpm"),
        ("PATCH", FIRST, {"limits": {}}, 422, "limits"),
        ("PATCH", FIRST, {}, 422, "limits"),
    ],
)
def test_what_cannot_be_is_refused_by_field(
    start: Callable[..., httpx2.Client],
    config_for: Callable[..., dict[str, Any]],
    simulator: Any,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: int,
    field: str | None,
) -> None:
    facts = config_for(simulator.base_url(), simulator.base_url())
    scoped = {"id": "scoped", "provider": "p1", "secret": "sk-x-1", "scope": "org"}
    other = {"id": "other", "provider": "p2", "secret": "sk-x-2"}
    mate = {"id": "key-2", "provider": "p1", "secret": "sk-x-3"}
    keys = [facts["keys"][0], scoped, other, mate]
    client = start(config={"providers": facts["providers"], "keys": keys})
    refused = client.request(method, path, json=body)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert [one["field"] for one in refused.json()["errors"]] == ([field] if field else [])
    assert client.get("/api/v1/audit").json()["items"] == []
