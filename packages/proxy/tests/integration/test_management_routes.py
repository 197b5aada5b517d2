"""What holds for every route of the management API, as its own description lists them."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

KEY = {"X-API-Key": "management-key-of-the-tests"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Bodies that no route can use, or that some can.
BODIES: tuple[Any, ...] = (None, {}, [], 1, "x", {"x": None}, {"limits": {"rpm": -1}}, [{}])
#: Names that there are, that there are not, and that are odd.
NAMES = ("key-1", "p1", "p1/key-1", "none", "%00", "%F0%9F%94%91", "..%2F..", "a" * 300)


def described(client: httpx2.Client) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = client.get("/openapi.json").json()["paths"]
    return paths


def named(path: str, name: str) -> str:
    before, brace, rest = path.partition("{")
    return before + name + rest.partition("}")[2] if brace else path


def test_without_a_key_every_answer_is_401(manage: Callable[..., httpx2.Client]) -> None:
    client = manage()
    operations = [
        (method, named(path, "key-1"))
        for path, operations in described(client).items()
        for method in operations
    ]
    assert len(operations) > 40
    for method, path in [*operations, ("GET", "/api/v1/none"), ("PUT", "/api/v1/keys")]:
        answer = client.request(method, path, json={})
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.headers["content-type"] == "application/problem+json"


def test_every_answer_is_documented(manage: Callable[..., httpx2.Client]) -> None:
    client = manage()
    client.headers.update(KEY)
    seen = set()
    for path, operations in described(client).items():
        for method, operation in operations.items():
            for name in NAMES if "{" in path else ("",):
                for body in BODIES if method != "get" else (None,):
                    answer = client.request(
                        method, named(path, name), content=json.dumps(body),
                        headers={"Content-Type": "application/json"},
                    )  # fmt: skip
                    # What leaves the described paths is answered by another route, or by none.
                    told = set(operation["responses"]) | {"404", "405"}
                    assert str(answer.status_code) in told, (method, path, name, body, answer.text)
                    assert answer.status_code < 500
                    seen.add(answer.status_code)
    assert {200, 404, 409, 422} <= seen


@pytest.mark.parametrize("name", ["key-1", "team/key-1"])
def test_a_method_that_is_not_is_405_and_told_which_is(
    manage: Callable[..., httpx2.Client], name: str
) -> None:
    client = manage()
    client.headers.update(KEY)
    verbs = [path for path in described(client) if "}/" in path]
    assert len(verbs) >= 7
    for path in verbs:
        for method in METHODS:
            answer = client.request(method, named(path, name), json={})
            if method == "POST":
                assert answer.status_code != 405
            else:
                assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), path


def test_every_405_tells_all_methods_that_are_possible(
    manage: Callable[..., httpx2.Client],
) -> None:
    client = manage()
    client.headers.update(KEY)
    for path, operations in described(client).items():
        answer = client.request("PUT", named(path, "key-1"), json={})
        told = {method.strip().lower() for method in answer.headers["allow"].split(",")}
        assert (path, answer.status_code, told) == (path, 405, set(operations))
