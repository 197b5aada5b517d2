"""Providers that are added by the management API: in use at once, and after a restart."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = {"X-API-Key": "management-key-of-the-tests"}
PROVIDERS = "/api/v1/providers"
LAB = f"{PROVIDERS}/lab"
SECOND_KEY = {"id": "lab-1", "provider": "lab", "secret": "sk-sim-2"}


@pytest.fixture
def start(manage: Callable[..., httpx2.Client]) -> Callable[..., httpx2.Client]:
    def begin(**more: Any) -> httpx2.Client:
        client = manage(**more)
        client.headers.update(KEY)
        return client

    return begin


@pytest.fixture
def lab(simulator: Any) -> dict[str, Any]:
    return {"id": "lab", "kind": "openai", "base_url": simulator.base_url(), "models": ["large"]}


def ask(client: httpx2.Client, model: str = "lab/large") -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return client.post("/v1/chat/completions", json=body)


def actions(client: httpx2.Client) -> list[tuple[str, str]]:
    rows = client.get("/api/v1/audit").json()["items"]
    return [(row["action"], row["target"]) for row in reversed(rows)]


def test_a_provider_is_in_use_from_its_addition_to_its_deletion(
    start: Callable[..., httpx2.Client], lab: dict[str, Any]
) -> None:
    client = start()
    added = client.post(PROVIDERS, json=lab)
    assert added.status_code == 201, added.text
    assert (added.headers["location"], added.headers["etag"]) == (LAB, '"0"')
    assert added.json() == {
        **lab, "configured": True, "dialects": added.json()["dialects"], "listed_models": 0,
        "keys": 0, "usable_keys": 0, "missing": None, "source": "management", "revision": 0,
    }  # fmt: skip
    assert client.post(PROVIDERS, json=lab).status_code == 409
    assert client.post("/api/v1/keys", json=SECOND_KEY).status_code == 201
    answer = ask(client)
    assert (answer.status_code, answer.headers["x-key-used"]) == (200, "lab-1")
    refused = client.delete(LAB)
    assert refused.status_code == 409
    assert "keys lab-1" in refused.json()["detail"]
    client.running.stop()
    again = start()
    assert ask(again).headers["x-key-used"] == "lab-1"
    assert again.get(LAB).json()["source"] == "management"
    assert again.delete("/api/v1/keys/lab-1").status_code == 204
    assert again.delete(LAB, headers={"If-Match": '"7"'}).status_code == 412
    assert again.delete(LAB).status_code == 204
    assert again.get(LAB).status_code == again.delete(LAB).status_code == 404
    assert ask(again).status_code == 404
    assert [one for one in actions(again) if one[0].startswith("provider")] == [
        ("provider.add", "lab"), ("provider.delete", "lab"),
    ]  # fmt: skip
    again.running.stop()
    assert start().get(LAB).status_code == 404


def test_a_change_is_in_effect_at_once(
    start: Callable[..., httpx2.Client], lab: dict[str, Any]
) -> None:
    client = start()
    client.post(PROVIDERS, json={**lab, "base_url": "http://127.0.0.1:9/v1"})
    client.post("/api/v1/keys", json=SECOND_KEY)
    changed = client.patch(
        LAB, json={"base_url": lab["base_url"], "models": None}, headers={"If-Match": '"0"'}
    )
    assert changed.status_code == 200, changed.text
    assert changed.json()["base_url"] == lab["base_url"]
    assert (changed.json()["models"], changed.headers["etag"]) == (None, '"1"')
    assert ask(client, "lab/small").status_code == 200
    row = client.get("/api/v1/audit").json()["items"][0]
    said = {name: part for name, part in lab.items() if name != "id"}
    assert row["before"] == {**said, "base_url": "http://127.0.0.1:9/v1"}
    assert "models" not in row["after"]
    stale = client.patch(LAB, json={"models": ["x"]}, headers={"If-Match": '"0"'})
    assert stale.status_code == 412


def test_what_the_file_says_of_a_provider_goes_before(
    start: Callable[..., httpx2.Client],
    config_for: Callable[..., dict[str, Any]],
    lab: dict[str, Any],
) -> None:
    first = start()
    assert first.post(PROVIDERS, json={**lab, "models": ["none-*"]}).status_code == 201
    first.running.stop()
    named = config_for(lab["base_url"])["providers"]
    file = {"providers": {**named, "lab": {"kind": "openai", "base_url": lab["base_url"]}}}
    client = start(config=file)
    assert client.get(LAB).json()["source"] == "configuration"
    assert client.get(LAB).json()["models"] is None
    for refused in (client.patch(LAB, json={"models": ["x"]}), client.delete(LAB)):
        assert refused.status_code == 409
        assert "configuration file" in refused.json()["detail"]
    client.running.stop()
    assert start().get(LAB).json()["models"] == ["none-*"]


def test_an_alias_keeps_its_provider(
    start: Callable[..., httpx2.Client], lab: dict[str, Any]
) -> None:
    client = start()
    client.post(PROVIDERS, json=lab)
    client.post("/api/v1/aliases", json={"name": "fast", "targets": ["lab/large"]})
    refused = client.delete(LAB)
    assert (refused.status_code, "aliases fast" in refused.json()["detail"]) == (409, True)
    client.delete("/api/v1/aliases/fast")
    assert client.delete(LAB).status_code == 204


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"id": "lab"}, 422, "base_url"),
        ({"id": "azure"}, 422, "base_url"),
        ({"id": "lab", "base_url": "ftp://x"}, 422, "base_url"),
        ({"id": "lab", "base_url": "https://user:pw@host/v1"}, 422, "base_url"),
        ({"id": "lab", "base_url": "http://x/v1", "kind": "fax"}, 422, "kind"),
        ({"id": "lab", "base_url": "http://x/v1", "admin_secret": "s"}, 422, "admin_secret"),
        ({"id": "a/b", "base_url": "http://x/v1"}, 422, "id"),
        ({"id": "p1", "base_url": "http://x/v1"}, 409, "id"),
    ],
)
def test_what_cannot_be_is_refused_by_field(
    start: Callable[..., httpx2.Client], body: dict[str, Any], status: int, field: str
) -> None:
    client = start()
    refused = client.post(PROVIDERS, json=body)
    assert refused.status_code == status, refused.text
    assert [one["field"] for one in refused.json()["errors"]] == [field]
    assert actions(client) == []


def test_one_of_the_catalogue_is_said_otherwise_only_once_it_was_added(
    start: Callable[..., httpx2.Client], lab: dict[str, Any]
) -> None:
    client = start()
    assert client.patch(f"{PROVIDERS}/openai", json={"models": ["x"]}).status_code == 409
    added = client.post(PROVIDERS, json={"id": "openai", "base_url": lab["base_url"]})
    assert added.status_code == 201, added.text
    assert client.patch(f"{PROVIDERS}/openai", json={"models": ["x"]}).json()["models"] == ["x"]
    assert client.delete(f"{PROVIDERS}/openai").status_code == 204
    assert client.get(f"{PROVIDERS}/openai").json()["configured"] is False
