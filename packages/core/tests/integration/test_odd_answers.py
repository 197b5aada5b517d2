"""Answers that are not what their status says, and callers' code that fails: nothing leaks."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    Demand,
    Message,
    NoEligibleKeysError,
    ProviderAdapter,
    RequestIntent,
    SystemError,
)
from apikeyrouter.domain.interfaces.state_store import StateQuery
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.domain.models.api_key import APIKey, KeyState
from apikeyrouter.domain.models.routing_decision import RoutingObjective
from apikeyrouter.domain.models.system_error import ErrorCategory
from apikeyrouter.domain.models.system_response import ResponseMetadata, SystemResponse
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
INTENT = RequestIntent(model="small", messages=[Message(role="user", content="Hello!")])
FINE = json.dumps(
    {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
).encode()
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'{"error":{"message":"Rate limited","code":429,"type":"rate_limit_exceeded"}}'


class Scripted(OpenAIAdapter):
    """Answers each key with what the script says; the real adapter around it."""

    def __init__(self, script: Callable[[str], tuple[int, dict[str, str], list[Any]]]) -> None:
        super().__init__("http://127.0.0.1:1/v1")
        self.script = script
        self.calls: list[str] = []

    async def send(self, request: WireRequest, secret: str) -> WireResponse:
        self.calls.append(secret)
        status, headers, pieces = self.script(secret)

        async def chunks() -> AsyncIterator[bytes]:
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece

        async def read() -> bytes:
            return b"".join([piece async for piece in chunks()])

        kind = headers.get("content-type", "application/json")
        return WireResponse(status, headers, chunks(), read, lambda: None, content_type=kind)


def events(*pieces: Any, kind: str = "text/event-stream", **headers: str) -> Any:
    return 200, {"content-type": kind, **headers}, list(pieces)


def plain(body: bytes, status: int = 200, **headers: str) -> Any:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, [body]


async def router_with(adapter: ProviderAdapter, *secrets: str, **facts: Any) -> ApiKeyRouter:
    router = ApiKeyRouter(config={"log_level": "CRITICAL", "max_queue_wait_seconds": 1.0})
    await router.register_provider("p", adapter)
    for secret in secrets:
        await router.register_key(secret, "p", {"id": secret, **facts})
    return router


def first_then_fine(answer: Any) -> Callable[[str], Any]:
    """Answer the first call as given, and every later one well."""
    answers = [answer]
    return lambda _: answers.pop() if answers else plain(FINE)


@pytest.mark.parametrize(
    "answer",
    [
        plain(ERROR),
        plain(b""),
        plain(b"<html>sign in</html>", content_type="Text/HTML; charset=utf-8"),
    ],
    ids=["error inside 200", "nothing inside 200", "a page inside 200"],
)
async def test_failure_that_says_200_is_tried_elsewhere(answer: Any) -> None:
    adapter = Scripted(first_then_fine(answer))
    async with await router_with(adapter, "key-a", "key-b") as router:
        assert (await router.route(INTENT)).content == "hi"
        assert len(adapter.calls) == 2


@pytest.mark.parametrize("status", [500, 503, 529])
async def test_key_told_to_wait_by_a_failing_provider_gets_no_call_until_then(status: int) -> None:
    def script(secret: str) -> Any:
        return plain(b"{}", status, retry_after="30") if secret == "key-a" else plain(FINE)

    adapter = Scripted(script)
    async with await router_with(adapter, "key-a", "key-b") as router:
        for _ in range(20):
            await router.route(INTENT)
        assert adapter.calls.count("key-a") == 1


def key_a_fails(secret: str) -> Any:
    return plain(b"{}", 500) if secret == "key-a" else plain(FINE)


async def test_key_that_always_fails_beside_one_that_answers_is_called_less_and_less() -> None:
    adapter = Scripted(key_a_fails)
    async with await router_with(adapter, "key-a", "key-b") as router:
        for _ in range(50):
            await router.route(INTENT)
        assert adapter.calls.count("key-a") <= 4


async def test_error_in_the_midst_of_a_stream_is_raised() -> None:
    adapter = Scripted(lambda _: events(DELTA, b"data: " + ERROR + b"\n\n"))
    async with await router_with(adapter, "key-a") as router:
        stream = router.route_stream(INTENT)
        assert (await anext(stream)).content == "hi"
        with pytest.raises(SystemError, match="Rate limited"):
            await anext(stream)
        trace = router.get_request_trace(next(iter(router._records)))
        assert trace["attempts"][0]["outcome"] == "mid_stream"


async def test_first_event_cut_in_two_is_judged_whole() -> None:
    whole = b"data: " + ERROR + b"\n\n"
    answers = [events(DELTA, FINISH, DONE), events(whole[:20], whole[20:60], whole[60:])]
    adapter = Scripted(lambda _: answers.pop())
    async with await router_with(adapter, "key-a", "key-b") as router:
        text = "".join([chunk.content async for chunk in router.route_stream(INTENT)])
    assert (text, len(adapter.calls)) == ("hi", 2)


@pytest.mark.parametrize(
    "answer",
    [
        events(DELTA, FINISH, DONE, ConnectionResetError()),
        events(DELTA, FINISH, ConnectionResetError()),
        events(DELTA, FINISH, DONE, kind="Text/Event-Stream; charset=utf-8"),
        events(DELTA, FINISH, DONE, kind=""),
        events(DELTA, FINISH, DONE, kind="application/octet-stream"),
    ],
    ids=["cut after the end", "cut after the finish reason", "odd case", "no type", "odd type"],
)
async def test_whole_stream_is_whole_however_it_is_labelled_or_ends(answer: Any) -> None:
    async with await router_with(Scripted(lambda _: answer), "key-a") as router:
        text = "".join([chunk.content async for chunk in router.route_stream(INTENT)])
        assert text == "hi"
        assert router.get_state_summary()["open_reservations"] == 0


async def test_compressed_stream_passes_as_it_is() -> None:
    adapter = Scripted(lambda _: events(b"\x1f\x8b" * 40, **{"content-encoding": "gzip"}))
    async with await router_with(adapter, "key-a") as router:
        demand = Demand(model="small", request_id="r", stream=True)
        answer = await router.forward(demand, lambda _: WireRequest("chat/completions"))
        assert b"".join([chunk async for chunk in answer.stream]) == b"\x1f\x8b" * 40
        assert router.get_state_summary()["open_reservations"] == 0


async def test_refusal_that_repeats_our_secret_is_masked() -> None:
    body = b'{"error":{"message":"no such key: my-plain-secret"}}'
    adapter = Scripted(lambda _: plain(body, 400))
    async with await router_with(adapter, "my-plain-secret") as router:
        answer = await router.forward(
            Demand(model="small", request_id="r"), lambda _: WireRequest("chat/completions")
        )
        assert b"my-plain-secret" not in answer.body
        assert "my-plain-secret" not in answer.failure.message


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (404, {"error": {"code": "model_not_found", "message": "no"}}, "model_unavailable"),
        (401, {"error": {"code": "invalid_api_key", "message": "no"}}, "key_invalid"),
        (429, {"error": {"type": "insufficient_quota", "message": "no"}}, "quota_billing"),
    ],
)
async def test_later_requests_are_told_what_keeps_every_key_from_them(
    status: int, body: dict[str, Any], cause: str
) -> None:
    adapter = Scripted(lambda _: plain(json.dumps(body).encode(), status))
    async with await router_with(adapter, "key-a", "key-b") as router:
        with pytest.raises(SystemError):
            await router.route(INTENT)
        with pytest.raises(NoEligibleKeysError) as caught:
            await router.route(INTENT)
        assert caught.value.cause == cause
        assert len(adapter.calls) == 2


async def test_request_that_cannot_be_built_holds_nothing() -> None:
    def fails(_: Any) -> WireRequest:
        raise RuntimeError("no body today")

    adapter = Scripted(lambda _: plain(FINE))
    async with await router_with(adapter, "key-a", limits={"concurrency": 1}) as router:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="no body today"):
                await router.forward(Demand(model="small", request_id="r"), fails)
        assert router.get_state_summary()["open_reservations"] == 0
        assert (await router.route(INTENT)).content == "hi"


class Own(ProviderAdapter):
    """A user's adapter whose methods are plain functions, or coroutines, or wrong."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    def execute_request(self, intent: RequestIntent, key: APIKey) -> Any:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def normalize_response(self, raw: Any) -> Any:
        if raw == "wrong":
            return {"not": "a response"}
        return SystemResponse(content=raw, metadata=ResponseMetadata(model_used="m"))


async def test_users_methods_may_be_plain_or_coroutines() -> None:
    async with await router_with(Own("hi"), "key-a") as router:
        assert (await router.route(INTENT)).content == "hi"


async def test_users_answer_of_another_type_is_told_and_holds_nothing() -> None:
    async with await router_with(Own("wrong"), "key-a", limits={"concurrency": 1}) as router:
        for _ in range(2):
            with pytest.raises(SystemError, match="should return a SystemResponse"):
                await router.route(INTENT)
        assert router.get_state_summary()["open_reservations"] == 0


@pytest.mark.parametrize(
    ("raised", "category"),
    [
        (TimeoutError(), ErrorCategory.TimeoutError),
        (ConnectionResetError("gone"), ErrorCategory.NetworkError),
        (KeyError("x"), ErrorCategory.UnknownError),
    ],
)
async def test_what_a_users_adapter_raises_is_named(
    raised: Exception, category: ErrorCategory
) -> None:
    async with await router_with(Own(raised), "key-a") as router:
        with pytest.raises(SystemError) as caught:
            await router.route(INTENT)
        assert caught.value.category is category


async def test_stream_from_an_adapter_that_passes_no_bytes_holds_nothing() -> None:
    async with await router_with(Own("hi"), "key-a") as router:
        with pytest.raises(Exception, match="cannot stream"):
            async for _ in router.route_stream(INTENT):
                pass
        assert router.get_state_summary()["open_reservations"] == 0


async def test_every_decision_is_kept_once_whatever_became_of_it() -> None:
    answers = [plain(FINE), plain(b"{}", 400), plain(FINE), plain(b"{}", 500)]
    adapter = Scripted(lambda _: answers.pop())
    async with await router_with(adapter, "key-a") as router:
        await router.route({**INTENT.model_dump(), "request_id": "one"})
        with pytest.raises(SystemError):
            await router.route({**INTENT.model_dump(), "request_id": "two"})
        await router.route({**INTENT.model_dump(), "request_id": "three"})
        found = await router.state_store.query_state(StateQuery("RoutingDecision"))
        assert [decision.request_id for decision in found] == ["three", "two", "one"]
        key = await router.key_manager.get_key("key-a")
        assert (key.usage_count, key.failure_count, key.state) == (3, 1, KeyState.AVAILABLE)
        assert key.last_used_at is not None


async def test_hard_constraint_counts_what_other_objectives_have_seen() -> None:
    adapter = Scripted(key_a_fails)
    async with await router_with(adapter, "key-a", "key-b") as router:
        for _ in range(4):
            await router.route(INTENT)
        adapter.calls.clear()
        strict = RoutingObjective(primary="reliability", constraints={"min_reliability": 0.99})
        await router.route(INTENT, strict)
        assert adapter.calls == ["key-b"]


async def test_call_that_takes_too_long_is_given_up_and_holds_nothing() -> None:
    class Slow(Own):
        async def execute_request(self, intent: RequestIntent, key: APIKey) -> Any:
            await asyncio.sleep(30)

    router = ApiKeyRouter(config={"log_level": "CRITICAL", "request_timeout_seconds": 0.05})
    async with router:
        await router.register_provider("p", Slow("hi"))
        await router.register_key("key-a", "p")
        with pytest.raises(SystemError) as caught:
            await router.route(INTENT)
        assert caught.value.category is ErrorCategory.TimeoutError
        assert router.get_state_summary()["open_reservations"] == 0


async def test_words_of_the_provider_are_told_when_no_other_model_can_serve_it() -> None:
    body = b'{"error":{"code":"context_length_exceeded","message":"too long by far"}}'
    adapter = Scripted(lambda _: plain(body, 400))
    async with await router_with(adapter, "key-a", "key-b") as router:
        answer = await router.forward(
            Demand(model="small", request_id="r"), lambda _: WireRequest("chat/completions")
        )
        assert (answer.status, answer.body, len(adapter.calls)) == (400, body, 1)
        assert router.get_state_summary()["open_reservations"] == 0
