"""Responses, made and kept, as OpenAI's own client sees them."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

TOOLS = [
    {"type": "function", "name": name, "parameters": {}, "strict": False}
    for name in ("weather", "time", "stocks")
]
SEALED = ["reasoning.encrypted_content"]


@pytest.fixture
def other(simulator: RunningSimulator) -> Iterator[OpenAI]:
    """Of another scope of the same provider."""
    with OpenAI(api_key="sk-tight", base_url=simulator.base_url(), max_retries=0) as client:
        yield client


@pytest.fixture
def colleague(simulator: RunningSimulator) -> Iterator[OpenAI]:
    """Another key of the same scope."""
    with OpenAI(api_key="sk-a2", base_url=simulator.base_url(), max_retries=0) as client:
        yield client


def ask(client: OpenAI, text="Hello!", **more):
    return client.responses.create(model="small", input=text, **more)


def test_response_answers_with_usage(client: OpenAI) -> None:
    response = ask(client)
    assert response.output_text == "the router finds a key with"
    assert (response.status, response.usage.output_tokens) == ("completed", 6)
    assert response.usage.total_tokens == response.usage.input_tokens + 6


def test_cap_shortens_the_response(client: OpenAI) -> None:
    response = ask(client, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize(
    "more",
    [{}, {"tools": TOOLS}, {"reasoning": {"effort": "low", "summary": "auto"}, "include": SEALED}],
    ids=["text", "tool", "reasoning"],
)
def test_stream_says_what_the_plain_answer_says(client: OpenAI, more) -> None:
    plain = ask(client, **more)
    with client.responses.stream(model="small", input="Hello!", **more) as stream:
        events = list(stream)
        streamed = stream.get_final_response()
    assert streamed.output_text == plain.output_text
    assert [item.type for item in streamed.output] == [item.type for item in plain.output]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert streamed.usage.output_tokens == plain.usage.output_tokens


def test_reasoning_is_counted_and_sealed_if_wanted(client: OpenAI) -> None:
    response = ask(client, reasoning={"effort": "low"}, include=SEALED)
    assert response.output[0].encrypted_content
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert ask(client, "[[think]]").output[0].encrypted_content is None


def test_sealed_reasoning_is_valid_in_its_scope_alone(client, colleague, other) -> None:
    first = ask(client, reasoning={"effort": "low"}, include=SEALED)
    turns = [*(item.model_dump(exclude_none=True) for item in first.output)]
    turns.append({"role": "user", "content": "and?"})
    assert ask(colleague, turns).output_text
    with pytest.raises(openai.BadRequestError) as caught:
        ask(other, turns)
    assert caught.value.code == "invalid_encrypted_content"


@pytest.mark.parametrize("follows", [True, False], ids=["previous id", "all items"])
def test_marked_text_calls_all_tools_and_their_results_are_taken(client: OpenAI, follows) -> None:
    text = "all [[parallel]]"
    response = ask(client, text, tools=TOOLS)
    calls = response.output
    assert [call.name for call in calls] == ["weather", "time", "stocks"]
    results = [{"type": "function_call_output", "call_id": c.call_id, "output": "1"} for c in calls]
    if follows:
        answer = ask(client, results, previous_response_id=response.id, tools=TOOLS)
    else:
        said = [{"role": "user", "content": text}, *(call.model_dump() for call in calls)]
        answer = ask(client, [*said, *results], tools=TOOLS)
    assert answer.output_text
    with pytest.raises(openai.BadRequestError, match="No tool output"):
        ask(client, results[:2], previous_response_id=response.id)
    with pytest.raises(openai.BadRequestError, match="No tool call"):
        ask(client, results)


def test_kept_response_is_found_by_keys_of_its_scope(client, colleague, other) -> None:
    made = ask(client)
    assert colleague.responses.retrieve(made.id) == made
    items = colleague.responses.input_items.list(made.id)
    assert [item.content[0].text for item in items.data] == ["Hello!"]
    for find in (other.responses.retrieve, other.responses.delete, other.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            find(made.id)
    with pytest.raises(openai.NotFoundError):
        other.responses.input_items.list(made.id)


def test_response_follows_a_kept_one_of_its_scope(client, colleague, other) -> None:
    made = ask(client)
    assert ask(colleague, "and?", previous_response_id=made.id).output_text
    with pytest.raises(openai.BadRequestError) as caught:
        ask(other, "and?", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


def test_response_is_not_kept_if_not_wanted(client: OpenAI) -> None:
    made = ask(client, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError):
        ask(client, previous_response_id=made.id)


def test_response_is_deleted(client: OpenAI) -> None:
    made = ask(client)
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_background_response_is_queued_then_done_or_cancelled(client: OpenAI) -> None:
    made = ask(client, background=True)
    assert (made.status, made.output) == ("queued", [])
    assert client.responses.retrieve(made.id).status == "completed"
    assert client.responses.cancel(made.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(ask(client).id)


def test_input_is_counted_for_nothing(simulator: RunningSimulator, client: OpenAI) -> None:
    assert client.responses.input_tokens.count(model="small", input="Hello!").input_tokens == 5
    counts = simulator.stats()["keys"]["acorn/a1"]
    assert (counts["accepted"], counts["free"]) == (0, 1)


def test_history_is_compacted_to_what_its_scope_can_read(client, other) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    raw = client.responses.with_raw_response.compact(model="small", input=turns)
    said = raw.http_response.json()["output"]
    assert [item["type"] for item in said] == ["message", "compaction"]
    assert ask(client, said).output_text
    with pytest.raises(openai.BadRequestError):
        ask(other, said)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"kind": "invalid_key"}, 401), ({"kind": "status", "status": 503}, 503)],
    ids=["key", "status"],
)
def test_condition_befalls_responses(simulator, client: OpenAI, fields, status) -> None:
    simulator.condition(times=1, **fields)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client)
    assert caught.value.status_code == status


def test_stream_fails_after_it_began(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.condition(kind="stream_error", status=500, chunks=3, times=1)
    events = list(ask(client, stream=True))
    assert [events[-1].type, events[-1].code] == ["error", "server_error"]


def test_stream_ends_without_a_finish(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.condition(kind="no_finish", times=1)
    assert list(ask(client, stream=True))[-1].type == "response.output_item.done"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": "x"}, "model"),
        ({"model": "small", "input": 7}, "input"),
        ({"model": "small", "previous_response_id": "a", "conversation": "b"}, "exclusive"),
        ({"model": "small", "background": True, "store": False}, "stored"),
        ({"model": "small", "conversation": {"id": "conv_x"}}, "conv_x"),
    ],
)
def test_bad_request_is_told(client: OpenAI, body, says) -> None:
    with pytest.raises(openai.APIStatusError, match=says) as caught:
        client.post("/responses", body=body, cast_to=object)
    assert caught.value.status_code in (400, 404)


def test_limits_are_told_and_kept(simulator: RunningSimulator, other: OpenAI) -> None:
    raw = other.responses.with_raw_response.create(model="small", input="x")
    assert raw.headers["x-ratelimit-remaining-requests"] == "1"
    ask(other)
    with pytest.raises(openai.RateLimitError):
        ask(other)
