"""Anthropic's official client against the service."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOLS: Any = [
    {"name": name, "input_schema": {"type": "object"}} for name in ("weather", "time", "stocks")
]
ASK: Any = {"model": "claude-opus-4-8", "max_tokens": 2000}
SCENARIO: Any = {
    "providers": {
        "claude": {
            "speaks": ["anthropic"],
            "account_header": True,
            "models": ["claude-opus-4-8", "claude-sonnet-5"],
            "reply": {"tokens": 9},
            "scopes": {
                "one": {"limits": {"rpm": 60000, "itpm": 9000000, "otpm": 9000000}},
                "two": {"limits": {"rpm": 60000, "itpm": 9000000, "otpm": 9000000}},
            },
            "keys": {
                "c1": {"secret": "sk-ant-1", "scope": "one"},
                "c2": {"secret": "sk-ant-2", "scope": "two"},
            },
        }
    }
}


@pytest.fixture(scope="module")
def _claude() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def claude(_claude: RunningSimulator) -> RunningSimulator:
    _claude.reset()
    return _claude


@pytest.fixture
def proxy(claude: RunningSimulator, serve: Callable[..., Any]) -> Any:
    return serve(config_of(claude))


def config_of(claude: RunningSimulator, **more: Any) -> dict[str, Any]:
    return {
        "providers": {"anthropic": {"base_url": f"{claude.url}/claude"}},
        "keys": [
            {"id": f"key-{n}", "provider": "anthropic", "secret": f"sk-ant-{n}"} for n in (1, 2)
        ],
        **more,
    }


def client_of(proxy: Any, **more: Any) -> anthropic.AsyncAnthropic:
    more = {"api_key": "any", "max_retries": 0, **more}
    return anthropic.AsyncAnthropic(base_url=proxy.url, **more)


async def test_message_plain_and_streamed(proxy: Any) -> None:
    async with client_of(proxy) as client:
        plain = await client.messages.create(messages=HELLO, **ASK)
        async with client.messages.stream(messages=HELLO, **ASK) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_message()
    assert plain.content[0].text == streamed.content[0].text != ""
    assert streamed.usage.output_tokens == plain.usage.output_tokens == 9
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


def test_blocking_client_gets_the_same(proxy: Any) -> None:
    with anthropic.Anthropic(base_url=proxy.url, api_key="any", max_retries=0) as client:
        plain = client.messages.create(messages=HELLO, **ASK)
        with client.messages.stream(messages=HELLO, **ASK) as stream:
            assert stream.get_final_text() == plain.content[0].text


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_parallel_tools_and_their_results(proxy: Any, streams: bool) -> None:
    asked = [{"role": "user", "content": "all [[parallel]]"}]
    async with client_of(proxy) as client:
        if streams:
            async with client.messages.stream(messages=asked, tools=TOOLS, **ASK) as stream:
                message = await stream.get_final_message()
        else:
            message = await client.messages.create(messages=asked, tools=TOOLS, **ASK)
        calls = [block for block in message.content if block.type == "tool_use"]
        assert [call.name for call in calls] == ["weather", "time", "stocks"]
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": "1", "is_error": False}
            for call in calls
        ]
        turns = [
            *asked,
            {"role": "assistant", "content": [block.model_dump() for block in message.content]},
            {"role": "user", "content": results},
        ]
        answer = await client.messages.create(messages=turns, tools=TOOLS, **ASK)
    assert answer.stop_reason == "end_turn"


async def test_thoughts_come_back_with_their_signature(proxy: Any) -> None:
    ask = {**ASK, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    async with client_of(proxy) as client:
        async with client.messages.stream(messages=HELLO, **ask) as stream:
            first = await stream.get_final_message()
        assert first.content[0].type == "thinking"
        # A signature that was touched is refused by the provider.
        turns = [*HELLO, {"role": "assistant", "content": first.content}, *HELLO]
        assert (await client.messages.create(messages=turns, **ask)).content
        turns[1]["content"][0].signature += "x"
        with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
            await client.messages.create(messages=turns, **ask)


async def test_documents_and_marks_for_the_cache_pass(
    claude: RunningSimulator, serve: Callable[..., Any]
) -> None:
    one_key = config_of(claude)
    del one_key["keys"][1:]
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "The sky is green."},
        "citations": {"enabled": True},
    }
    content = [document, {"type": "text", "text": "Which colour?"}]
    system = [{"type": "text", "text": "Be brief. " * 50, "cache_control": {"type": "ephemeral"}}]
    async with client_of(serve(one_key)) as client:
        for name in ("cache_creation_input_tokens", "cache_read_input_tokens"):
            answer = await client.messages.create(
                messages=[{"role": "user", "content": content}], system=system, **ASK
            )
            assert getattr(answer.usage, name) > 0


async def test_tokens_are_counted(proxy: Any) -> None:
    async with client_of(proxy) as client:
        counted = await client.messages.count_tokens(messages=HELLO, model="claude-opus-4-8")
    assert counted.input_tokens > 0


async def test_models_are_shown_in_anthropics_shape_and_in_pages(proxy: Any) -> None:
    async with client_of(proxy) as client:
        pages = await client.models.list(limit=1)
        assert (len(pages.data), pages.has_more) == (1, True)
        models = [model async for model in pages]
        assert sorted(model.id for model in models) == ["claude-opus-4-8", "claude-sonnet-5"]
        assert models[0].type == "model"
        assert (await client.models.list(limit=1000)).has_more is False
        back = await client.models.list(before_id=models[1].id)
        assert [model.id for model in back.data] == [models[0].id]
        assert (await client.models.retrieve("claude-sonnet-5")).display_name == "claude-sonnet-5"
        with pytest.raises(anthropic.BadRequestError, match="limit"):
            await client.models.list(limit=5000)
        with pytest.raises(anthropic.BadRequestError, match="after_id"):
            await client.models.list(after_id="none")


@pytest.mark.parametrize(
    ("headers", "shape"),
    [
        ({"anthropic-version": "2023-06-01", "authorization": "Bearer x"}, "first_id"),
        ({"x-api-key": "x"}, "first_id"),
        ({"authorization": "Bearer x"}, "object"),
        ({"authorization": "Bearer x", "x-api-key": "x"}, "object"),
    ],
    ids=["version", "key", "bearer", "both"],
)
def test_list_of_models_has_the_shape_of_its_client(
    proxy: Any, headers: dict[str, str], shape: str
) -> None:
    answer = httpx2.get(f"{proxy.url}/v1/models?limit=1000", headers=headers)
    assert answer.status_code == 200
    assert shape in answer.json()


@pytest.mark.parametrize(
    "given",
    [{"api_key": "token-1"}, {"api_key": None, "auth_token": "token-1"}],
    ids=["key", "bearer"],
)
async def test_client_is_known_by_key_or_bearer(
    claude: RunningSimulator, serve: Callable[..., Any], given: dict[str, Any]
) -> None:
    proxy = serve(config_of(claude, clients=[{"name": "me", "token": "token-1"}]))
    async with client_of(proxy, **given) as client:
        assert (await client.messages.create(messages=HELLO, **ASK)).content
    async with client_of(proxy, api_key="other") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(messages=HELLO, **ASK)
    assert caught.value.body["error"]["type"] == "authentication_error"


async def test_request_id_is_told_as_anthropic_does(proxy: Any) -> None:
    async with client_of(proxy) as client:
        answer = await client.messages.with_raw_response.create(messages=HELLO, **ASK)
        names = answer.headers.get_list("request-id")
        assert names == [answer.headers["x-request-id"]]
        assert "anthropic-organization-id" not in answer.headers
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.create(model="claude-none", max_tokens=5, messages=HELLO)
    assert caught.value.request_id == caught.value.body["request_id"]
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "not_found_error"


async def test_providers_own_words_pass_where_the_request_is_wrong(proxy: Any) -> None:
    async with client_of(proxy) as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.create(model="claude-opus-4-8", max_tokens=0, messages=HELLO)
    assert "max_tokens: Input should be greater than" in str(caught.value.body["error"]["message"])


async def test_overload_is_529_and_the_client_tries_again(
    proxy: Any, claude: RunningSimulator
) -> None:
    claude.condition(kind="status", status=529, provider="claude")
    async with client_of(proxy) as client:
        with pytest.raises(anthropic.OverloadedError) as caught:
            await client.messages.create(messages=HELLO, **ASK)
    assert caught.value.status_code == 529
    assert caught.value.body["error"]["type"] == "overloaded_error"


async def test_key_that_fails_midway_costs_no_request(proxy: Any, claude: RunningSimulator) -> None:
    claude.condition(kind="status", status=401, key="c1")
    async with client_of(proxy) as client:
        answers = await asyncio.gather(
            *(client.messages.create(messages=HELLO, **ASK) for _ in range(20))
        )
    assert len(answers) == 20


async def test_stream_that_fails_before_it_carries_anything_is_taken_over(
    proxy: Any, claude: RunningSimulator
) -> None:
    # The head, the beginning of an empty block and a ping come before the error.
    claude.condition(kind="stream_error", status=529, chunks=3, key="c1")
    async with client_of(proxy) as client:
        for _ in range(4):
            async with client.messages.stream(messages=HELLO, **ASK) as stream:
                assert (await stream.get_final_message()).stop_reason == "end_turn"


async def test_error_in_a_stream_reaches_the_client(proxy: Any, claude: RunningSimulator) -> None:
    claude.condition(kind="stream_error", status=529, chunks=6, provider="claude")
    async with (
        client_of(proxy) as client,
        client.messages.stream(messages=HELLO, **ASK) as stream,
    ):
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            await stream.get_final_message()


async def test_stream_that_breaks_off_ends_with_an_error_event(
    proxy: Any, claude: RunningSimulator
) -> None:
    claude.condition(kind="cut", chunks=6, provider="claude")
    async with (
        client_of(proxy) as client,
        client.messages.stream(messages=HELLO, **ASK) as stream,
    ):
        with pytest.raises(anthropic.APIStatusError, match="broke off"):
            await stream.get_final_message()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_root_is_answered(proxy: Any, method: str) -> None:
    answer = httpx2.request(method, proxy.url)
    assert answer.status_code == 200
    assert bool(answer.content) is (method == "GET")


@pytest.mark.parametrize("base", ["", "/v1"])
async def test_base_url_with_a_version_too_many_is_understood(proxy: Any, base: str) -> None:
    client = anthropic.AsyncAnthropic(base_url=proxy.url + base, api_key="any", max_retries=0)
    async with client:
        assert (await client.messages.create(messages=HELLO, **ASK)).content
