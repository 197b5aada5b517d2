"""Budgets that operators add while the service runs count at once, and keep what was spent."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = {"X-API-Key": "management-key-of-the-tests"}
#: Each request costs a dollar.
PRICES = [{"provider": "p1", "per_request_usd": 1}]
BUDGET = {"id": "all", "limit_usd": 3, "period": "total"}
SERVER = {"max_queue_wait": "0s"}


@pytest.fixture
def begin(manage: Callable[..., httpx2.Client]) -> Callable[..., httpx2.Client]:
    def made(**config: Any) -> httpx2.Client:
        client = manage(config={"prices": PRICES, "server": SERVER, **config})
        client.headers.update(KEY)
        return client

    return made


def served(client: httpx2.Client, most: int = 6) -> int:
    """Ask until it is refused by a budget; return how often it was served."""
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    for number in range(most):
        answer = client.post("/v1/chat/completions", json=body)
        if answer.status_code == 429:
            assert "budget 'all' has $" in answer.text
            return number
        assert answer.status_code == 200, answer.text
    return most


def stand_of(client: httpx2.Client, budget_id: str = "all") -> tuple[float, float]:
    budget = client.get(f"/api/v1/budgets/{budget_id}").json()
    return budget["spent_usd"], budget["held_usd"]


def test_hard_budget_refuses_from_the_next_request_on(begin: Callable[..., httpx2.Client]) -> None:
    client = begin()
    assert client.post("/api/v1/budgets", json=BUDGET).json()["mode"] == "hard"
    assert served(client) == 3
    assert stand_of(client) == (3, 0)
    assert client.patch("/api/v1/budgets/all", json={"limit_usd": 5}).status_code == 200
    assert served(client) == 2
    assert client.patch("/api/v1/budgets/all", json={"mode": "soft"}).json()["mode"] == "soft"
    assert served(client, 2) == 2
    assert client.patch("/api/v1/budgets/all", json={"mode": "hard"}).status_code == 200
    assert served(client) == 0
    assert client.delete("/api/v1/budgets/all").status_code == 204
    assert served(client, 2) == 2


def test_what_was_spent_is_there_after_a_restart(begin: Callable[..., httpx2.Client]) -> None:
    first = begin()
    first.post("/api/v1/budgets", json=BUDGET)
    assert served(first, 2) == 2
    first.running.stop()
    second = begin()
    assert stand_of(second) == (2, 0)
    assert served(second) == 1


def test_budget_of_the_file_goes_before_and_is_changed_there(
    begin: Callable[..., httpx2.Client],
) -> None:
    first = begin()
    first.post("/api/v1/budgets", json=BUDGET)
    first.running.stop()
    second = begin(budgets=[{**BUDGET, "limit_usd": 1}])
    [listed] = second.get("/api/v1/budgets").json()["items"]
    assert (listed["limit_usd"], listed["source"]) == (1, "configuration")
    for method, path in (("POST", ""), ("PATCH", "/all"), ("DELETE", "/all")):
        body = BUDGET if method == "POST" else {"limit_usd": 2}
        answer = second.request(method, f"/api/v1/budgets{path}", json=body)
        assert (answer.status_code, "configuration file" in answer.text) == (409, True)
    second.running.stop()
    # The file names it no more: what was added counts again.
    assert begin().get("/api/v1/budgets/all").json()["limit_usd"] == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit_usd": -1}, "limit_usd"),
        ({"limit_usd": None}, "limit_usd"),
        ({"scope": "per_client"}, "body"),
        ({"mode": "soft", "when_over": {"objective": "luck"}}, "when_over"),
        ({"period": 7}, "period"),
        ({"id": "other"}, "id"),
    ],
)
def test_change_that_cannot_be_is_refused_by_its_field(
    begin: Callable[..., httpx2.Client], changes: dict[str, Any], field: str
) -> None:
    client = begin()
    client.post("/api/v1/budgets", json=BUDGET)
    before = client.get("/api/v1/budgets/all").json()
    answer = client.patch("/api/v1/budgets/all", json=changes)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert client.get("/api/v1/budgets/all").json() == before
