"""What stands before the management API: the key, and orders that come twice."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from apikeyrouter_proxy.api.idempotency import KEPT_S, Orders
from apikeyrouter_proxy.api.logins import FAILURE_EVERY_S, FAILURES_AT_ONCE, Logins
from apikeyrouter_proxy.api.problems import ProblemError
from apikeyrouter_proxy.dataplane.asgi import Request

pytestmark = pytest.mark.unit


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def status_of(logins: Logins, key: str, address: str = "10.0.0.1", *, method: str = "GET") -> int:
    try:
        logins.check({b"x-api-key": key.encode()}, address, method)
    except ProblemError as problem:
        return problem.status
    return 200


def test_guesses_are_forgiven_one_by_one_and_counted_by_address() -> None:
    clock = FakeClock()
    logins = Logins(SecretStr("right"), clock)
    assert [status_of(logins, "wrong") for _ in range(FAILURES_AT_ONCE)] == [401] * FAILURES_AT_ONCE
    assert (status_of(logins, "wrong"), status_of(logins, "right")) == (429, 429)
    assert status_of(logins, "right", "10.0.0.2") == 200
    clock.now += FAILURE_EVERY_S
    assert [status_of(logins, "wrong"), status_of(logins, "wrong")] == [401, 429]
    clock.now += FAILURE_EVERY_S
    # The right one takes nothing away.
    assert [status_of(logins, "right") for _ in range(3)] == [200] * 3
    clock.now += 1000.0
    assert [status_of(logins, "wrong") for _ in range(FAILURES_AT_ONCE)] == [401] * FAILURES_AT_ONCE


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({b"x-api-key": b"right"}, 200),
        ({b"authorization": b"Bearer right"}, 200),
        ({b"authorization": b"bearer  right "}, 200),
        ({b"x-api-key": b"right", b"authorization": b"Bearer wrong"}, 200),
        ({b"x-api-key": b"", b"authorization": b"Bearer right"}, 200),
        ({b"authorization": b"Basic right"}, 401),
        ({b"authorization": b"right"}, 401),
        ({b"x-api-key": b"righ"}, 401),
        ({b"x-api-key": "r\u00e9ght".encode()}, 401),
        ({}, 401),
    ],
)
def test_the_key_stands_in_one_of_two_headers(headers: dict[bytes, bytes], status: int) -> None:
    logins = Logins(SecretStr("right"), FakeClock())
    if status == 200:
        logins.check(headers, "")
        return
    with pytest.raises(ProblemError) as refused:
        logins.check(headers, "")
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("key", "method", "status"),
    [
        ("one", "DELETE", 200),
        ("two", "POST", 200),
        ("look", "GET", 200),
        ("look", "HEAD", 200),
        ("peek", "GET", 200),
        ("look", "POST", 403),
        ("peek", "DELETE", 403),
        ("one,two", "GET", 401),
        ("", "GET", 401),
    ],
)
def test_each_of_several_keys_opens_what_it_is_for(key: str, method: str, status: int) -> None:
    logins = Logins(SecretStr("one, two"), FakeClock(), reading=SecretStr("look,peek"))
    assert status_of(logins, key, method=method) == status


def test_a_key_that_only_looks_opens_nothing_else_alone() -> None:
    logins = Logins(None, FakeClock(), reading=SecretStr("look"))
    assert [status_of(logins, "look", method=method) for method in ("GET", "PUT")] == [200, 403]


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_addresses_of_one_ipv6_network_are_counted_together(
    first: str, second: str, is_one: bool
) -> None:
    logins = Logins(SecretStr("right"), FakeClock())
    for _ in range(FAILURES_AT_ONCE):
        status_of(logins, "wrong", first)
    assert status_of(logins, "right", second) == (429 if is_one else 200)


def order(name: str, path: str = "/api/v1/keys") -> Request:
    headers = [(b"idempotency-key", name.encode())]
    return Request({"type": "http", "method": "POST", "path": path, "headers": headers})


async def carry_out(orders: Orders, request: Request, status: int, body: bytes = b"{}") -> bool:
    """Carry an order out unless it was already; tell whether it was."""

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    begun = await orders.begin(request, body)
    assert begun is not None
    if begun.is_done.is_set():
        return True
    sending = begun.recording(send)
    await sending({"type": "http.response.start", "status": status, "headers": []})
    await sending({"type": "http.response.body", "body": b"done"})
    orders.end(request, begun)
    return False


async def test_orders_of_one_key_that_come_together_are_one() -> None:
    orders = Orders(FakeClock())
    done = await asyncio.gather(*(carry_out(orders, order("a"), 201) for _ in range(5)))
    assert sorted(done) == [False, True, True, True, True]


@pytest.mark.parametrize(("status", "is_repeated"), [(201, True), (422, True), (503, False)])
async def test_what_failed_by_our_fault_may_be_tried_again(status: int, is_repeated: bool) -> None:
    orders = Orders(FakeClock())
    assert await carry_out(orders, order("a"), status) is False
    assert await carry_out(orders, order("a"), status) is is_repeated


async def test_an_answer_is_kept_for_an_hour() -> None:
    clock = FakeClock()
    orders = Orders(clock)
    await carry_out(orders, order("a"), 201)
    clock.now += KEPT_S
    assert await carry_out(orders, order("a"), 201) is True
    clock.now += 1.0
    assert await carry_out(orders, order("a"), 201) is False


@pytest.mark.parametrize(
    ("name", "path", "body", "status"),
    [
        ("a", "/api/v1/keys", b"other", 422),
        ("a", "/api/v1/clients", b"{}", 422),
        ("", "/api/v1/keys", b"{}", 400),
        ("x" * 256, "/api/v1/keys", b"{}", 400),
    ],
)
async def test_a_key_of_another_order_is_refused(
    name: str, path: str, body: bytes, status: int
) -> None:
    orders = Orders(FakeClock())
    await carry_out(orders, order("a"), 201)
    with pytest.raises(ProblemError) as refused:
        await orders.begin(order(name, path), body)
    assert refused.value.status == status


async def test_answers_are_bounded() -> None:
    orders = Orders(FakeClock())
    for number in range(1100):
        await carry_out(orders, order(f"n-{number}"), 201)
    assert await carry_out(orders, order("n-1099"), 201) is True
    assert await carry_out(orders, order("n-0"), 201) is False
