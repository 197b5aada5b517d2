"""Messages as answers, whole and streamed, read and written."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.anthropic.rendering.messages_rendering import MessagesRendering
from apikeyrouter.dialects.conversation import (
    Broken,
    Conversation,
    Counted,
    Counts,
    Delta,
    Finish,
    Finished,
    PartBegan,
    PartEnded,
    PartGrew,
    Refusal,
    Reply,
    Started,
    Text,
    Thinking,
    ToolCall,
    Turn,
)

pytestmark = pytest.mark.unit
MESSAGES = MessagesRendering()
ASKED = Conversation(model="claude-x", turns=[Turn("user", [Text(text="Hello! " * 40)])])
USAGE = {
    "input_tokens": 10, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 2000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 7},
    "service_tier": "priority",
}  # fmt: skip
COUNTS = Counts(2310, 40, 2000, 300, 200, 7)
CONTENT: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Hm", "signature": "abc="},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "text", "text": "Look:"},
    {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": [1, 2]}},
    {"type": "tool_use", "id": "t2", "name": "rest", "input": {}},
]
WHOLE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
    "content": CONTENT, "stop_reason": "tool_use", "stop_sequence": None, "usage": USAGE,
}  # fmt: skip
PARTS = [
    Thinking(text="Hm", signature="abc=", origin="anthropic"),
    Thinking(encrypted="xyz", origin="anthropic"),
    Text(text="Look:"),
    ToolCall(id="t1", name="look", arguments='{"a":[1,2]}'),
    ToolCall(id="t2", name="rest", arguments="{}"),
]
REPLY = Reply("msg_1", "claude-x", PARTS, Finish.TOOL_CALLS, None, COUNTS, "priority")


def event(kind: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (
        kind.encode(), json.dumps({"type": kind, **data}).encode(),
    )  # fmt: skip


def block(index: int, started: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    return (
        event("content_block_start", index=index, content_block=started)
        + b"".join(event("content_block_delta", index=index, delta=delta) for delta in deltas)
        + event("content_block_stop", index=index)
    )


#: As it is recorded: pings between, an empty first piece of arguments, a server's own tool.
STREAM = (
    event("message_start", message={**WHOLE, "content": [], "stop_reason": None,
                                    "usage": {**USAGE, "output_tokens": 1}})
    + block(0, {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "H"},
            {"type": "thinking_delta", "thinking": "m"},
            {"type": "signature_delta", "signature": "abc="})
    + event("ping")
    + block(1, {"type": "redacted_thinking", "data": "xyz"})
    + block(2, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"query": 1}'})
    + block(3, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Lo"},
            {"type": "text_delta", "text": "ok:"})
    + block(4, {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"a":'},
            {"type": "input_json_delta", "partial_json": "[1,2]}"})
    + block(5, {"type": "tool_use", "id": "t2", "name": "rest", "input": {}},
            {"type": "input_json_delta", "partial_json": ""})
    + event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None},
            usage={"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 7}})
    + event("message_stop")
)  # fmt: skip
DELTAS: list[Delta] = [
    Started("msg_1", "claude-x", counts=Counts(2310, 1, 2000, 300, 200, 7)),
    PartBegan(0, Thinking(origin="anthropic")),
    PartGrew(0, "H"),
    PartGrew(0, "m"),
    PartGrew(0, signature="abc="),
    PartEnded(0),
    PartBegan(1, Thinking(encrypted="xyz", origin="anthropic")),
    PartEnded(1),
    PartBegan(2, Text(text="")),
    PartGrew(2, "Lo"),
    PartGrew(2, "ok:"),
    PartEnded(2),
    PartBegan(3, ToolCall(id="t1", name="look", arguments="")),
    PartGrew(3, '{"a":'),
    PartGrew(3, "[1,2]}"),
    PartEnded(3),
    PartBegan(4, ToolCall(id="t2", name="rest", arguments="")),
    PartGrew(4, "{}"),
    PartEnded(4),
    Finished(Finish.TOOL_CALLS),
    Counted(COUNTS, "priority"),
]


def deltas_of(*chunks: bytes) -> list[Delta]:
    reader = MESSAGES.delta_reader()
    return [delta for chunk in chunks for delta in reader.feed(chunk)] + list(reader.finish())


def written(deltas: Iterable[Delta]) -> bytes:
    writer = MESSAGES.delta_writer(ASKED)
    return b"".join([writer.feed(delta) for delta in deltas] + [writer.finish()])


def accumulated(stream: bytes) -> dict[str, Any]:
    """Return the message that the official client makes of a stream."""
    for part in stream.split(b"\n\n")[:-1]:
        name, data = part.split(b"\n")
        assert name == b"event: " + json.loads(data.removeprefix(b"data: "))["type"].encode()
    events = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=events, content=stream))
    with (
        httpx2.Client(transport=transport) as connection,
        anthropic.Anthropic(api_key="k", max_retries=0, http_client=connection) as client,
        client.messages.stream(model="m", max_tokens=1, messages=[]) as answer,
    ):
        found: dict[str, Any] = json.loads(answer.get_final_message().to_json())
        return found


def plain(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "content": [{k: v for k, v in b.items() if v is not None} for b in message["content"]],
        **{name: message[name] for name in ("id", "model", "stop_reason", "stop_sequence")},
    }


def test_whole_message_is_read_and_written() -> None:
    assert MESSAGES.read_reply(WHOLE) == REPLY
    again = json.loads(MESSAGES.write_reply(REPLY))
    assert again == WHOLE
    Message.model_validate(again)


def test_stream_is_read_wherever_it_is_split() -> None:
    assert deltas_of(STREAM) == DELTAS
    for at in range(1, len(STREAM)):
        assert deltas_of(STREAM[:at], STREAM[at:]) == DELTAS


def test_stream_is_written_as_the_official_client_reads_it() -> None:
    message = accumulated(written(DELTAS))
    assert plain(message) == plain(WHOLE)
    assert message["usage"]["output_tokens"] == 40
    assert message["usage"]["cache_read_input_tokens"] == 2000


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)
NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)
REPLY_PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Thinking, text=TEXTS, signature=NAMES, origin=st.just("anthropic")),
    st.builds(Thinking, encrypted=NAMES, origin=st.just("anthropic")),
    st.builds(
        Thinking, text=TEXTS, signature=NAMES, encrypted=NAMES, id=NAMES,
        origin=st.sampled_from(["openai-responses", "gemini"]),
    ),
    st.builds(
        ToolCall, id=NAMES, name=NAMES, arguments=st.just('{"a":1}'),
        signature=st.one_of(st.just(""), NAMES),
    ),
)  # fmt: skip
REPLIES = st.builds(
    Reply, id=NAMES, model=NAMES,
    parts=st.lists(
        REPLY_PARTS, max_size=4, unique_by=lambda part: getattr(part, "id", "") or id(part)
    ),
    finish=st.sampled_from([f for f in Finish if f not in (Finish.STOP, Finish.CONTENT_FILTER)]),
    stop_sequence=st.one_of(st.none(), NAMES),
    counts=st.builds(
        lambda fresh, read, written, hour, made, thought: Counts(
            fresh + read + written + hour, made + thought, read, written + hour, hour, thought
        ),
        *[st.integers(0, 9)] * 6,
    ),
    tier=st.sampled_from(["standard", "priority", "batch"]),
)  # fmt: skip


@settings(max_examples=200)
@given(REPLIES)
def test_reply_comes_back_as_it_went_whole_and_in_pieces(reply: Reply) -> None:
    """Whatever a reply bears for later turns, such as foreign signatures, is found again."""
    whole = MESSAGES.write_reply(reply)
    assert MESSAGES.read_reply(json.loads(whole)) == reply
    deltas: list[Delta] = [Started(reply.id, reply.model)]
    for index, part in enumerate(reply.parts):
        deltas += [PartBegan(index, part), PartEnded(index)]
    assert reply.finish is not None
    assert reply.counts is not None
    deltas += [Finished(reply.finish, reply.stop_sequence), Counted(reply.counts, reply.tier)]
    message = accumulated(written(deltas))
    assert plain(message) == plain(json.loads(whole))
    # What its client brings back in the next turn is what it was given.
    turn = {"role": "assistant", "content": message["content"]}
    read = MESSAGES.read_request({"messages": [turn]}, _NoLosses())
    assert read.turns[0].parts == reply.parts


class _NoLosses:
    names: list[str] = []  # noqa: RUF012 - never written

    def lack(self, name: str) -> None:
        raise AssertionError(name)


@settings(max_examples=100)
@given(st.lists(st.integers(0, len(STREAM)), max_size=5))
def test_stream_is_read_in_any_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(edges)]
    assert deltas_of(*pieces) == DELTAS


@given(st.binary(max_size=300))
def test_any_bytes_are_read(noise: bytes) -> None:
    deltas_of(noise, b"\ndata: " + noise + b"\n\n")


def test_calls_that_grow_in_turns_come_one_after_the_other() -> None:
    deltas = [
        Started("m", "x"),
        PartBegan(0, ToolCall(id="a", name="one", arguments="")),
        PartBegan(1, ToolCall(id="b", name="two", arguments="")),
        PartGrew(1, '{"b":'),
        PartGrew(0, '{"a":'),
        PartGrew(1, "2}"),
        PartGrew(0, "1}"),
        Finished(Finish.STOP),
    ]
    message = accumulated(written(deltas))
    assert [(b["name"], b["input"]) for b in message["content"]] == [
        ("one", {"a": 1}), ("two", {"b": 2}),
    ]  # fmt: skip
    assert message["stop_reason"] == "tool_use", "some tell only that they have stopped"


@pytest.mark.parametrize(
    ("grown", "content"),
    [
        ([PartGrew(0, encrypted="x"), PartGrew(0, encrypted="y")],
         [{"type": "redacted_thinking", "data": "xy"}]),
        ([PartGrew(0, "H"), PartGrew(0, "m", signature="s")],
         [{"type": "thinking", "thinking": "Hm", "signature": "s"}]),
        ([PartGrew(0, signature="s")], [{"type": "thinking", "thinking": "", "signature": "s"}]),
        ([], []),
    ],
    ids=["encrypted", "text", "signature", "nothing"],
)  # fmt: skip
def test_kind_of_a_thought_is_known_when_it_grows(grown: list[Delta], content: Any) -> None:
    deltas = [Started("m"), PartBegan(0, Thinking(origin="anthropic")), *grown, PartEnded(0)]
    assert plain(accumulated(written([*deltas, Finished(Finish.STOP)])))["content"] == content


def test_input_is_guessed_until_it_is_counted() -> None:
    stream = written([Started("m", "x"), Finished(Finish.STOP), Counted(Counts(77, 5))])
    first = json.loads(stream.split(b"\n")[1].removeprefix(b"data: "))
    assert 40 < first["message"]["usage"]["input_tokens"] < 200
    assert accumulated(stream)["usage"]["input_tokens"] == 77


def test_every_figure_that_agents_read_is_there() -> None:
    usage = json.loads(MESSAGES.write_reply(Reply(parts=[Text(text="a")])))["usage"]
    assert usage == {
        "input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", Finish.STOP),
        ("max_tokens", Finish.LENGTH),
        ("stop_sequence", Finish.STOP_SEQUENCE),
        ("tool_use", Finish.TOOL_CALLS),
        ("pause_turn", Finish.PAUSE),
        ("refusal", Finish.REFUSAL),
        ("model_context_window_exceeded", Finish.CONTEXT_LENGTH),
    ],
)
def test_stop_reason_goes_both_ways(reason: str, finish: Finish) -> None:
    assert MESSAGES.read_reply({**WHOLE, "content": [], "stop_reason": reason}).finish is finish
    assert json.loads(MESSAGES.write_reply(Reply(finish=finish)))["stop_reason"] == reason


def test_refusal_tells_why() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not that."}
    body = {**WHOLE, "content": [], "stop_reason": "refusal", "stop_details": details}
    reply = MESSAGES.read_reply(body)
    assert (reply.parts, reply.finish) == ([Refusal(text="Not that.")], Finish.REFUSAL)
    ended = event("message_delta", delta={"stop_reason": "refusal", "stop_details": details})
    assert deltas_of(ended)[0] == PartBegan(0, Refusal(text="Not that."))
    assert json.loads(MESSAGES.write_reply(reply))["content"] == [
        {"type": "text", "text": "Not that."}
    ]


@pytest.mark.parametrize(
    ("type_", "status"),
    [
        ("overloaded_error", 503),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("new_error", 500),
    ],
)
def test_error_in_a_stream_is_read(type_: str, status: int) -> None:
    found = deltas_of(event("error", error={"type": type_, "message": "no"}))
    assert isinstance(found[0], Broken)
    assert (found[0].status, found[0].message) == (status, "no")


def test_error_ends_the_stream_that_is_written() -> None:
    stream = written([Started("m"), Broken("no", 503)])
    error = {"type": "overloaded_error", "message": "no"}
    assert json.loads(stream.split(b"event: error\ndata: ")[1]) == {"type": "error", "error": error}
    assert b"message_stop" not in stream
