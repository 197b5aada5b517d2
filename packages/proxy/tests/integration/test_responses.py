"""Responses through the service, natively: the official client, failures, and what is refused."""

import gzip
from contextlib import suppress
from typing import Any

import httpx2
import openai
import pytest
from responses_provider import ResponsesProvider, event, events_of

pytestmark = pytest.mark.integration
TOOLS: Any = [{"type": "function", "name": "look", "parameters": {}, "strict": False}]
BUSY = 503, b'{"error":{"message":"busy","code":"server_is_overloaded"}}'


def client_of(proxy: Any, **more: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0, **more)


@pytest.fixture
def over(serve: Any, config_for: Any) -> Any:
    """Start the service before these providers, asked in their order."""

    def start(*providers: ResponsesProvider, **entry: Any) -> Any:
        config = config_for(*(serve(each).url + "/v1" for each in providers))
        for provider in config["providers"].values():
            provider.update(entry)
        config["models"] = {"small": [f"{name}/small" for name in config["providers"]]}
        return serve(config)

    return start


async def test_plain_streamed_and_with_tools(over: Any) -> None:
    provider = ResponsesProvider()
    async with client_of(over(provider)) as client:
        made = await client.responses.create(model="small", input="Hi!", instructions="Be brief.")
        assert (made.output_text, made.usage.total_tokens if made.usage else 0) == ("hello", 14)
        stream = await client.responses.create(model="small", input="Hi!", stream=True)
        kinds = [event.type async for event in stream]
        assert (kinds[0], kinds[-1], len(kinds)) == ("response.created", "response.completed", 10)
        called = await client.responses.create(model="small", input="Hi!", tools=TOOLS)
        assert called.output[0].type == "function_call"
        counted = await client.responses.input_tokens.count(model="small", input="Hi!")
        assert counted.input_tokens == 12
    assert [asked[1] for asked in provider.asked] == ["responses"] * 3 + ["responses/input_tokens"]
    assert provider.asked[0][3] == {
        "model": "small", "input": "Hi!", "instructions": "Be brief.",
    }  # fmt: skip


async def test_stream_helper_accumulates(over: Any) -> None:
    async with (
        client_of(over(ResponsesProvider())) as client,
        client.responses.stream(model="small", input="Hi!", tools=TOOLS) as stream,
    ):
        async for _ in stream:
            pass
        made = await stream.get_final_response()
    assert made.output[0].to_dict()["name"] == "look"


def test_sync_client(over: Any) -> None:
    proxy = over(ResponsesProvider())
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0) as client:
        with client.responses.stream(model="small", input="Hi!") as stream:
            text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        assert text == "hello"
        assert client.responses.create(model="small", input="Hi!").output_text == "hello"


async def test_overloaded_provider_is_left_for_another(over: Any) -> None:
    busy, fine = ResponsesProvider(refusal=BUSY), ResponsesProvider()
    async with client_of(over(busy, fine)) as client:
        assert (await client.responses.create(model="small", input="Hi!")).output_text == "hello"
    assert (len(busy.asked), len(fine.asked)) == (1, 1)


async def test_stream_that_fails_before_it_carries_anything_is_tried_elsewhere(over: Any) -> None:
    failed = {
        "type": "response.failed", "sequence_number": 2,
        "response": {"error": {"code": "server_error", "message": "boom"}},
    }  # fmt: skip
    bare = {"id": "r", "instructions": "x" * 30_000, "error": None, "usage": None}
    begun = {"type": "response.created", "response": bare}
    broken = ResponsesProvider(first_events=[begun, failed])
    async with client_of(over(broken, ResponsesProvider())) as client:
        stream = await client.responses.create(model="small", input="Hi!", stream=True)
        kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.completed"
    assert len(broken.asked) == 1


async def test_stream_that_breaks_off_raises_in_the_client(over: Any) -> None:
    delta = {"type": "response.output_text.delta", "delta": "x", "sequence_number": 1}
    proxy = over(ResponsesProvider(first_events=[delta]))
    async with client_of(proxy) as client:
        stream = await client.responses.create(model="small", input="Hi!", stream=True)
        with pytest.raises(openai.APIError, match="broke off its answer"):
            [event async for event in stream]


async def test_alias_is_spliced_into_bytes_that_pass_otherwise(over: Any) -> None:
    provider = ResponsesProvider()
    body = b'{"input":"Gr\\u00fc\xc3\x9fe" , "model" :"p1/small","stream":true}'
    async with httpx2.AsyncClient(base_url=over(provider).url) as client:
        answer = await client.post("/v1/responses", content=body)
        assert answer.content == b"".join(map(event, events_of(provider.stored["resp_1"][1])))
        packed = {"content-encoding": "gzip"}
        await client.post("/v1/responses", content=gzip.compress(body), headers=packed)
    assert [asked[3]["model"] for asked in provider.asked] == ["small", "small"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{}", "model is missing; name"),
        (b'{"prompt":{"id":"p"}}', "what prompt names is not known"),
        (b'{"previous_response_id":"resp_x","prompt":{}}', "what previous_response_id names"),
        (b"[", "JSON object"),
    ],
)
async def test_body_without_model_is_refused_in_words(over: Any, body: bytes, told: str) -> None:
    async with httpx2.AsyncClient(base_url=over(ResponsesProvider()).url) as client:
        answer = await client.post("/v1/responses", content=body)
    assert (answer.status_code, told in answer.json()["error"]["message"]) == (400, True)


async def test_clients_fault_passes_in_the_providers_words(over: Any) -> None:
    words = b'{"error":{"message":"Unknown parameter: \'x\'.","type":"invalid_request_error"}}'
    provider = ResponsesProvider(refusal=(400, words))
    async with httpx2.AsyncClient(base_url=over(provider).url) as client:
        answer = await client.post("/v1/responses", content=b'{"model":"small","x":1}')
    assert (answer.status_code, answer.content) == (400, words)


async def test_provider_without_responses_is_asked_once_for_them(over: Any) -> None:
    lacks, has = ResponsesProvider(paths=("chat",)), ResponsesProvider()
    async with client_of(over(lacks, has)) as client:
        for _ in range(3):
            made = await client.responses.create(model="small", input="Hi!")
            assert made.output_text == "hello"
    assert [asked[1] for asked in lacks.asked].count("responses") == 1


async def test_provider_that_is_said_to_lack_responses_is_never_asked(over: Any) -> None:
    lacks = ResponsesProvider()
    async with client_of(over(lacks, dialects=["openai"])) as client:
        with suppress(openai.NotFoundError):
            await client.responses.create(model="small", input="Hi!")
    assert "responses" not in [asked[1] for asked in lacks.asked]


async def test_unknown_model_is_no_reason_to_take_responses_for_unknown(over: Any) -> None:
    words = b'{"error":{"message":"The model `small` does not exist","code":"model_not_found"}}'
    provider = ResponsesProvider(refusal=(404, words))
    async with client_of(over(provider)) as client:
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="small", input="Hi!")
        provider.refusal = None
        assert (await client.responses.create(model="p1/tiny", input="Hi!")).output_text == "hello"
