"""The names that users of the management API were promised: fields may be added, none renamed."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = {"X-API-Key": "management-key-of-the-tests"}
SHAPES = {
    "key": (
        "id provider state state_since created_at last_used_at requests failures cooldown_until "
        "scope models weight priority tags limits secret_hint"
    ),
    "account": "id provider keys model_group windows cooldown_until drift",
    "window": "dimension period_s algorithm capacity used held left resets_at source confidence",
    "client": "name models limits weight priority tags expires_at",
    "policy": "id when then priority",
    "request": (
        "request_id at client model endpoint outcome status waited_ms first_token_ms total_ms "
        "attempts tokens cost_usd estimate_usd decision"
    ),
    "list": "items next_cursor",
    "error": "type title status detail errors request_id",
}


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    made = manage()
    made.headers.update(KEY)
    return made


def lacking(shape: str, data: dict[str, Any]) -> set[str]:
    return set(SHAPES[shape].split()) - set(data)


def test_shapes_have_the_promised_fields(client: httpx2.Client) -> None:
    def post(path: str, status: int, body: Any) -> dict[str, Any]:
        answer = client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    whole = {
        "provider": "p1", "secret": "sk-sim-2", "id": "two", "scope": "org", "models": ["small"],
        "weight": 2, "priority": 1, "tags": {"a": "b"}, "limits": {"rpm": 50},
    }  # fmt: skip
    key = post("keys", 201, whole)
    assert {name: key[name] for name in whole if name != "secret"} == {
        name: value for name, value in whole.items() if name != "secret"
    }
    facts = {
        "name": "team", "models": ["small"], "limits": {"rpm": 60}, "weight": 2, "priority": 1,
        "tags": {"a": "b"}, "expires_at": "2999-01-01T00:00:00Z",
    }  # fmt: skip
    added = post("clients", 201, facts)
    assert {name: added[name] for name in facts} == facts
    token = {"Authorization": f"Bearer {added['token']}"}
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    answer = client.post("/v1/chat/completions", json=body, headers=token)
    assert answer.status_code == 200
    assert {"x-request-id", "x-key-used", "x-provider-used"} <= set(answer.headers)
    shown = client.get(f"/api/v1/requests/{answer.headers['x-request-id']}").json()
    account = client.get("/api/v1/accounts").json()["items"][0]
    policy = post("policies", 201, {"id": "p", "when": {}, "then": {"max_wait": "5s"}})
    seen = {
        "key": [key, client.get("/api/v1/keys/two").json(), post("keys/two/revoke", 200, None)],
        "account": [account],
        "window": account["windows"],
        "client": [added, client.get("/api/v1/clients/team").json()],
        "policy": [policy],
        "request": [shown],
        "list": [client.get(f"/api/v1/{name}").json() for name in LISTS],
        "error": [client.get("/api/v1/keys/none").json(), client.get("/api/v1/none").json()],
    }
    assert all(seen.values())
    missing = {name: [lacking(name, one) for one in found] for name, found in seen.items()}
    assert {name: found for name, found in missing.items() if any(found)} == {}
    assert "token" not in client.get("/api/v1/clients/team").json()
    assert set(post("keys/key-1/test", 200, None)) == {"ok", "detail"}
    assert "token" in post("clients/team/rotate", 200, {"overlap_s": 5})


LISTS = ("keys", "clients", "aliases", "policies", "providers", "accounts", "requests", "audit",
         "usage?group_by=client,model&period=day")  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "parts"),
    [
        ("keys", {"keys"}),
        ("quotas", {"quotas"}),
        ("routing", {"routing"}),
        ("all", {"keys", "quotas", "routing"}),
    ],
)
def test_state_has_the_scope_that_is_asked_for(
    client: httpx2.Client, scope: str, parts: set[str]
) -> None:
    assert set(client.get("/api/v1/state", params={"scope": scope}).json()) == parts


def test_one_idempotency_key_is_for_one_order(client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "order-1"}
    body = {"name": "team"}
    assert client.post("/api/v1/clients", json=body, headers=headers).status_code == 201
    other = client.post("/api/v1/clients", json={"name": "other"}, headers=headers)
    assert other.status_code == 422
    assert [one["field"] for one in other.json()["errors"]] == ["Idempotency-Key"]
    assert [one["name"] for one in client.get("/api/v1/clients").json()["items"]] == ["team"]
