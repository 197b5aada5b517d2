"""Anthropic's own client takes the simulator for Anthropic."""

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

HELLO = [{"role": "user", "content": "Hello!"}]
TOOLS = [
    {"name": name, "input_schema": {"type": "object"}} for name in ("weather", "time", "stocks")
]
ASK = {"model": "opus", "max_tokens": 100}


def client_for(simulator: RunningSimulator, key: str = "sk-ant-wide", **more) -> Anthropic:
    return Anthropic(api_key=key, base_url=f"{simulator.url}/claude", max_retries=0, **more)


@pytest.fixture
def claude(simulator: RunningSimulator) -> Iterator[Anthropic]:
    with client_for(simulator) as client:
        yield client


def test_message_answers_with_usage(claude: Anthropic) -> None:
    message = claude.messages.create(messages=HELLO, **ASK)
    assert message.content[0].text == "the router finds a key with room and says"
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 9)
    assert message.usage.input_tokens > 0


def test_cap_shortens_the_message(claude: Anthropic) -> None:
    message = claude.messages.create(model="opus", max_tokens=3, messages=HELLO)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)


def test_stream_says_what_the_plain_answer_says(claude: Anthropic) -> None:
    plain = claude.messages.create(messages=HELLO, **ASK)
    with claude.messages.stream(messages=HELLO, **ASK) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert streamed.content[0].text == plain.content[0].text
    assert streamed.usage.output_tokens == plain.usage.output_tokens
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_one_tool_is_called(claude: Anthropic) -> None:
    message = claude.messages.create(messages=HELLO, tools=TOOLS, **ASK)
    assert [block.name for block in message.content if block.type == "tool_use"] == ["weather"]
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("streams", [True, False])
def test_marked_text_calls_all_tools_and_their_results_are_taken(claude, streams) -> None:
    asked = [{"role": "user", "content": "all [[parallel]]"}]
    if streams:
        with claude.messages.stream(messages=asked, tools=TOOLS, **ASK) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(messages=asked, tools=TOOLS, **ASK)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["weather", "time", "stocks"]
    assert [call.input for call in calls] == [{"place": "here"}] * 3
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "1"} for call in calls]
    turns = [
        *asked,
        {"role": "assistant", "content": [block.model_dump() for block in calls]},
        {"role": "user", "content": results},
    ]
    assert claude.messages.create(messages=turns, tools=TOOLS, **ASK).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("choice", "called"),
    [({"type": "none"}, []), ({"type": "tool", "name": "time"}, ["time"])],
    ids=["none", "one"],
)
def test_choice_of_tool_is_obeyed(claude: Anthropic, choice, called) -> None:
    message = claude.messages.create(messages=HELLO, tools=TOOLS, tool_choice=choice, **ASK)
    assert called == [block.name for block in message.content if block.type == "tool_use"]


@pytest.mark.parametrize("streams", [True, False])
def test_thought_bears_a_signature_and_is_taken_back(claude: Anthropic, streams) -> None:
    wish = {
        "model": "opus", "max_tokens": 2000, "messages": HELLO,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }  # fmt: skip
    if streams:
        with claude.messages.stream(**wish) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(**wish)
    thought, text = message.content
    assert (thought.type, text.type) == ("thinking", "text")
    assert thought.signature
    said = {"role": "assistant", "content": [block.model_dump() for block in message.content]}
    again = {"role": "user", "content": "and?"}
    assert claude.messages.create(**{**wish, "messages": [*HELLO, said, again]}).content
    said["content"][0]["thinking"] += "!"
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        claude.messages.create(**{**wish, "messages": [*HELLO, said, again]})


def test_marked_beginning_is_cached_and_read_again(claude: Anthropic) -> None:
    system = [{"type": "text", "text": "rules " * 200, "cache_control": {"type": "ephemeral"}}]
    first, second = (
        claude.messages.create(messages=HELLO, system=system, **ASK).usage for _ in range(2)
    )
    written = first.cache_creation_input_tokens
    assert written > 290
    assert (first.cache_read_input_tokens, second.cache_read_input_tokens) == (0, written)
    assert second.cache_creation_input_tokens == 0
    assert second.input_tokens == first.input_tokens


def test_cache_belongs_to_the_scope(simulator: RunningSimulator, claude: Anthropic) -> None:
    system = [{"type": "text", "text": "rules " * 200, "cache_control": {"type": "ephemeral"}}]
    claude.messages.create(messages=HELLO, system=system, **ASK)
    with client_for(simulator, "sk-ant-tight") as other:
        usage = other.messages.create(messages=HELLO, system=system, **ASK).usage
    assert usage.cache_read_input_tokens == 0


def test_cached_tokens_do_not_count_as_input(simulator, claude: Anthropic) -> None:
    system = [{"type": "text", "text": "rules " * 200, "cache_control": {"type": "ephemeral"}}]
    usages = [claude.messages.create(messages=HELLO, system=system, **ASK).usage for _ in range(2)]
    counted = sum(u.input_tokens + u.cache_creation_input_tokens for u in usages)
    assert simulator.stats()["scopes"]["claude/wide"]["input_tokens"] == counted


def test_tokens_are_counted_for_nothing(simulator, claude: Anthropic) -> None:
    assert claude.messages.count_tokens(model="opus", messages=HELLO).input_tokens == 5
    counts = simulator.stats()["keys"]["claude/c-wide"]
    assert (counts["accepted"], counts["free"]) == (0, 1)


def test_models_are_listed_by_page(claude: Anthropic) -> None:
    assert [model.id for model in claude.models.list(limit=2)] == ["opus", "sonnet", "haiku"]
    assert claude.models.retrieve("haiku").id == "haiku"


def test_headers_tell_limits_in_its_manner(claude: Anthropic) -> None:
    headers = claude.messages.with_raw_response.create(messages=HELLO, **ASK).headers
    told = {
        what: headers[f"anthropic-ratelimit-{what}-limit"]
        for what in ("requests", "input-tokens", "output-tokens", "tokens")
    }
    assert told == {
        "requests": "600", "input-tokens": "200000", "output-tokens": "80000", "tokens": "300000",
    }  # fmt: skip
    assert headers["anthropic-ratelimit-requests-remaining"] == "599"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "200000"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert headers["anthropic-organization-id"] == "org-wide"
    assert headers["request-id"].startswith("req_")


def test_refusal_tells_the_wait(simulator: RunningSimulator) -> None:
    with client_for(simulator, "sk-ant-tight") as client:
        client.messages.create(messages=HELLO, **ASK)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(messages=HELLO, **ASK)
    error = caught.value
    assert error.body["error"]["type"] == "rate_limit_error"
    assert int(error.response.headers["retry-after"]) in (59, 60)
    assert error.body["request_id"] == error.response.headers["request-id"]


@pytest.mark.parametrize(
    ("fields", "status", "type_"),
    [
        ({"kind": "invalid_key"}, 401, "authentication_error"),
        ({"kind": "revoked_key"}, 401, "authentication_error"),
        ({"kind": "insufficient_quota"}, 400, "invalid_request_error"),
        ({"kind": "status", "status": 403}, 403, "permission_error"),
        ({"kind": "status", "status": 429}, 429, "rate_limit_error"),
        ({"kind": "status", "status": 500}, 500, "api_error"),
        ({"kind": "status", "status": 504}, 504, "timeout_error"),
        ({"kind": "status", "status": 529}, 529, "overloaded_error"),
    ],
    ids=lambda value: str(value),
)
def test_condition_answers_in_its_manner(simulator, claude, fields, status, type_) -> None:
    simulator.condition(times=1, **fields)
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(messages=HELLO, **ASK)
    assert (status, type_) == (caught.value.status_code, caught.value.body["error"]["type"])
    assert claude.messages.create(messages=HELLO, **ASK).content


def test_stream_fails_after_it_began(simulator: RunningSimulator, claude: Anthropic) -> None:
    simulator.condition(kind="stream_error", status=529, chunks=4, times=1)
    seen = []
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        seen.extend(claude.messages.create(messages=HELLO, stream=True, **ASK))
    assert seen
    assert simulator.stats()["keys"]["claude/c-wide"]["failed_by"] == {"stream_error": 1}


def test_stream_ends_without_a_finish(simulator: RunningSimulator, claude: Anthropic) -> None:
    simulator.condition(kind="no_finish", times=1)
    events = list(claude.messages.create(messages=HELLO, stream=True, **ASK))
    assert not {"message_delta", "message_stop"} & {event.type for event in events}


def test_unknown_key_is_401(simulator: RunningSimulator) -> None:
    with client_for(simulator, "nobody") as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(messages=HELLO, **ASK)


def test_unknown_model_is_404(claude: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nova", max_tokens=1, messages=HELLO)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "greater"),
        ({"extra_body": {"temperature": 0.5}}, "temperature"),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "x", "content": "1"}]}]},
            "unexpected `tool_use_id`",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": [
                {"type": "tool_use", "id": "x", "name": "n", "input": {}}]}, *HELLO]},
            "without `tool_result`",
        ),
    ],
    ids=[
        "no message", "role", "no room", "small budget", "large budget", "temperature",
        "result without use", "use without result",
    ],
)  # fmt: skip
def test_bad_request_is_400(claude: Anthropic, fields, says) -> None:
    with pytest.raises(anthropic.BadRequestError, match=says):
        claude.messages.create(**{"messages": HELLO, **ASK, **fields})


def test_older_version_may_have_a_temperature(simulator: RunningSimulator) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    with client_for(simulator, default_headers=headers) as client:
        assert client.messages.create(messages=HELLO, extra_body={"temperature": 0.5}, **ASK)
