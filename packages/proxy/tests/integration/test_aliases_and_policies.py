"""Aliases, policies and budgets by the management API: checked, kept, there after a restart."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = {"X-API-Key": "management-key-of-the-tests"}
ALIAS = {"name": "fast", "targets": ["p1/large"]}
POLICY = {
    "id": "eu-only",
    "when": {"clients": ["team"], "hours": "22-06 Europe/Berlin", "tokens_above": 1000},
    "then": {"only": {"tags": {"region": "eu"}}, "max_wait": "5s", "objective": "cost"},
    "priority": 10,
}
BUDGET = {"id": "all", "limit_usd": 5.0, "period": "total", "mode": "hard"}
#: Resource -> what is added, its name, a change, and what the change makes of it.
KINDS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "aliases": (ALIAS, "fast", {"targets": ["p1/small", "p1/large"]}),
    "policies": (POLICY, "eu-only", {"priority": 20}),
    "budgets": (BUDGET, "all", {"limit_usd": 7.5}),
}


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    made = manage()
    made.headers.update(KEY)
    return made


def ask(client: httpx2.Client, model: str) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return client.post("/v1/chat/completions", json=body)


def audited(client: httpx2.Client) -> list[tuple[str, str]]:
    rows = client.get("/api/v1/audit").json()["items"]
    return [(row["action"], row["target"]) for row in reversed(rows)]


@pytest.mark.parametrize("kind", KINDS)
def test_added_changed_and_deleted_with_a_row_each(client: httpx2.Client, kind: str) -> None:
    body, name, change = KINDS[kind]
    address = f"/api/v1/{kind}/{name}"
    added = client.post(f"/api/v1/{kind}", json=body)
    assert (added.status_code, added.headers["location"]) == (201, address)
    assert added.headers["etag"] == '"0"'
    assert client.get(address).json() == added.json()
    assert client.get(f"/api/v1/{kind}").json() == {"items": [added.json()], "next_cursor": None}
    assert client.post(f"/api/v1/{kind}", json=body).status_code == 409
    changed = client.patch(address, json=change, headers={"If-Match": '"0"'})
    assert changed.json() == {**added.json(), **change, "revision": 1}
    stale = {"If-Match": '"0"'}
    assert client.patch(address, json=change, headers=stale).status_code == 412
    assert client.delete(address, headers=stale).status_code == 412
    assert client.get(address).headers["etag"] == changed.headers["etag"] == '"1"'
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == client.delete(address).status_code == 404
    assert client.get(f"/api/v1/{kind}").json()["items"] == []
    one = {"aliases": "alias", "policies": "policy", "budgets": "budget"}[kind]
    orders = [(f"{one}.{verb}", name) for verb in ("add", "change", "delete")]
    assert audited(client) == orders
    row = client.get("/api/v1/audit").json()["items"][1]
    field = next(iter(change))
    assert (row["before"][field], row["after"][field]) == (added.json()[field], change[field])


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_sent_twice_is_carried_out_once(client: httpx2.Client, kind: str) -> None:
    body, name, _ = KINDS[kind]
    orders = [
        client.post(f"/api/v1/{kind}", json=body, headers={"Idempotency-Key": "order-1"})
        for _ in range(2)
    ]
    assert [order.status_code for order in orders] == [201, 201]
    assert orders[1].headers["idempotent-replayed"] == "true"
    assert [target for _, target in audited(client)] == [name]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_there_after_a_restart(manage: Callable[..., httpx2.Client], kind: str) -> None:
    first = manage()
    body, name, change = KINDS[kind]
    first.post(f"/api/v1/{kind}", json=body, headers=KEY)
    first.post(f"/api/v1/{kind}", json={**body, _id_of(kind): "gone"}, headers=KEY)
    first.delete(f"/api/v1/{kind}/gone", headers=KEY)
    first.patch(f"/api/v1/{kind}/{name}", json=change, headers=KEY)
    before = first.get(f"/api/v1/{kind}", headers=KEY).json()
    first.running.stop()
    after = manage().get(f"/api/v1/{kind}", headers=KEY)
    assert after.json() == before
    assert [item[_id_of(kind)] for item in before["items"]] == [name]


def _id_of(kind: str) -> str:
    return "name" if kind == "aliases" else "id"


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_over_what_another_process_changed_is_refused(
    manage: Callable[..., httpx2.Client], client: httpx2.Client, kind: str
) -> None:
    body, name, change = KINDS[kind]
    client.post(f"/api/v1/{kind}", json=body)
    other = manage()
    assert other.patch(f"/api/v1/{kind}/{name}", json=change, headers=KEY).status_code == 200
    answer = client.patch(f"/api/v1/{kind}/{name}", json=change)
    assert answer.status_code == 409
    assert "another process" in answer.json()["detail"]
    # It has looked again, and the next order is over what there is.
    assert client.get(f"/api/v1/{kind}/{name}").json()["revision"] == 1
    assert client.patch(f"/api/v1/{kind}/{name}", json=change).status_code == 200


def test_an_alias_may_be_asked_for_as_long_as_it_is_there(client: httpx2.Client) -> None:
    assert ask(client, "fast").status_code == 404
    client.post("/api/v1/aliases", json=ALIAS)
    assert ask(client, "fast").json()["model"] == "large"
    assert "fast" in [model["id"] for model in client.get("/v1/models").json()["data"]]
    client.patch("/api/v1/aliases/fast", json={"targets": ["p1/small"]})
    assert ask(client, "fast").json()["model"] == "small"
    client.delete("/api/v1/aliases/fast")
    assert ask(client, "fast").status_code == 404


def test_the_file_goes_before_what_was_added(manage: Callable[..., httpx2.Client]) -> None:
    first = manage()
    first.post("/api/v1/aliases", json=ALIAS, headers=KEY)
    assert ask(first, "fast").json()["model"] == "large"
    first.running.stop()
    second = manage(config={"models": {"fast": ["p1/small"]}})
    second.headers.update(KEY)
    assert ask(second, "fast").json()["model"] == "small"
    listed = second.get("/api/v1/aliases").json()["items"]
    assert [(one["name"], one["source"]) for one in listed] == [("fast", "configuration")]
    for method, path in (("POST", ""), ("PATCH", "/fast"), ("DELETE", "/fast")):
        body = {"targets": ["p1/large"], **({"name": "fast"} if method == "POST" else {})}
        answer = second.request(method, f"/api/v1/aliases{path}", json=body)
        assert (answer.status_code, "configuration file" in answer.text) == (409, True)
    second.running.stop()
    third = manage()
    # The file names it no more: what was added counts again.
    assert ask(third, "fast").json()["model"] == "large"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("aliases", {"name": "a"}, "targets"),
        ("aliases", {"name": "a", "targets": []}, "targets"),
        ("aliases", {"name": "a", "targets": ["large"]}, "targets.0"),
        ("aliases", {"name": "a", "targets": ["p1/large", "p9/x"]}, "targets.1"),
        ("aliases", {"name": "a/b", "targets": ["p1/large"]}, "name"),
        ("aliases", {"name": "a", "targets": ["p1/large"], "odd": 1}, "odd"),
        ("policies", {"id": "a"}, "then"),
        ("policies", {"id": "a", "then": {}}, "then"),
        ("policies", {"id": "a b", "then": {"fallback": "fast"}}, "id"),
        ("policies", {"id": "a", "then": {"only": {}}}, "then.only"),
        ("policies", {"id": "a", "then": {"never": {"regions": ["eu"]}}}, "then.never.regions"),
        ("policies", {"id": "a", "then": {"objective": "luck"}}, "then.objective"),
        ("policies", {"id": "a", "then": {"max_cost_usd": 0}}, "then.max_cost_usd"),
        ("policies", {"id": "a", "then": {"max_cost_usd": True}}, "then.max_cost_usd"),
        ("policies", {"id": "a", "then": {"max_wait": "soon"}}, "then.max_wait"),
        ("policies", {**POLICY, "when": {"hours": "8-18 UTC"}}, "when.hours"),
        ("policies", {**POLICY, "when": {"hours": "08-18 Europe/Nowhere"}}, "when.hours"),
        ("policies", {**POLICY, "when": {"tokens_above": -1}}, "when.tokens_above"),
        ("policies", {**POLICY, "when": {"clients": []}}, "when.clients"),
        ("policies", {**POLICY, "priority": True}, "priority"),
        ("budgets", {"id": "a", "period": "daily"}, "limit_usd"),
        ("budgets", {**BUDGET, "limit_usd": 0}, "limit_usd"),
        ("budgets", {**BUDGET, "limit_usd": True}, "limit_usd"),
        ("budgets", {**BUDGET, "period": "yearly"}, "period"),
        ("budgets", {**BUDGET, "timezone": "Europe/Nowhere"}, "timezone"),
        ("budgets", {**BUDGET, "mode": "firm"}, "mode"),
        ("budgets", {**BUDGET, "id": "a b"}, "id"),
        ("budgets", {**BUDGET, "scope": "per_client"}, "body"),
        ("budgets", {**BUDGET, "when_over": {"objective": "cost"}}, "when_over"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_field(
    client: httpx2.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(f"/api/v1/{path}", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert client.get(f"/api/v1/{path}").json()["items"] == []
    assert audited(client) == []


def test_a_policy_says_that_it_is_not_applied(client: httpx2.Client) -> None:
    added = client.post("/api/v1/policies", json=POLICY).json()
    assert added["applied"] is False
    assert added["then"]["max_wait"] == 5
