"""Google's client served by OpenAI's keys, and OpenAI's client by Google's."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors, types

from apikeyrouter import ApiKeyRouter, RouterSettings
from apikeyrouter.infrastructure.adapters.gemini_adapter import GeminiAdapter
from apikeyrouter_simulator import RunningSimulator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]
LIMITS = {"rpm": 60000, "tpm": 100000000}
SCENARIO = {
    "providers": {
        name: {
            "speaks": [speaks],
            "models": models,
            "reply": {"tokens": 9},
            "scopes": {"one": {"limits": LIMITS}},
            "keys": {f"{name}-1": {"secret": f"sk-{name}-1", "scope": "one"}},
        }
        for name, speaks, models in (
            ("oai", "openai", ["small"]), ("google", "gemini", ["flash", "gemini-3-pro"]),
            ("claude", "anthropic", ["opus"]),
        )
    }
}  # fmt: skip
PNG = base64.b64decode("iVBORw0KGgo=")
LOOK: Any = {"type": "object", "properties": {"place": {"type": "string"}}}
TOOLS: Any = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name=name, parameters_json_schema=LOOK)
            for name in ("look", "go")
        ]
    )
]
FUNCTIONS: Any = [
    {"type": "function", "function": {"name": name, "parameters": LOOK}} for name in ("look", "go")
]
BODY = {"contents": [{"parts": [{"text": "Hello!"}]}]}


@pytest.fixture(scope="module")
def _both() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def both(_both: RunningSimulator) -> RunningSimulator:
    _both.reset()
    return _both


def config_of(both: RunningSimulator, **more: Any) -> dict[str, Any]:
    return {
        "providers": {
            "oai": {"kind": "openai", "base_url": f"{both.url}/oai/v1"},
            "google": {"kind": "gemini", "base_url": f"{both.url}/google"},
            "claude": {"kind": "anthropic", "base_url": f"{both.url}/claude"},
        },
        "keys": [
            {"id": f"key-{name}", "provider": name, "secret": f"sk-{name}-1"}
            for name in ("oai", "google", "claude")
        ],
        **more,
    }


@pytest.fixture
def proxy(both: RunningSimulator, serve: Callable[..., Any]) -> Any:
    return serve(config_of(both))


@pytest.fixture
async def googles(proxy: Any) -> AsyncIterator[genai.Client]:
    options = types.HttpOptions(base_url=proxy.url, api_version="v1beta")
    client = genai.Client(api_key="any", http_options=options)
    yield client
    await client.aio.aclose()
    client.close()


@pytest.fixture
async def openais(proxy: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key="any", max_retries=0
    ) as client:
        yield client


async def test_googles_client_is_served_by_openais_key(googles: genai.Client) -> None:
    config = types.GenerateContentConfig(
        system_instruction="Be brief.", temperature=0.5, max_output_tokens=50,
        stop_sequences=["END"], response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
    )  # fmt: skip
    picture = types.Part.from_bytes(data=PNG, mime_type="image/png")
    answer = await googles.aio.models.generate_content(
        model="small", contents=["What is it?", picture], config=config
    )
    assert answer.text
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.candidates_token_count == 9
    assert answer.model_version == "small"
    stream = await googles.aio.models.generate_content_stream(model="small", contents="Hello!")
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.text or "" for chunk in chunks).strip() == answer.text.strip()
    assert chunks[-1].usage_metadata is not None
    assert chunks[-1].usage_metadata.candidates_token_count == 9


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(("model", "thinks"), [("small", False), ("opus", False), ("opus", True)])
async def test_tools_of_googles_client_are_called_by_anothers_model(
    googles: genai.Client, model: str, thinks: bool, streams: bool
) -> None:
    """With thoughts, the provider wants back what it has signed, with the calls."""
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2000)
    config = types.GenerateContentConfig(
        tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=thinking if thinks else None, max_output_tokens=4000,
    )  # fmt: skip
    chat = googles.aio.chats.create(model=model, config=config)

    async def send(message: Any) -> list[Any]:
        if not streams:
            return [await chat.send_message(message)]
        return [chunk async for chunk in await chat.send_message_stream(message)]

    said = await send("[[parallel]] Look and go!")
    calls = [call for chunk in said for call in chunk.function_calls or ()]
    assert [(call.name, call.args) for call in calls] == [
        ("look", {"place": "here"}), ("go", {"place": "here"}),
    ]  # fmt: skip
    results = [
        types.Part.from_function_response(name=call.name, response={"seen": call.name})
        for call in reversed(calls)
    ]
    said = await send(results)
    assert "".join(chunk.text or "" for chunk in said)


async def test_stream_that_is_no_event_stream_is_an_array(proxy: Any) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        path = "/v1beta/models/small:streamGenerateContent"
        answer = await client.post(path, json=BODY)
        assert answer.headers["content-type"] == "application/json"
        pieces = answer.json()
        assert len(pieces) > 5
        assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"
        events = await client.post(f"{path}?alt=sse", json=BODY)
        assert events.headers["content-type"] == "text/event-stream"
        assert [
            json.loads(line[6:])["candidates"] for line in events.text.split("\r\n\r\n")[:-1]
        ] == [piece["candidates"] for piece in pieces]


async def test_openais_client_is_served_by_googles_key(openais: openai.AsyncOpenAI) -> None:
    image = {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    content: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": image},
    ]
    messages: Any = [{"role": "system", "content": "x"}, {"role": "user", "content": content}]
    answer = await openais.chat.completions.create(
        model="flash", messages=messages, max_tokens=100, temperature=0.1, stop=["END"],
        reasoning_effort="low",
    )  # fmt: skip
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert (
        answer.usage.completion_tokens,
        answer.usage.completion_tokens_details.reasoning_tokens,
    ) == (9, 3)
    stream = await openais.chat.completions.create(
        model="flash", messages=[{"role": "user", "content": "Hi"}], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9


@pytest.mark.parametrize("model", ["flash", "gemini-3-pro"])
async def test_tools_of_openais_client_are_called_by_googles_model(
    openais: openai.AsyncOpenAI, model: str
) -> None:
    messages: Any = [{"role": "user", "content": "[[parallel]][[think]] Look and go!"}]
    called = await openais.chat.completions.create(model=model, messages=messages, tools=FUNCTIONS)
    message = called.choices[0].message
    assert called.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls] == ["look", "go"]  # type: ignore[union-attr]
    assert len({call.id for call in message.tool_calls}) == 2
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "a tree"}
        for call in reversed(message.tool_calls)
    ]
    # Once as it came, with the signature; once as clients send it that keep none.
    bare = message.model_dump(include={"role", "content", "tool_calls"})
    for call in bare["tool_calls"]:
        call.pop("extra_content", None)
    for turn in (message.model_dump(exclude_none=True), bare):
        answer = await openais.chat.completions.create(
            model=model, messages=[*messages, turn, *results], tools=FUNCTIONS
        )
        assert answer.choices[0].message.content


@pytest.mark.parametrize("model", ["flash", "gemini-3-pro"])
async def test_anthropics_client_is_served_by_googles_key(proxy: Any, model: str) -> None:
    tools: Any = [{"name": "look", "input_schema": LOOK}]
    async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="any", max_retries=0) as client:
        ask: Any = {"model": model, "max_tokens": 3000, "tools": tools}
        messages: Any = [{"role": "user", "content": "[[think]] Look!"}]
        called = await client.messages.create(messages=messages, **ask)
        [use] = [block for block in called.content if block.type == "tool_use"]
        assert (use.name, use.input) == ("look", {"place": "here"})
        assert called.stop_reason == "tool_use"
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "a tree"}
        turns: Any = [
            {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]},
        ]  # fmt: skip
        async with client.messages.stream(messages=[*messages, *turns], **ask) as stream:
            answer = await stream.get_final_message()
        assert answer.stop_reason == "end_turn"
        assert any(block.type == "text" and block.text for block in answer.content)


async def test_blocked_answers_are_content_filters(openais: openai.AsyncOpenAI) -> None:
    for mark in ("[[block]]", "[[safety]]"):
        answer = await openais.chat.completions.create(
            model="flash", messages=[{"role": "user", "content": mark}]
        )
        assert answer.choices[0].finish_reason == "content_filter"


async def test_what_openai_has_no_place_for_is_refused_by_name_or_told(
    both: RunningSimulator, serve: Callable[..., Any]
) -> None:
    body = {**BODY, "tools": [{"googleSearch": {}}]}
    path = "/v1beta/models/oai/small:generateContent"
    async with httpx2.AsyncClient() as client:
        strict = await client.post(serve(config_of(both)).url + path, json=body)
        assert (strict.status_code, strict.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert "tools.googleSearch" in strict.json()["error"]["message"]
        lenient = serve(config_of(both, translation="lenient"))
        answer = await client.post(lenient.url + path, json=body)
        assert answer.json()["candidates"][0]["content"]["parts"]
        assert answer.headers["x-translation-dropped"] == "tools.googleSearch"


async def test_openais_errors_are_told_as_googles(googles: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await googles.aio.models.generate_content(model="oai/none-such", contents="x")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


async def test_librarys_own_requests_are_served_by_googles_key(both: RunningSimulator) -> None:
    async with ApiKeyRouter(config=RouterSettings(log_level="CRITICAL")) as router:
        await router.register_provider("google", GeminiAdapter(f"{both.url}/google"))
        await router.register_key("sk-google-1", "google")
        intent = {
            "model": "flash", "messages": [{"role": "user", "content": "Hi"}],
            "parameters": {"tools": FUNCTIONS, "tool_choice": "none"},
        }  # fmt: skip
        answer = await router.route(intent)
        assert answer.content
        assert answer.metadata.finish_reason == "stop"
        assert answer.metadata.tokens_used.output_tokens == 9
        assert answer.metadata.model_used == "flash"
        chunks = [chunk async for chunk in router.route_stream(intent)]
        assert "".join(chunk.content for chunk in chunks) == answer.content
        called = await router.route({**intent, "parameters": {"tools": FUNCTIONS}})
        assert called.tool_calls[0]["function"] == {"name": "look", "arguments": '{"place":"here"}'}
