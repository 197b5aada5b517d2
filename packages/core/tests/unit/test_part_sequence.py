"""Parts that grow in turns come one after the other to clients that expect that."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from apikeyrouter.dialects.catalogue import DIALECTS
from apikeyrouter.dialects.conversation import (
    Broken,
    Conversation,
    Delta,
    Finish,
    Finished,
    PartBegan,
    PartEnded,
    PartGrew,
    ToolCall,
)
from apikeyrouter.dialects.streams.part_sequence import PartSequence

pytestmark = pytest.mark.unit
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def call(index: int, **facts: Any) -> bytes:
    choice = {"index": 0, "delta": {"tool_calls": [{"index": index, **facts}]}}
    return b"data: %s\n\n" % msgspec.json.encode({"id": "c", "choices": [choice]})


def begun(index: int) -> bytes:
    return call(index, id=f"call_{index}", function={"name": f"tool_{index}", "arguments": ""})


def grown(index: int, text: str) -> bytes:
    return call(index, function={"arguments": text})


DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n'
INTERLEAVED = (
    begun(0) + begun(1) + grown(0, '{"a":') + grown(1, '{"b":') + grown(0, "1}") + grown(1, "2}")
)


def events_of(stream: bytes) -> list[Any]:
    """Return the events of a response that a client gets for a provider's chat."""
    reading, writing = DIALECTS["openai"].rendering, DIALECTS["openai-responses"].rendering
    assert reading is not None
    assert writing is not None
    reader, writer = reading.delta_reader(), writing.delta_writer(Conversation(model="m"))
    written = b"".join(map(writer.feed, itertools.chain(reader.feed(stream), reader.finish())))
    told = (written + writer.finish()).split(b"\n\n")
    return [EVENT.validate_json(event.partition(b"data: ")[2]) for event in told if event]


def test_calls_that_grow_in_turns_come_one_after_the_other() -> None:
    events = events_of(INTERLEAVED + DONE)
    told = [(event.type, event.output_index) for event in events if hasattr(event, "output_index")]
    kinds = (
        ["response.output_item.added"]
        + ["response.function_call_arguments.delta"] * 2
        + ["response.function_call_arguments.done", "response.output_item.done"]
    )
    assert told == [(kind, index) for index in (0, 1) for kind in kinds]
    made = [(item.name, item.arguments) for item in events[-1].response.output]
    assert made == [("tool_0", '{"a":1}'), ("tool_1", '{"b":2}')]
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_first_call_is_not_delayed() -> None:
    reading, writing = DIALECTS["openai"].rendering, DIALECTS["openai-responses"].rendering
    assert reading is not None
    assert writing is not None
    reader, writer = reading.delta_reader(), writing.delta_writer(Conversation(model="m"))
    told = [
        b"".join(map(writer.feed, reader.feed(piece)))
        for piece in (begun(0), begun(1), grown(0, "{"), grown(1, "["))
    ]
    assert [b"response.function_call_arguments.delta" in piece for piece in told] == [
        False, False, True, False,
    ]  # fmt: skip


def test_what_waited_is_told_when_the_stream_fails() -> None:
    events = events_of(INTERLEAVED + b'data: {"error":{"message":"gone"}}\n\n')
    assert events[-1].type == "response.failed"
    assert all(event.type != "response.output_item.done" for event in events)
    made = [(item.name, item.arguments) for item in events[-1].response.output]
    assert made == [("tool_0", '{"a":1}'), ("tool_1", '{"b":2}')]


@given(st.lists(st.tuples(st.sampled_from(["begin", "grow", "end"]), st.integers(0, 4))))
def test_any_turns_become_parts_in_a_row(steps: list[tuple[str, int]]) -> None:
    """Whatever the turns: parts in a row, each whole, nothing lost and nothing made up."""
    state, sent = dict[int, str](), list[Delta]()
    for number, (step, index) in enumerate(steps):
        if step == "begin" and index not in state:
            sent.append(PartBegan(index, ToolCall(id=str(index), name="t", arguments="")))
            state[index] = "open"
        elif step == "grow" and state.get(index) == "open":
            sent.append(PartGrew(index, f"{number};"))
        elif step == "end" and state.get(index) == "open":
            sent.append(PartEnded(index))
            state[index] = "ended"
    sequence = PartSequence()
    got = [out for delta in [*sent, Finished(Finish.STOP)] for out in sequence.feed(delta)]
    got += sequence.finish()
    parts = [delta for delta in got if not isinstance(delta, Finished | Broken)]
    runs = [(index, list(run)) for index, run in itertools.groupby(parts, lambda d: d.index)]
    assert [index for index, _ in runs] == list(state)
    for index, run in runs:
        assert isinstance(run[0], PartBegan)
        assert isinstance(run[-1], PartEnded)
        assert [d for d in run if isinstance(d, PartGrew)] == [
            d for d in sent if isinstance(d, PartGrew) and d.index == index
        ]
