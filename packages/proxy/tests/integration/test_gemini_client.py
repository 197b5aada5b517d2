"""Google's client against the service, whose keys are Gemini's."""

import base64
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from apikeyrouter_simulator import RunningSimulator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]
LIMITS = {"rpm": 60000, "tpm": 100000000}
SCENARIO = {
    "providers": {
        "google": {
            "speaks": ["gemini"],
            "charge": "input",
            "models": ["flash", "pro"],
            "reply": {"tokens": 12},
            "scopes": {"one": {"limits": LIMITS}, "two": {"limits": LIMITS}},
            "keys": {
                "g1": {"secret": "AQ.sim-1", "scope": "one"},
                "g2": {"secret": "AQ.sim-2", "scope": "two"},
            },
        }
    }
}
LOOK = types.FunctionDeclaration(
    name="look", description="Look.", parameters_json_schema={"type": "object", "properties": {}}
)
GO = types.FunctionDeclaration(name="go", parameters_json_schema={"type": "object"})
TOOLS: Any = [types.Tool(function_declarations=[LOOK, GO])]
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


@pytest.fixture(scope="module")
def _google() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def google(_google: RunningSimulator) -> RunningSimulator:
    _google.reset()
    return _google


@pytest.fixture
def proxy(google: RunningSimulator, serve: Callable[..., Any]) -> Any:
    return serve(
        {
            "providers": {"g": {"kind": "gemini", "base_url": f"{google.url}/google"}},
            "keys": [
                {"id": f"key-{number}", "provider": "g", "secret": f"AQ.sim-{number}"}
                for number in (1, 2)
            ],
            "models": {"smart": ["g/pro"]},
        }
    )


@pytest.fixture
async def client_of(proxy: Any) -> AsyncIterator[Callable[[str], genai.Client]]:
    """Make clients of the service that speak a version of the API, and are closed."""
    clients: list[genai.Client] = []

    def make(version: str) -> genai.Client:
        options = types.HttpOptions(base_url=proxy.url, api_version=version)
        clients.append(genai.Client(api_key="any", http_options=options))
        return clients[-1]

    yield make
    for client in clients:
        await client.aio.aclose()
        client.close()


@pytest.fixture
def client(client_of: Callable[[str], genai.Client]) -> genai.Client:
    return client_of("v1beta")


@pytest.mark.parametrize("version", ["v1beta", "v1"])
async def test_content_plain_and_streamed(client_of: Any, version: str) -> None:
    client = client_of(version)
    answer = await client.aio.models.generate_content(model="flash", contents="Hello!")
    assert answer.text
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.candidates_token_count == 12
    stream = await client.aio.models.generate_content_stream(model="flash", contents="Hello!")
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.text or "" for chunk in chunks) == answer.text
    assert chunks[-1].candidates is not None
    assert chunks[-1].candidates[0].finish_reason is types.FinishReason.STOP
    assert client.models.generate_content(model="flash", contents="Hello!").text == answer.text
    assert "".join(
        chunk.text or ""
        for chunk in client.models.generate_content_stream(model="models/flash", contents="Hello!")
    )  # fmt: skip


async def test_chat_with_tools_one_after_the_other_and_at_once(client: genai.Client) -> None:
    config = types.GenerateContentConfig(tools=TOOLS, automatic_function_calling=BY_HAND)
    chat = client.aio.chats.create(model="flash", config=config)
    called = await chat.send_message("Look around!")
    assert [call.name for call in called.function_calls or ()] == ["look"]
    result = types.Part.from_function_response(name="look", response={"seen": "a tree"})
    assert (await chat.send_message(result)).text
    called = await chat.send_message("[[parallel]] Look and go!")
    assert [call.name for call in called.function_calls or ()] == ["look", "go"]
    results = [
        types.Part.from_function_response(name=name, response={"ok": True})
        for name in ("look", "go")
    ]
    stream = await chat.send_message_stream(results)  # type: ignore[arg-type] # parts are fine
    assert "".join([chunk.text or "" async for chunk in stream])


async def test_functions_are_called_by_the_client_itself(client: genai.Client) -> None:
    def look(place: str) -> str:
        """Look at a place."""
        return f"{place}: a tree"

    answer = await client.aio.models.generate_content(
        model="flash", contents="Look!", config=types.GenerateContentConfig(tools=[look])
    )
    assert answer.text
    assert answer.automatic_function_calling_history


async def test_thoughts_pictures_and_schemas_pass(client: genai.Client) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=100)
    config = types.GenerateContentConfig(
        thinking_config=thinking, system_instruction="Be brief.", response_mime_type="text/plain",
        max_output_tokens=50,
    )  # fmt: skip
    picture = types.Part.from_bytes(data=base64.b64decode("iVBORw0KGgo="), mime_type="image/png")
    answer = await client.aio.models.generate_content(
        model="flash", contents=["What is it?", picture], config=config
    )
    assert answer.parts is not None
    assert answer.parts[0].thought is True
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.thoughts_token_count == 4
    shaped = types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema={"type": "object"}
    )
    assert (
        await client.aio.models.generate_content(model="flash", contents="x", config=shaped)
    ).text


async def test_tokens_are_counted_and_vectors_made(client: genai.Client) -> None:
    counted = await client.aio.models.count_tokens(model="flash", contents="How many are these?")
    assert counted.total_tokens
    one = await client.aio.models.embed_content(model="flash", contents="a")
    assert one.embeddings is not None
    assert one.embeddings[0].values
    many = client.models.embed_content(model="smart", contents=["a", "b"])
    assert many.embeddings is not None
    assert len(many.embeddings) == 2


async def test_models_are_listed_page_by_page(client: genai.Client) -> None:
    config = types.ListModelsConfig(page_size=1)
    names = [model.name async for model in await client.aio.models.list(config=config)]
    assert names == ["models/smart", "models/flash", "models/pro"]
    shown = await client.aio.models.get(model="flash")
    assert shown.supported_actions == ["generateContent", "countTokens"]
    with pytest.raises(errors.ClientError, match="no-such-model"):
        await client.aio.models.get(model="no-such-model")


@pytest.mark.parametrize("model", ["smart", "g/pro", "models/g/pro", "pro"])
async def test_model_may_be_asked_for_by_any_of_its_names(client: genai.Client, model: str) -> None:
    answer = await client.aio.models.generate_content(model=model, contents="x")
    assert answer.model_version == "pro"


async def test_blocked_prompt_passes_as_it_is(client: genai.Client) -> None:
    answer = await client.aio.models.generate_content(model="flash", contents="[[block]]")
    assert answer.prompt_feedback is not None
    assert answer.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
    stream = await client.aio.models.generate_content_stream(model="flash", contents="[[block]]")
    assert [chunk.prompt_feedback is not None async for chunk in stream] == [True]


async def test_errors_are_googles(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await client.aio.models.generate_content(model="none-such", contents="x")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ClientError) as caught:
        await client.aio.models.generate_content(
            model="flash", contents=[types.Content(role="nobody", parts=[types.Part(text="x")])]
        )
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert caught.value.message == "Please use a valid role: user, model."
