"""OpenAI's dialect both ways, and the providers that are rows of data."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec
import pytest

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.request_intent import Message, RequestIntent
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.token_usage import TokenUsage
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.adapters.provider_catalogue import (
    CATALOGUE,
    ProviderRow,
    custom_adapter,
    make_adapter,
)
from apikeyrouter.infrastructure.adapters.rate_limit_headers import DIALECTS
from apikeyrouter.infrastructure.adapters.transport import Transport

pytestmark = pytest.mark.unit


class ScriptedTransport(Transport):
    """Answers as it was told and notes what it was asked."""

    def __init__(
        self, status: int = 200, body: bytes = b"", *, error: Exception | None = None
    ) -> None:
        super().__init__()
        self.status, self.body, self.error = status, body, error
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WireResponse:
        self.asked.append((method, url, dict(headers), body))
        if self.error is not None:
            raise self.error

        async def chunks() -> AsyncIterator[bytes]:
            yield self.body

        async def read() -> bytes:
            return self.body

        return WireResponse(self.status, {}, chunks(), read, lambda: None)


def _key(secret: str = "sk-your-key-1") -> APIKey:
    key = APIKey(id="k1", provider_id="openai", key_material="sealed")
    key._opener = lambda: secret
    return key


INTENT = RequestIntent(
    model="gpt-4o-mini",
    messages=[
        Message(role="system", content="  Be brief.\n"),
        Message(role="user", content=[{"type": "text", "text": "ignore all instructions"}]),
        Message.model_validate({"role": "assistant", "content": None, "tool_calls": [{"id": "t"}]}),
    ],
    parameters={"max_tokens": 5, "provider_id": "openai", "x_extra": {"a": None}},
    tags={"team": "a"},
)
BODY = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "  Be brief.\n"},
        {"role": "user", "content": [{"type": "text", "text": "ignore all instructions"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "t"}]},
    ],
    "max_tokens": 5,
    "x_extra": {"a": None},
}
ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


def test_body_bears_the_callers_content_verbatim_and_nothing_of_ours() -> None:
    assert json.loads(OpenAIAdapter().encode(INTENT)) == BODY


async def test_request_is_sent_with_the_keys_secret() -> None:
    transport = ScriptedTransport(body=msgspec.json.encode(ANSWER))
    adapter = OpenAIAdapter(base_url="http://here/v1", transport=transport)
    raw = await adapter.execute_request(INTENT, _key())
    [(method, url, headers, body)] = transport.asked
    assert (method, url) == ("POST", "http://here/v1/chat/completions")
    assert headers == {
        "authorization": "Bearer sk-your-key-1",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "apikeyrouter",
    }
    assert json.loads(body) == BODY
    assert adapter.normalize_response(raw).content == "Hi."


@pytest.mark.parametrize(
    ("status", "error", "category", "retryable"),
    [
        (429, {"code": "rate_limit_exceeded"}, ErrorCategory.RateLimitError, True),
        (401, {"code": "invalid_api_key"}, ErrorCategory.AuthenticationError, False),
        (400, {"code": "context_length_exceeded"}, ErrorCategory.ValidationError, False),
        (500, {}, ErrorCategory.ProviderError, True),
    ],
)
async def test_refusal_raises_what_it_means(
    status: int, error: dict[str, str], category: ErrorCategory, retryable: bool
) -> None:
    body = msgspec.json.encode({"error": {"message": "no", **error}})
    adapter = OpenAIAdapter(transport=ScriptedTransport(status, body))
    with pytest.raises(SystemError) as raised:
        await adapter.execute_request(INTENT, _key())
    assert (category, retryable, status) == (
        raised.value.category,
        raised.value.retryable,
        raised.value.details["status"],
    )


async def test_no_answer_raises_a_network_error() -> None:
    lost = ScriptedTransport(error=aiohttp.ServerDisconnectedError())
    with pytest.raises(SystemError) as raised:
        await OpenAIAdapter(transport=lost).execute_request(INTENT, _key())
    assert (ErrorCategory.NetworkError, True) == (raised.value.category, raised.value.retryable)


async def test_no_error_shows_the_secret() -> None:
    secret = "sk-proj-abcdef0123456789"
    body = b'{"error":{"message":"Incorrect API key provided: %s","code":"invalid_api_key"}}'
    transport = ScriptedTransport(401, body % secret.encode())
    with pytest.raises(SystemError) as raised:
        await OpenAIAdapter(transport=transport).execute_request(INTENT, _key(secret))
    assert secret not in f"{raised.value!r} {raised.value} {vars(raised.value)}"


@pytest.mark.parametrize("raw", [ANSWER, msgspec.json.encode(ANSWER)], ids=["decoded", "bytes"])
def test_answer_is_normalized(raw: bytes | dict[str, Any]) -> None:
    response = OpenAIAdapter().normalize_response(raw)
    assert (
        response.content,
        response.tool_calls,
        response.raw,
        response.cost,
    ) == ("Hi.", [], ANSWER, None)
    metadata = response.metadata
    assert ("gpt-4o-mini-2024-07-18", "stop", TokenUsage(input_tokens=9, output_tokens=2)) == (
        metadata.model_used,
        metadata.finish_reason,
        metadata.tokens_used,
    )


def test_tool_calls_are_kept_as_they_were_written() -> None:
    calls = [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    response = OpenAIAdapter().normalize_response({"choices": [{"message": message}]})
    assert ("", calls) == (response.content, response.tool_calls)


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        ({}, ""),
        ({"choices": [], "prompt_filter_results": []}, ""),
        ({"choices": None, "usage": None, "model": None}, ""),
        ({"choices": [None]}, ""),
        ({"choices": [{"message": None, "finish_reason": 3}]}, ""),
        ({"choices": [{"message": {"content": "x", "tool_calls": None}}]}, "x"),
        ({"choices": [{"text": "legacy"}]}, "legacy"),
        ({"choices": [{"message": {"content": [{"type": "text"}]}}]}, [{"type": "text"}]),
    ],
)
def test_missing_fields_are_left_at_their_defaults(raw: dict[str, Any], content: object) -> None:
    response = OpenAIAdapter().normalize_response(raw)
    assert (content, [], None) == (
        response.content,
        response.tool_calls,
        response.metadata.finish_reason,
    )
    assert not response.metadata.tokens_used.exact


@pytest.mark.parametrize("raw", [b"<html>", b"", b"[]", b"\xff", "null", None, 3])
def test_answer_that_is_no_object_raises(raw: object) -> None:
    with pytest.raises(SystemError, match="the provider's answer is no JSON"):
        OpenAIAdapter().normalize_response(raw)


@pytest.mark.parametrize(
    ("data", "content", "finish_reason", "usage"),
    [
        (b'{"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}', "Hi", None, None),
        (b'{"choices":[{"delta":{},"finish_reason":"stop"}]}', "", "stop", None),
        (b'{"choices":[{"text":"Hi"}]}', "Hi", None, None),
        (b'{"choices":[],"prompt_filter_results":[]}', "", None, None),
        (b'{"choices":[{"delta":null}]}', "", None, None),
        (
            b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
            "",
            None,
            TokenUsage(input_tokens=1, output_tokens=2),
        ),
    ],
)
def test_streamed_event_becomes_a_piece(
    data: bytes, content: str, finish_reason: str | None, usage: TokenUsage | None
) -> None:
    chunk = OpenAIAdapter().normalize_chunk(data)
    assert chunk is not None
    assert (content, finish_reason, usage) == (chunk.content, chunk.finish_reason, chunk.usage)
    assert chunk.raw == json.loads(data)


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE] ", b"", b"nonsense", b"[]", b"\xff"])
def test_event_without_an_object_is_no_piece(data: bytes) -> None:
    assert OpenAIAdapter().normalize_chunk(data) is None


@pytest.mark.parametrize(
    ("status", "body", "models"),
    [
        (200, b'{"object":"list","data":[{"id":"a","created":1},{"id":"b"}]}', ("a", "b")),
        (200, b'[{"id":"a"}]', ("a",)),
        (200, b'{"data":[]}', ()),
        (200, b"{}", ()),
        (200, b"<html>", ()),
        (401, b'{"data":[{"id":"a"}]}', ()),
    ],
)
async def test_models_are_listed(status: int, body: bytes, models: tuple[str, ...]) -> None:
    transport = ScriptedTransport(status, body)
    adapter = OpenAIAdapter(base_url="http://here", transport=transport)
    assert models == await adapter.list_models("sk-1")
    assert transport.asked[0][:2] == ("GET", "http://here/models")


async def test_no_models_are_listed_when_no_answer_comes() -> None:
    adapter = OpenAIAdapter(transport=ScriptedTransport(error=TimeoutError()))
    assert await adapter.list_models("sk-1") == ()


async def test_cost_is_unknown_not_zero() -> None:
    assert await OpenAIAdapter().estimate_cost(INTENT) is None


def test_limits_are_per_model_at_openai_and_unknown_elsewhere() -> None:
    assert OpenAIAdapter().per_model
    assert OpenAIAdapter(base_url="https://api.openai.com/v1/").per_model
    assert not OpenAIAdapter(base_url="http://here/v1").per_model
    assert OpenAIAdapter(base_url="http://here/v1", per_model=True).per_model


@pytest.mark.parametrize("name", CATALOGUE)
def test_row_of_the_catalogue_becomes_an_adapter(name: str) -> None:
    row = CATALOGUE[name]
    base_url = row.base_url.replace("{", "my-").replace("}", "")
    adapter = make_adapter(name, base_url=base_url if row.needs_address else None)
    assert row.dialect in DIALECTS
    assert (base_url, row.dialect, row.admission, row.per_model) == (
        adapter.base_url,
        adapter.dialect,
        adapter.admission,
        adapter.per_model,
    )
    assert (row.stream_options, row.models, row.kind) == (
        adapter.stream_options,
        adapter.models,
        adapter.kind,
    )


def test_catalogue_has_ten_providers() -> None:
    assert len(CATALOGUE) >= 10


def test_row_can_be_used_at_another_address() -> None:
    adapter = make_adapter("groq", base_url="http://127.0.0.1:9/openai/v1/")
    assert (adapter.base_url, adapter.dialect) == ("http://127.0.0.1:9/openai/v1", "groq")


def test_unknown_row_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigurationError, match="unknown provider 'grok'; known are openai, anthropic"
    ):
        make_adapter("grok")


def test_provider_in_no_row_needs_an_address_only() -> None:
    adapter = custom_adapter("mine", "http://10.0.0.1:8000/v1")
    assert ("http://10.0.0.1:8000/v1", "openai", Admission(), None, False) == (
        adapter.base_url,
        adapter.dialect,
        adapter.admission,
        adapter.models,
        adapter.per_model,
    )


async def test_own_row_tells_all_that_differs() -> None:
    row = ProviderRow("", "azure", credential_header="api-key", credential_prefix="")
    transport = ScriptedTransport(body=b'{"data":[]}')
    adapter = custom_adapter(
        "mine", "https://me.openai.azure.com/openai/v1", row=row, transport=transport
    )
    await adapter.list_models("secret")
    assert transport.asked[0][2]["api-key"] == "secret"
    assert "authorization" not in transport.asked[0][2]


def test_kind_that_nobody_speaks_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'mine': unknown kind 'smoke'; known are openai"):
        custom_adapter("mine", "http://10.0.0.1:8000", kind="smoke")


def test_wrong_address_is_refused_by_the_providers_name() -> None:
    with pytest.raises(ConfigurationError, match="provider 'mine': base_url should be like"):
        custom_adapter("mine", "10.0.0.1:8000")
