"""Answers of responses read and written: a stream tells what a whole answer does."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Broken,
    Conversation,
    Counted,
    Counts,
    Delta,
    Finish,
    Finished,
    Losses,
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
from apikeyrouter.dialects.openai_responses.rendering import ResponsesRendering

pytestmark = pytest.mark.unit
RESPONSES = ResponsesRendering()
OWN = "openai-responses"

REPLY = Reply(
    id="resp_1", model="m", created=5, finish=Finish.TOOL_CALLS, tier="default",
    parts=[
        Thinking(text="hm", signature="sig", id="rs_1_0", origin="anthropic"),
        Thinking(text="hm", encrypted="enc", id="rs_1_1", origin=OWN),
        Text(text="hello"),
        Refusal(text="no"),
        ToolCall(id="c1", name="f", arguments='{"a":1}'),
        ToolCall(id="c2", name="g", arguments="{}"),
    ],
    counts=Counts(input=9, output=4, cached=2, cache_written=1, reasoning=3),
)  # fmt: skip


def test_whole_answer_is_written_and_read_the_same() -> None:
    written = json.loads(RESPONSES.write_reply(REPLY))
    Response.model_validate(written, strict=True)
    assert RESPONSES.read_reply(written) == REPLY


def test_others_proof_of_reasoning_comes_back_with_the_next_request() -> None:
    output = json.loads(RESPONSES.write_reply(REPLY))["output"]
    read = RESPONSES.read_request({"model": "m", "input": output}, Losses())
    assert read.turns == [Turn("assistant", REPLY.parts)]
    written = json.loads(RESPONSES.write_request(read, Losses()))
    assert [item["type"] for item in written["input"]].count("reasoning") == 1


@pytest.mark.parametrize("proof", ["sealed-1.", "sealed-1.!!", "sealed-1.bnVsbA=="])
def test_seal_that_was_damaged_proves_nothing(proof: str) -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": proof}
    read = RESPONSES.read_request({"input": [item]}, Losses())
    assert read.turns == [Turn("assistant", [Thinking()])]


@pytest.mark.parametrize(
    ("finish", "status", "read"),
    [
        (Finish.STOP, "completed", Finish.STOP),
        (Finish.STOP_SEQUENCE, "completed", Finish.STOP),
        (Finish.LENGTH, "incomplete", Finish.LENGTH),
        (Finish.CONTENT_FILTER, "incomplete", Finish.CONTENT_FILTER),
        (Finish.REFUSAL, "incomplete", Finish.CONTENT_FILTER),
        (None, "completed", Finish.STOP),
    ],
)
def test_finish_has_a_status(finish: Finish | None, status: str, read: Finish) -> None:
    written = json.loads(RESPONSES.write_reply(Reply(finish=finish)))
    assert (written["status"], RESPONSES.read_reply(written).finish) == (status, read)


def _deltas(parts: list[AnyPart]) -> list[Delta]:
    """Return how *parts* come in pieces."""
    deltas: list[Delta] = [Started("resp_1", "m", 5)]
    for index, part in enumerate(parts):
        match part:
            case ToolCall(id=call_id, name=name, arguments=text):
                begun: AnyPart = ToolCall(id=call_id, name=name, arguments="")
            case Thinking(id=item_id, text=text):
                begun = Thinking(id=item_id, origin=part.origin)
            case Text(text=text) | Refusal(text=text):
                begun = type(part)(text="")
        deltas.append(PartBegan(index, begun))
        deltas += [PartGrew(index, piece) for piece in (text[:2], text[2:]) if piece]
        if isinstance(part, Thinking):
            deltas.append(PartGrew(index, "", part.signature, part.encrypted))
        deltas.append(PartEnded(index))
    return [*deltas, Finished(Finish.TOOL_CALLS), Counted(REPLY.counts or Counts(), "default")]


def _stream(deltas: list[Delta]) -> bytes:
    writer = RESPONSES.delta_writer(Conversation("m"))
    return b"".join([*(writer.feed(delta) for delta in deltas), writer.finish()])


OWN_PARTS = [part for part in REPLY.parts if getattr(part, "origin", OWN) == OWN]
DELTAS = _deltas(OWN_PARTS)


@given(st.lists(st.integers(0, 9000), max_size=30))
def test_stream_is_written_and_read_the_same_however_it_is_split(cuts: list[int]) -> None:
    stream = _stream(DELTAS)
    ends = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    reader = RESPONSES.delta_reader()
    found = [d for a, b in itertools.pairwise(ends) for d in reader.feed(stream[a:b])]
    found += reader.finish()
    assert found == [_renamed(delta) for delta in DELTAS]


def _renamed(delta: Delta) -> Delta:
    """Return *delta* with a thought of its own, named as the writer names it."""
    if isinstance(delta, PartBegan) and isinstance(delta.part, Thinking):
        return PartBegan(delta.index, Thinking(id="rs_1_0", origin=OWN))
    return delta


def _events(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(e.split(b"data: ")[1]) for e in stream.split(b"\n\n") if e]


def test_official_client_reads_every_event() -> None:
    events = _events(_stream(_deltas(REPLY.parts)))
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for event in events:
        assert adapter.validate_python(event).type == event["type"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize("pieces", [True, False], ids=["in pieces", "at once"])
def test_last_event_has_what_a_whole_answer_has(pieces: bool) -> None:
    deltas = _deltas(REPLY.parts)
    if not pieces:
        whole: list[Delta] = []
        for index, part in enumerate(REPLY.parts):
            whole += [PartBegan(index, part), PartEnded(index)]
        deltas = [deltas[0], *whole, *deltas[-2:]]
    events = _events(_stream(deltas))
    assert events[-1]["response"] == json.loads(RESPONSES.write_reply(REPLY))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]


def test_broken_stream_ends_as_failed() -> None:
    stream = _stream([Started("a"), Broken("busy", 429, "rate_limit_error", "x")])
    *_, before, last = _events(stream)
    assert (before["type"], before["error"]["message"]) == ("error", "busy")
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "rate_limit_exceeded", "message": "busy"}
    assert list(RESPONSES.delta_reader().feed(stream))[-1] == Broken(
        "busy", 429, "rate_limit_error", "rate_limit_exceeded"
    )


ITEM = {"type": "message", "content": [{"type": "output_text", "text": "hello"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
THOUGHT = {"type": "reasoning", "id": "r", "summary": [{"text": "a"}, {"text": "b"}]}


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        ([{"type": "response.output_item.done", "output_index": 0, "item": ITEM}], ["hello"]),
        ([], ["hello"]),
        (
            [
                {"type": "response.output_text.delta", "output_index": 0, "delta": "he"},
                {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
            ],
            ["hello"],
        ),
        (
            [
                {
                    "type": "response.output_item.added", "output_index": 1,
                    "item": CALL | {"arguments": ""},
                },
                {"type": "response.output_item.done", "output_index": 1, "item": CALL},
            ],
            ["{}", "hello"],
        ),
        (
            [
                {
                    "type": "response.reasoning_summary_text.delta", "output_index": 1,
                    "summary_index": number, "item_id": "r", "delta": text,
                }
                for number, text in enumerate("ab")
            ]
            + [{"type": "response.output_item.done", "output_index": 1, "item": THOUGHT}],
            ["a\n\nb", "hello"],
        ),
    ],
    ids=["done alone", "end alone", "beginning", "arguments at the end", "paragraphs"],
)  # fmt: skip
def test_whatever_never_came_in_pieces_comes_in_the_end(
    events: list[dict[str, Any]], parts: list[str]
) -> None:
    last = {"type": "response.completed", "response": {"output": [ITEM]}}
    reader = RESPONSES.delta_reader()
    stream = b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in [*events, last])
    texts: dict[int, str] = {}
    for delta in [*reader.feed(stream), *reader.finish()]:
        if isinstance(delta, PartBegan):
            texts[delta.index] = getattr(delta.part, "text", "")
        elif isinstance(delta, PartGrew):
            texts[delta.index] += delta.text
    assert list(texts.values()) == parts
