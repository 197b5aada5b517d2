"""The official client takes the simulator for a provider."""

import openai
import pytest
from openai import OpenAI

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

HELLO = [{"role": "user", "content": "Hello!"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def test_chat_answers_with_consistent_usage(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="small", messages=HELLO)
    usage = answer.usage
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert usage.completion_tokens == 6
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_cap_shortens_the_answer(client: OpenAI, field: str) -> None:
    answer = client.chat.completions.create(model="small", messages=HELLO, **{field: 3})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


@pytest.mark.parametrize("wants", [True, False])
def test_stream_tells_usage_only_if_asked(client: OpenAI, wants: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if wants else {}
    stream = client.chat.completions.create(model="small", messages=HELLO, stream=True, **options)
    chunks = list(stream)
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert [6] * wants == [usage.completion_tokens for usage in usages]
    assert [finish for finish in finishes if finish] == ["stop"]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).strip()


def test_stream_says_what_the_plain_answer_says(client: OpenAI) -> None:
    plain = client.chat.completions.create(model="small", messages=HELLO)
    stream = client.chat.completions.create(model="small", messages=HELLO, stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in stream)
    assert plain.choices[0].message.content == text.strip()


@pytest.mark.parametrize(
    ("messages", "choice", "calls"),
    [
        pytest.param(HELLO, "auto", True, id="user asks"),
        pytest.param(HELLO, "none", False, id="forbidden"),
        pytest.param(
            [*HELLO, {"role": "assistant", "content": "Hi"}], "auto", False, id="nobody asks"
        ),
    ],
)
def test_tool_is_called_when_a_user_asks(client: OpenAI, messages, choice, calls) -> None:
    answer = client.chat.completions.create(
        model="small", messages=messages, tools=TOOLS, tool_choice=choice
    )
    called = [call.function.name for call in answer.choices[0].message.tool_calls or []]
    assert called == ["weather"] * calls


def test_tool_is_called_in_a_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(model="small", messages=HELLO, tools=TOOLS, stream=True)
    deltas = [c.choices[0] for c in stream if c.choices]
    assert deltas[0].delta.tool_calls[0].function.name == "weather"
    assert deltas[-1].finish_reason == "tool_calls"


def test_completion_answers(client: OpenAI) -> None:
    assert client.completions.create(model="small", prompt="Hello").choices[0].text


def test_completion_streams(client: OpenAI) -> None:
    stream = client.completions.create(model="small", prompt="Hello", stream=True)
    assert "".join(c.choices[0].text for c in stream).strip()


def test_embeddings_answer_every_input(client: OpenAI) -> None:
    answer = client.embeddings.create(model="small", input=["a", "b, c", "d"])
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens


@pytest.mark.parametrize(
    ("given", "count"), [(['with "quotes","here"'], 1), ([[1, 2], [3]], 2), ([1, 2, 3], 1)]
)
def test_embedding_inputs_are_counted_as_they_are_given(client: OpenAI, given, count) -> None:
    assert count == len(client.embeddings.create(model="small", input=given).data)


def test_embeddings_are_base64_when_asked(client: OpenAI) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="small", input="a", encoding_format="base64"
    )
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str)


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["small", "large"]


@pytest.mark.parametrize("path", ["/v1", "/acorn/v1"])
def test_first_provider_answers_under_both_paths(simulator: RunningSimulator, path) -> None:
    with OpenAI(api_key="sk-a1", base_url=simulator.url + path, max_retries=0) as client:
        client.chat.completions.create(model="small", messages=HELLO)
    assert simulator.stats()["keys"]["acorn/a1"]["accepted"] == 1


def test_every_provider_knows_only_its_own_keys(simulator: RunningSimulator) -> None:
    with (
        OpenAI(api_key="sk-a1", base_url=simulator.base_url("groq"), max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="small", messages=HELLO)
    assert caught.value.code == "invalid_api_key"


def test_unknown_model_is_404(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="huge", messages=HELLO)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("body", [{"messages": HELLO}, {"model": 7, "messages": HELLO}])
def test_bad_body_is_400(client: OpenAI, body) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"


def test_chat_without_messages_is_400(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", body={"model": "small"}, cast_to=object)


def test_unknown_url_is_404(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.post("/nothing", body={"model": "small"}, cast_to=object)


def test_answer_tells_its_limits(client: OpenAI) -> None:
    headers = client.chat.completions.with_raw_response.create(
        model="small", messages=HELLO
    ).headers
    assert headers["x-request-id"]
    told = [headers[f"x-ratelimit-{what}-requests"] for what in ("limit", "remaining", "reset")]
    assert told[:2] == ["6000", "5999"]
    # A hundred requests come back a second, so it shrinks while the answer is made.
    assert told[2] in [f"{left}ms" for left in range(1, 11)]
    assert headers["x-ratelimit-limit-tokens"] == "1000000"


def test_hidden_limit_is_not_told(simulator: RunningSimulator) -> None:
    with OpenAI(api_key="sk-tokens", base_url=simulator.base_url(), max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="small", messages=HELLO)
    assert not [name for name in raw.headers if name.startswith("x-ratelimit")]


def test_groq_tells_requests_a_day(simulator: RunningSimulator) -> None:
    with OpenAI(api_key="sk-g1", base_url=simulator.base_url("groq"), max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="any", messages=HELLO)
    assert raw.headers["x-ratelimit-limit-requests"] == "14400"


def test_refusal_tells_the_true_wait(simulator: RunningSimulator) -> None:
    with OpenAI(api_key="sk-tight", base_url=simulator.base_url(), max_retries=0) as client:
        for _ in range(2):
            client.chat.completions.create(model="small", messages=HELLO)
        with pytest.raises(openai.RateLimitError, match=r"Please try again in (29|30)") as caught:
            client.chat.completions.create(model="small", messages=HELLO)
    headers = caught.value.response.headers
    assert (caught.value.code, headers["retry-after"]) == ("rate_limit_exceeded", "30")
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_too_large_call_is_told_no_wait(simulator: RunningSimulator) -> None:
    with (
        OpenAI(api_key="sk-tokens", base_url=simulator.base_url(), max_retries=0) as client,
        pytest.raises(openai.RateLimitError, match="Request too large") as caught,
    ):
        client.chat.completions.create(model="small", messages=HELLO, max_tokens=601)
    assert "retry-after" not in caught.value.response.headers


def test_refusal_tells_the_wait_alone_where_it_is_curt(simulator: RunningSimulator) -> None:
    with OpenAI(api_key="sk-c1", base_url=simulator.base_url("curt"), max_retries=0) as client:
        client.chat.completions.create(model="m", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="m", messages=HELLO)
    assert int(caught.value.response.headers["retry-after"]) in (59, 60)
    assert "Limit" not in caught.value.message


def test_silent_provider_tells_nothing(simulator: RunningSimulator) -> None:
    with OpenAI(api_key="sk-s1", base_url=simulator.base_url("silent"), max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="any", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="any", messages=HELLO)
    for headers in (raw.headers, caught.value.response.headers):
        assert not [n for n in headers if n.startswith(("x-ratelimit", "retry"))]


def test_error_bears_a_request_id(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="huge", messages=HELLO)
    assert caught.value.request_id


def test_answer_begins_with_the_last_word_of_the_chat_where_it_echoes() -> None:
    data = {
        "providers": {
            "p": {"reply": {"echoes": True}, "keys": {"k": {"scope": "s"}}, "scopes": {"s": {}}}
        }
    }
    messages = [{"role": "user", "content": 'Who asked? "me"'}]
    with (
        RunningSimulator(data) as simulator,
        OpenAI(api_key="k", base_url=simulator.base_url(), max_retries=0) as client,
    ):
        plain = client.chat.completions.create(model="m", messages=messages)
        stream = client.chat.completions.create(model="m", messages=messages, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert plain.choices[0].message.content.startswith('"me" the router')
    assert streamed.startswith('"me" the router')
