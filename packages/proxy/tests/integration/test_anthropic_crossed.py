"""OpenAI's client served by Anthropic's keys, and Anthropic's client by OpenAI's."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
HELLO: Any = [{"role": "user", "content": "Hello!"}]
PARALLEL: Any = [{"role": "user", "content": "all [[parallel]]"}]
NAMES = ("weather", "time", "stocks")
TOOLS: Any = [{"name": name, "input_schema": {"type": "object"}} for name in NAMES]
FUNCTIONS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in NAMES
]
LIMITS = {"limits": {"rpm": 60000, "itpm": 9000000, "otpm": 9000000, "tpm": 90000000}}
SCENARIO: Any = {
    "providers": {
        "claude": {
            "speaks": ["anthropic"],
            "models": ["claude-sonnet-4-5"],
            "reply": {"tokens": 9},
            "scopes": {"one": LIMITS},
            "keys": {"c1": {"secret": "sk-ant-1", "scope": "one"}},
        },
        "gpt": {
            "speaks": ["openai"],
            "models": ["gpt-5"],
            "reply": {"tokens": 9},
            "scopes": {"one": LIMITS},
            "keys": {"g1": {"secret": "sk-1", "scope": "one"}},
        },
    }
}


@pytest.fixture(scope="module")
def _simulated() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def simulated(_simulated: RunningSimulator) -> RunningSimulator:
    _simulated.reset()
    return _simulated


def config_of(simulated: RunningSimulator, **more: Any) -> dict[str, Any]:
    return {
        "providers": {
            "anthropic": {"base_url": f"{simulated.url}/claude"},
            "gpt": {
                "kind": "openai", "base_url": f"{simulated.url}/gpt/v1", "dialects": ["openai"],
                "models": ["gpt-*"],
            },
        },
        "keys": [
            {"provider": "anthropic", "secret": "sk-ant-1"},
            {"provider": "gpt", "secret": "sk-1"},
        ],
        **more,
    }  # fmt: skip


@pytest.fixture
def proxy(simulated: RunningSimulator, serve: Callable[..., Any]) -> Any:
    return serve(config_of(simulated))


@pytest.fixture
def gpt(proxy: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(proxy: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=proxy.url, api_key="any", max_retries=0) as client:
        yield client


def test_chat_of_claude_plain_and_streamed(gpt: openai.OpenAI) -> None:
    ask: Any = {"model": "claude-sonnet-4-5", "messages": HELLO}
    plain = gpt.chat.completions.create(**ask)
    assert plain.choices[0].finish_reason == "stop"
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 9
    chunks = list(
        gpt.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_claude_calls_tools_in_parallel_and_takes_their_results(
    gpt: openai.OpenAI, streams: bool
) -> None:
    ask: Any = {"model": "claude-sonnet-4-5", "tools": FUNCTIONS}
    if streams:
        with gpt.chat.completions.stream(messages=PARALLEL, **ask) as stream:
            message: Any = stream.get_final_completion().choices[0].message
    else:
        message = gpt.chat.completions.create(messages=PARALLEL, **ask).choices[0].message
    assert [call.function.name for call in message.tool_calls] == list(NAMES)
    assert json.loads(message.tool_calls[0].function.arguments) == {"place": "here"}
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "1"} for call in message.tool_calls
    ]
    turns = [*PARALLEL, message.model_dump(exclude_none=True), *results]
    answer = gpt.chat.completions.create(messages=turns, **ask)
    assert answer.choices[0].finish_reason == "stop"


def test_thoughts_of_claude_come_back_signed(gpt: openai.OpenAI) -> None:
    """The provider refuses thoughts whose signature is not its own."""
    ask: Any = {"model": "claude-sonnet-4-5", "reasoning_effort": "low"}
    first = gpt.chat.completions.create(messages=HELLO, **ask).choices[0].message
    details = (first.model_extra or {})["reasoning_details"]
    assert details[0]["signature"]
    turns = [*HELLO, first.model_dump(exclude_none=True), *HELLO]
    assert gpt.chat.completions.create(messages=turns, **ask).choices[0].message.content
    turns[1]["reasoning_details"][0]["signature"] += "x"
    with pytest.raises(openai.BadRequestError, match="signature"):
        gpt.chat.completions.create(messages=turns, **ask)


def test_message_of_gpt_plain_and_streamed(claude: anthropic.Anthropic) -> None:
    ask: Any = {"model": "gpt-5", "max_tokens": 100, "messages": HELLO, "system": "Be brief."}
    plain = claude.messages.create(**ask)
    with claude.messages.stream(**ask) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert plain.content[0].text == streamed.content[0].text.strip()  # type: ignore[union-attr]
    assert plain.stop_reason == streamed.stop_reason == "end_turn"
    assert plain.usage.output_tokens == streamed.usage.output_tokens == 9
    assert min(plain.usage.input_tokens, streamed.usage.input_tokens) > 0
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_gpt_calls_tools_in_parallel_and_takes_their_results(
    claude: anthropic.Anthropic, streams: bool
) -> None:
    ask: Any = {"model": "gpt-5", "max_tokens": 100, "tools": TOOLS}
    if streams:
        with claude.messages.stream(messages=PARALLEL, **ask) as stream:
            message: Any = stream.get_final_message()
    else:
        message = claude.messages.create(messages=PARALLEL, **ask)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert [call.name for call in calls] == list(NAMES)
    assert [call.input for call in calls] == [{"place": "here"}] * 3
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": "1"} for c in calls]
    turns = [
        *PARALLEL,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    assert claude.messages.create(messages=turns, **ask).stop_reason == "end_turn"


@pytest.mark.parametrize("translation", ["strict", "lenient"])
def test_what_cannot_be_carried_is_refused_or_dropped_by_name(
    simulated: RunningSimulator, serve: Callable[..., Any], translation: str
) -> None:
    proxy = serve(config_of(simulated, translation=translation))
    ask: Any = {"model": "claude-sonnet-4-5", "messages": HELLO, "seed": 1, "logprobs": True}
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0) as client:
        if translation == "strict":
            with pytest.raises(openai.BadRequestError, match="logprobs, seed"):
                client.chat.completions.create(**ask)
        else:
            answer = client.chat.completions.with_raw_response.create(**ask)
            assert answer.headers["x-translation-dropped"] == "logprobs, seed"


def test_refusal_is_told_in_the_dialect_of_the_client(
    claude: anthropic.Anthropic, gpt: openai.OpenAI, simulated: RunningSimulator
) -> None:
    simulated.condition(kind="status", status=503, provider="gpt")
    simulated.condition(kind="status", status=529, provider="claude")
    with pytest.raises(anthropic.OverloadedError):
        claude.messages.create(model="gpt-5", max_tokens=9, messages=HELLO)
    with pytest.raises(openai.InternalServerError) as caught:
        gpt.chat.completions.create(model="claude-sonnet-4-5", messages=HELLO)
    assert caught.value.status_code == 503


def test_agents_request_goes_across_with_all_that_it_says(proxy: Any) -> None:
    """What Claude Code sends with every request is no reason to refuse it."""
    body = {
        "model": "gpt-5", "max_tokens": 32000, "stream": True, "messages": HELLO,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1a2b3;"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
        ],
        "tools": [{**TOOLS[0], "eager_input_streaming": True}],
        "metadata": {"user_id": "user_1_session_2"},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }  # fmt: skip
    headers = {
        "x-api-key": "any", "anthropic-version": "2026-10-21", "anthropic-beta": "a,b",
        "x-claude-code-session-id": "s1",
    }  # fmt: skip
    answer = httpx2.post(f"{proxy.url}/v1/messages?beta=true", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_tokens_of_gpt_are_estimated(proxy: Any) -> None:
    ask = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hello! " * 100}]}
    answer = httpx2.post(f"{proxy.url}/v1/messages/count_tokens", json=ask)
    assert answer.status_code == 200
    assert 150 < answer.json()["input_tokens"] < 400
    assert answer.headers["x-token-count"] == "estimated"
    unknown = httpx2.post(f"{proxy.url}/v1/messages/count_tokens", json={**ask, "model": "none"})
    assert unknown.status_code == 404


def test_provider_that_breaks_off_is_told_as_an_event(
    claude: anthropic.Anthropic, simulated: RunningSimulator
) -> None:
    simulated.condition(kind="cut", chunks=4, provider="gpt")
    with (
        claude.messages.stream(model="gpt-5", max_tokens=9, messages=HELLO) as stream,
        pytest.raises(anthropic.APIStatusError, match="broke off"),
    ):
        stream.get_final_message()
