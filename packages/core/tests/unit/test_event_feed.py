"""Events tell of a request from arrival to end, and are made only if somebody reads them."""

import asyncio
from typing import Any

import msgspec
import pytest

from apikeyrouter import ApiKeyRouter, NoEligibleKeysError
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.feed.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    KeyMoved,
    RequestArrived,
    RequestDequeued,
    RequestEnded,
    RequestQueued,
)
from apikeyrouter.domain.interfaces.observability_manager import ObservabilityManager
from apikeyrouter.domain.ledger.window import INDEX_OF
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit

OF_REQUESTS = {
    RequestArrived, RequestQueued, RequestDequeued, AttemptStarted, AttemptEnded, RequestEnded,
}  # fmt: skip
REFUSED = Failure(FailureClass.RATE_LIMITED, "slow down", 429, retry_after_s=30.0)
BAD = Failure(FailureClass.BAD_REQUEST, "no such field", 400)


class Reader(ObservabilityManager):
    """Reads the kinds of events that it wants."""

    def __init__(self, *wanted: type[Event]) -> None:
        self.wanted = set(wanted)
        self.read: list[Event] = []

    def wants(self, kind: type[Event]) -> bool:
        return kind in self.wanted

    def emit(self, event: Event) -> None:
        self.read.append(event)

    def log(self, level: str, message: str, **context: Any) -> None:
        raise AssertionError(message)


class Scene:
    """A router with two keys of one provider, a clock that is set by hand, and what it tells."""

    def __init__(self, reader: Reader | None = None) -> None:
        self.now = 1000.0
        self.reader = reader or Reader(*OF_REQUESTS)
        self.router = ApiKeyRouter(
            observability_manager=self.reader,
            config={"max_queue_wait_seconds": 60.0},
            clock=lambda: self.now,
        )

    async def register(self, keys: int = 2, **limits: float) -> None:
        await self.router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        for number in range(1, keys + 1):
            facts = {"id": f"k{number}", "limits": limits}
            await self.router.register_key(f"sk-test-{number}", "p", facts)

    def attempts(self, request_id: str = "r", **wishes: Any) -> Any:
        demand = Demand("m", request_id, input_tokens=10, output_cap=20, client="c", **wishes)
        return self.router.attempts(demand)

    def told(self) -> list[dict[str, Any]]:
        """Return what was read since it was asked last, as rows without empty cells."""
        rows = [
            {"event": type(event).__name__}
            | {k: v for k, v in msgspec.structs.asdict(event).items() if v not in (None, "")}
            for event in self.reader.read
        ]
        self.reader.read.clear()
        return rows

    def ends(self) -> list[tuple[str, str, int]]:
        ends = [event for event in self.reader.read if isinstance(event, RequestEnded)]
        return [(event.request_id, event.outcome, event.attempts) for event in ends]


async def test_request_that_fails_over_is_told_from_arrival_to_settlement() -> None:
    scene = Scene()
    await scene.register(rpm=60, tpm=1000)
    async for attempt in scene.attempts():
        reserved = attempt.grant.hold.amounts[INDEX_OF[Dimension.TOKENS]]
        scene.now += 0.5
        if attempt.slot.id == "k1":
            attempt.fail(REFUSED)
        else:
            attempt.answered()
            scene.now += 2.0
            attempt.settle(12, 8)
    one = {"request_id": "r", "provider_id": "p", "model": "m"}
    request = {"request_id": "r", "model": "m", "client": "c"}
    first, second = {"key_id": "k1", "number": 1}, {"key_id": "k2", "number": 2}
    assert scene.told() == [
        {
            "event": "RequestArrived", "at": 1000.0, **request,
            "endpoint": "chat/completions", "stream": False, "input_tokens": 10, "output_cap": 20,
        },
        {
            "event": "AttemptStarted", "at": 1000.0, **one, **first,
            "scope_id": "p/k1", "waited_s": 0.0, "reserved_tokens": reserved,
        },
        {
            "event": "AttemptEnded", "at": 1000.5, **one, **first,
            "outcome": "rate_limited", "seconds": 0.5, "waited_s": 0.0,
            "input_tokens": 0, "output_tokens": 0, "charged_tokens": 0.0,
        },
        {
            "event": "AttemptStarted", "at": 1000.5, **one, **second,
            "scope_id": "p/k2", "waited_s": 0.0, "reserved_tokens": reserved,
        },
        {
            "event": "AttemptEnded", "at": 1003.0, **one, **second,
            "outcome": "ok", "seconds": 2.5, "waited_s": 0.0, "first_byte_s": 0.5,
            "input_tokens": 12, "output_tokens": 8, "charged_tokens": 20.0, "usage": Usage(12, 8),
        },
        {
            "event": "RequestEnded", "at": 1003.0, **request,
            "outcome": "ok", "seconds": 3.0, "waited_s": 0.0, "attempts": 2,
            "key_id": "k2", "provider_id": "p", "input_tokens": 12, "output_tokens": 8,
        },
    ]  # fmt: skip


async def test_wait_for_room_is_told_with_its_seconds() -> None:
    scene = Scene()
    await scene.register(keys=1, concurrency=1)
    running = await anext(scene.attempts("first"))
    scene.told()
    waiting = asyncio.ensure_future(anext(scene.attempts("second")))
    await asyncio.sleep(0)
    scene.now += 4.0
    running.settle()
    (await waiting).settle()
    rows = [row for row in scene.told() if row["request_id"] == "second"]
    told = [(row["event"], row["at"], row.get("waited_s"), row.get("waiting")) for row in rows]
    assert told == [
        ("RequestArrived", 1000.0, None, None),
        ("RequestQueued", 1000.0, None, 1),
        ("RequestDequeued", 1004.0, None, 0),
        ("AttemptStarted", 1004.0, 4.0, None),
        ("AttemptEnded", 1004.0, 4.0, None),
        ("RequestEnded", 1004.0, 4.0, None),
    ]
    assert (rows[2]["outcome"], rows[2]["seconds"]) == ("granted", 4.0)


async def test_waiter_that_leaves_is_told_as_cancelled() -> None:
    scene = Scene()
    await scene.register(keys=1, concurrency=1)
    running = await anext(scene.attempts("first"))
    waiting = asyncio.ensure_future(anext(scene.attempts("second")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    told = [(row["event"], row.get("outcome")) for row in scene.told()[4:]]
    assert told == [("RequestDequeued", "cancelled"), ("RequestEnded", "cancelled")]
    running.cancel()


def _settle(attempt: Attempt) -> None:
    attempt.settle()


def _cancel(attempt: Attempt) -> None:
    attempt.cancel()


def _refuse(attempt: Attempt) -> None:
    attempt.fail(REFUSED)


def _spoil(attempt: Attempt) -> None:
    attempt.fail(BAD)


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(_settle, "ok"), (_cancel, "cancelled"), (_refuse, "rate_limited"), (_spoil, "bad_request")],
)
@pytest.mark.parametrize("stays", [True, False], ids=["loop goes on", "loop was left"])
async def test_request_ends_once_however_its_attempts_end(
    end: Any, outcome: str, stays: bool
) -> None:
    scene = Scene()
    await scene.register(keys=1)
    attempts = scene.attempts(max_wait=0.0)
    attempt = await anext(attempts)
    if not stays:
        del attempts
        end(attempt)
    else:
        end(attempt)
        with pytest.raises((StopAsyncIteration, NoEligibleKeysError)):
            await anext(attempts)
        outcome = "no_capacity" if end is _refuse else outcome
    assert scene.ends() == [("r", outcome, 1)]


async def test_loop_that_is_left_after_a_failure_ends_its_request() -> None:
    scene = Scene()
    await scene.register(keys=2)
    async for attempt in scene.attempts():
        attempt.fail(REFUSED)
        break
    assert scene.ends() == [("r", "rate_limited", 1)]


@pytest.mark.parametrize(
    ("limits", "wishes", "outcome"),
    [
        ({"tpm": 5}, {}, "no_capacity"),
        ({}, {"provider_id": "nobody"}, "unknown_model"),
    ],
)
async def test_request_that_no_key_takes_is_told_with_its_reason(
    limits: dict[str, float], wishes: dict[str, Any], outcome: str
) -> None:
    scene = Scene()
    await scene.register(keys=1, **limits)
    with pytest.raises(NoEligibleKeysError):
        await anext(scene.attempts(**wishes))
    assert scene.ends() == [("r", outcome, 0)]
    trace = scene.router.get_request_trace("r")
    assert trace is not None
    assert (trace["outcome"], trace["ended_at"]) == (outcome, 1000.0)


async def test_own_limit_is_an_outcome_of_its_own() -> None:
    scene = Scene()
    await scene.register(keys=1)
    own = scene.router.open_account("client c", {"rpm": 1})
    for _ in range(2):
        attempts = scene.router.attempts(Demand("m", "r"), accounts=(own,))
        try:
            (await anext(attempts)).settle()
        except NoEligibleKeysError:
            break
    assert scene.ends() == [("r", "ok", 1), ("r", "own_limit", 0)]


async def test_only_what_somebody_wants_is_made() -> None:
    scene = Scene(Reader(KeyMoved))
    await scene.register(keys=1)
    (await anext(scene.attempts())).fail(REFUSED)
    assert {type(event) for event in scene.reader.read} == {KeyMoved}
    heard: list[Event] = []
    scene.router.listeners.append(heard.append)
    scene.now += 60.0
    (await anext(scene.attempts())).settle()
    kinds = [RequestArrived, AttemptStarted, AttemptEnded, RequestEnded]
    assert [type(event) for event in heard if type(event) in OF_REQUESTS] == kinds
    assert all(isinstance(event, KeyMoved) for event in scene.reader.read)
