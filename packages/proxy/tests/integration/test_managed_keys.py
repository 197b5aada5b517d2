"""Keys by the management API: what is ordered holds for traffic at once, and after a restart."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

RIGHT = {"X-API-Key": "management-key-of-the-tests"}
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
SHAPE = {
    "id", "provider", "state", "state_since", "created_at", "last_used_at", "requests", "failures",
    "cooldown_until", "scope", "models", "weight", "priority", "tags", "limits", "secret_hint",
    "revision",
}  # fmt: skip
SECRET = "sk-a-long-secret-that-nobody-may-see"


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    client = manage()
    client.headers.update(RIGHT)
    return client


def add(client: httpx2.Client, name: str, secret: str = "sk-sim-2", **more: Any) -> Any:
    answer = client.post(
        "/api/v1/keys", json={"provider": "p1", "id": name, "secret": secret, **more}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def used_by(client: httpx2.Client, model: str = "small") -> str:
    answer = client.post("/v1/chat/completions", json={**CHAT, "model": model})
    return answer.headers["x-key-used"] if answer.status_code == 200 else str(answer.status_code)


def test_a_key_that_is_added_is_shown_without_its_secret_and_serves(client: httpx2.Client) -> None:
    key = add(
        client, "two", priority=5, weight=2, scope="org", models=["sm*"], tags={"team": "a"},
        limits={"rpm": 600},
    )  # fmt: skip
    assert set(key) == SHAPE
    told = {name: key[name] for name in ("id", "provider", "state", "weight", "priority", "scope")}
    assert told == {
        "id": "two", "provider": "p1", "state": "available", "weight": 2, "priority": 5,
        "scope": "org",
    }  # fmt: skip
    assert (key["models"], key["tags"], key["limits"]) == (["sm*"], {"team": "a"}, {"rpm": 600})
    assert (used_by(client), used_by(client, "large")) == ("two", "key-1")
    shown = client.get("/api/v1/keys/two").json()
    assert (shown["requests"], shown["failures"]) == (1, 0)
    assert shown["last_used_at"]


def test_an_id_is_derived_where_none_is_given(client: httpx2.Client) -> None:
    answer = client.post("/api/v1/keys", json={"provider": "p1", "secret": SECRET})
    key = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/keys/{key['id']}"
    assert key["secret_hint"] == "…-see"
    assert client.get(answer.headers["location"]).json() == key


@pytest.mark.parametrize("name", ["a b", "schl\u00fcssel", "\u043a\u043b\u044e\u0447", "x+y&z=1;'"])
def test_any_name_that_fits_an_address_is_one(client: httpx2.Client, name: str) -> None:
    answer = client.post("/api/v1/keys", json={"provider": "p1", "secret": SECRET, "id": name})
    assert answer.status_code == 201, answer.text
    assert client.get(answer.headers["location"]).json()["id"] == name


def test_keys_of_a_file_are_found_whatever_their_names(
    manage: Callable[..., httpx2.Client],
) -> None:
    key = {"id": "team/a", "provider": "p1", "secret": "sk-sim-2"}
    client = manage(config={"keys": [key]})
    client.headers.update(RIGHT)
    assert client.get("/api/v1/keys/team/a").json()["id"] == "team/a"
    assert client.get("/api/v1/keys/team%2Fa").json()["id"] == "team/a"
    assert client.post("/api/v1/keys/team/a/test").json()["ok"] is True
    assert client.patch("/api/v1/keys/team/a", json={"weight": 2}).json()["weight"] == 2


def test_a_provider_of_the_catalogue_needs_no_configuration(client: httpx2.Client) -> None:
    answer = client.post("/api/v1/keys", json={"provider": "groq", "secret": SECRET})
    assert answer.status_code == 201


def test_pages_and_filters_find_every_key_once(client: httpx2.Client) -> None:
    for number in range(7):
        tags = {"team": "ab"[number % 2], f"t{number}": ""}
        add(client, f"k{number}", f"sk-of-{number}", tags=tags)
    client.delete("/api/v1/keys/k3")
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = client.get("/api/v1/keys", params=query).json()
        assert len(page["items"]) <= 3
        found += [key["id"] for key in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["key-1", *(f"k{number}" for number in range(7))]

    def ids(**query: str) -> list[str]:
        return [key["id"] for key in client.get("/api/v1/keys", params=query).json()["items"]]

    assert ids(state="disabled") == ["k3"]
    assert ids(tag="team:b") == ["k1", "k3", "k5"]
    assert ids(tag="t4") == ["k4"]
    assert ids(provider="p1") == found
    assert ids(provider="p2") == []


def test_changes_hold_for_traffic_at_once(client: httpx2.Client) -> None:
    add(client, "two", priority=-1)
    assert used_by(client) == "key-1"
    changed = client.patch(
        "/api/v1/keys/two", json={"priority": 9, "tags": {"a": "b"}, "limits": {"rpm": 1}}
    )
    assert changed.status_code == 200
    assert (changed.json()["priority"], changed.json()["tags"]) == (9, {"a": "b"})
    assert [used_by(client), used_by(client)] == ["two", "two"]
    client.patch("/api/v1/keys/key-1", json={"models": ["other"]})
    client.patch("/api/v1/keys/two", json={"limits": {"rpm": 6000, "tpm": 10**6}})
    assert client.get("/api/v1/keys/two").json()["limits"] == {"rpm": 6000, "tpm": 10**6}
    assert [used_by(client) for _ in range(3)] == ["two"] * 3
    client.patch("/api/v1/keys/key-1", json={"models": None})
    client.patch("/api/v1/keys/two", json={"state": "disabled"})
    assert used_by(client) == "key-1"
    client.patch("/api/v1/keys/two", json={"state": "available"})
    assert used_by(client) == "two"


def test_a_change_for_another_version_is_refused(client: httpx2.Client) -> None:
    tag = client.get("/api/v1/keys/key-1").headers["etag"]
    first = client.patch("/api/v1/keys/key-1", json={"weight": 2}, headers={"If-Match": tag})
    assert first.status_code == 200
    assert first.headers["etag"] != tag
    second = client.patch("/api/v1/keys/key-1", json={"weight": 3}, headers={"If-Match": tag})
    assert second.status_code == 412
    assert first.headers["etag"] in second.json()["detail"]
    assert client.get("/api/v1/keys/key-1").json()["weight"] == 2
    gone = client.delete("/api/v1/keys/key-1", headers={"If-Match": tag})
    assert gone.status_code == 412
    any_one = client.patch("/api/v1/keys/key-1", json={"weight": 3}, headers={"If-Match": "*"})
    assert any_one.json()["weight"] == 3


def test_revoked_keys_are_listed_and_serve_no_more(client: httpx2.Client) -> None:
    add(client, "two", priority=9)
    assert client.delete("/api/v1/keys/two").status_code == 204
    assert client.delete("/api/v1/keys/two").status_code == 204
    assert client.get("/api/v1/keys/two").json()["state"] == "disabled"
    assert used_by(client) == "key-1"
    revoked = client.post("/api/v1/keys/key-1/revoke", json={"reason": "leaked"})
    assert revoked.json()["state"] == "disabled"
    assert used_by(client) in ("404", "429", "503")


def test_rotation_replaces_the_secret_and_keeps_the_rest(client: httpx2.Client) -> None:
    add(client, "two", "sk-nobody-knows-this-one", priority=9, tags={"a": "b"})
    assert client.post("/api/v1/keys/two/test").json()["ok"] is False
    assert used_by(client) == "key-1"
    assert client.get("/api/v1/keys/two").json()["state"] == "invalid"
    rotated = client.post("/api/v1/keys/two/rotate", json={"secret": "sk-sim-2"}).json()
    assert (rotated["id"], rotated["state"], rotated["tags"]) == ("two", "available", {"a": "b"})
    assert client.post("/api/v1/keys/two/test").json()["ok"] is True
    assert used_by(client) == "two"


def test_what_was_ordered_is_there_after_a_restart(
    manage: Callable[..., httpx2.Client], client: httpx2.Client
) -> None:
    add(client, "two", SECRET, priority=3)
    client.patch("/api/v1/keys/two", json={"weight": 4, "tags": {"x": "y"}, "models": ["small"]})
    add(client, "three", "sk-of-three")
    client.delete("/api/v1/keys/three")
    before = client.get("/api/v1/keys").json()["items"]
    client.running.stop()
    again = manage()
    again.headers.update(RIGHT)
    after = again.get("/api/v1/keys").json()["items"]
    assert [key["id"] for key in after] == ["key-1", "two", "three"]
    for old, new in zip(before[1:], after[1:], strict=True):
        assert new == old


def test_no_answer_tells_a_secret(client: httpx2.Client) -> None:
    add(client, "two", SECRET)
    other = "sk-another-secret-that-nobody-may-see"
    answers = [
        client.get("/api/v1/keys"),
        client.get("/api/v1/keys/two"),
        client.post("/api/v1/keys/two/test"),
        client.post("/api/v1/keys", json={"provider": "p1", "secret": SECRET}),
        client.post("/api/v1/keys", json={"provider": "p1", "secret": f" {other}\n.", "x": 1}),
        client.post("/api/v1/keys", json={"provider": other, "secret": SECRET, "weight": SECRET}),
        client.post("/api/v1/keys/two/rotate", json={"secret": other}),
        client.patch("/api/v1/keys/two", json={"secret": other, "state": other}),
        client.get("/openapi.json"),
    ]
    for answer in answers:
        assert SECRET not in answer.text
        assert RIGHT["X-API-Key"] not in answer.text
    for answer in [*answers[:5], *answers[6:]]:
        assert other not in answer.text
