"""Many keys at once: all that can be, or none and why."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

HIDDEN = "sk-that-nobody-may-see-77"
CSV = (
    "provider,secret,id,models,priority,tags,limits\n"
    f"p1,{HIDDEN},one,sm*;large,3,team=a;floor=3,rpm=60;tpm=1000\n"
    "p1,sk-of-two,two,,,,\n"
)


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    client = manage()
    client.headers["X-API-Key"] = "management-key-of-the-tests"
    return client


def ids(client: httpx2.Client) -> list[str]:
    return [key["id"] for key in client.get("/api/v1/keys").json()["items"]]


@pytest.mark.parametrize("wrap", [list, lambda keys: {"keys": keys}])
def test_keys_of_a_list_are_added_and_known_ones_skipped(
    client: httpx2.Client, wrap: Callable[[list[Any]], Any]
) -> None:
    keys = [
        {"provider": "p1", "id": "one", "secret": HIDDEN},
        {"provider": "p1", "id": "key-1", "secret": "sk-other"},
        {"provider": "p1", "id": "same", "secret": HIDDEN},
        {"provider": "groq", "id": "two", "secret": "gsk-of-two"},
    ]
    answer = client.post("/api/v1/keys/import", json=wrap(keys))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [key["id"] for key in told["created"]] == ["one", "two"]
    assert [(one["index"], one["id"]) for one in told["skipped"]] == [(1, "key-1"), (2, "same")]
    assert ids(client) == ["key-1", "one", "two"]
    assert HIDDEN not in answer.text


def test_a_table_has_lists_and_pairs_in_its_cells(client: httpx2.Client) -> None:
    headers = {"Content-Type": "text/csv; charset=utf-8"}
    answer = client.post("/api/v1/keys/import", content=CSV, headers=headers)
    assert answer.status_code == 200, answer.text
    one, two = answer.json()["created"]
    assert (one["models"], one["priority"]) == (["sm*", "large"], 3)
    assert (one["tags"], one["limits"]) == ({"team": "a", "floor": "3"}, {"rpm": 60, "tpm": 1000})
    assert (two["id"], two["models"], two["limits"]) == ("two", None, {})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (CSV + "p1,sk three,three,,,,\n", "2.secret"),
        (CSV + "p1,sk-three,three,,x,,\n", "2.priority"),
        (CSV + "p1,sk-three,three,,,,rpm=many\n", "2.limits.rpm"),
        (CSV + "p1,sk-three,three,,,,,surplus\n", "2.column"),
        (f"p1,{HIDDEN}\n", "body"),
        ("", "body"),
    ],
)
def test_nothing_is_added_if_one_is_wrong(client: httpx2.Client, body: str, field: str) -> None:
    headers = {"Content-Type": "text/csv"}
    answer = client.post("/api/v1/keys/import", content=body, headers=headers)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert HIDDEN not in answer.text
    assert ids(client) == ["key-1"]
