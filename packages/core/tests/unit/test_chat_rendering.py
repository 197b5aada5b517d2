"""Chats read into the neutral form and written from it: nothing is lost without a word."""

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from apikeyrouter.dialects.conversation import (
    Broken,
    Conversation,
    Counted,
    Counts,
    Delta,
    Finish,
    Finished,
    Losses,
    Media,
    OutputFormat,
    PartBegan,
    PartEnded,
    PartGrew,
    Reasoning,
    Refusal,
    Reply,
    Sampling,
    Started,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.openai_chat.rendering import ChatRendering

pytestmark = pytest.mark.unit
CHAT = ChatRendering()

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)
SCHEMAS = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
USER_PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Media, kind=st.just("image"), url=st.just("https://x/y.png"), detail=st.just("low")),
    st.builds(Media, kind=st.just("image"), data=st.just("AAAA"), mime=st.just("image/png")),
    st.builds(Media, kind=st.just("audio"), data=st.just("AAAA"), mime=st.just("audio/wav")),
    st.builds(
        Media, kind=st.just("document"), data=st.just("AAAA"), mime=st.just("application/pdf"),
        name=NAMES,
    ),
)  # fmt: skip
CALLS = st.builds(ToolCall, id=NAMES, name=NAMES, arguments=st.just('{"a":1}'), signature=NAMES)
TURNS = st.one_of(
    st.builds(lambda parts: Turn("user", parts), st.lists(USER_PARTS, min_size=1, max_size=3)),
    st.builds(
        lambda text, calls: Turn("assistant", [Text(text=text), *calls]),
        TEXTS, st.lists(CALLS, max_size=2),
    ),
    st.builds(
        lambda results: Turn("user", results),
        st.lists(
            st.builds(
                ToolResult, call_id=NAMES, content=st.builds(lambda t: [Text(text=t)], TEXTS)
            ),
            min_size=1, max_size=1,
        ),
    ),
)  # fmt: skip
CONVERSATIONS = st.builds(
    Conversation,
    model=NAMES,
    system=st.lists(st.builds(Text, text=TEXTS), max_size=2),
    turns=st.lists(TURNS, min_size=1, max_size=4),
    tools=st.lists(
        st.builds(Tool, name=NAMES, description=TEXTS, parameters=SCHEMAS, strict=st.booleans()),
        min_size=1, max_size=2,
    ),
    tool_choice=st.one_of(
        st.none(),
        st.builds(ToolChoice, st.just("required"), st.lists(NAMES, max_size=2), st.booleans()),
        st.builds(ToolChoice, st.just("none"), st.just([]), st.booleans()),
    ),
    output_format=st.one_of(
        st.none(), st.just(OutputFormat()),
        st.builds(OutputFormat, schema=SCHEMAS, name=NAMES, strict=st.booleans()),
    ),
    reasoning=st.one_of(st.none(), st.builds(Reasoning, st.sampled_from(["low", "high"]))),
    sampling=st.builds(Sampling, temperature=st.just(0.5), seed=st.just(3)),
    max_output_tokens=st.one_of(st.none(), st.integers(1, 9999)),
    stop=st.lists(TEXTS, max_size=2),
    choices=st.integers(1, 3),
    stream=st.booleans(),
    service_tier=st.sampled_from(["", "flex"]),
    user=st.sampled_from(["", "u"]),
    metadata=st.sampled_from([{}, {"a": "b"}]),
)  # fmt: skip


def _apart(turns: list[Turn]) -> bool:
    """Tell whether no two turns of results stand together: they would be read as one."""
    results = [isinstance(turn.parts[0], ToolResult) for turn in turns]
    return not any(a and b for a, b in itertools.pairwise(results))


@settings(max_examples=150)
@given(CONVERSATIONS.filter(lambda found: _apart(found.turns)))
def test_what_is_written_is_read_the_same(conversation: Conversation) -> None:
    losses = Losses()
    body = json.loads(CHAT.write_request(conversation, losses))
    read = CHAT.read_request(body, losses)
    assert losses.names == []
    read.tells_usage = conversation.tells_usage
    assert read == conversation


@pytest.mark.parametrize(
    ("extra", "lost"),
    [
        ({"logit_bias": {"1": 5}}, ["logit_bias"]),
        ({"web_search_options": {}}, ["web_search_options"]),
        ({"logit_bias": {}, "logprobs": False, "modalities": ["text"]}, []),
        ({"modalities": ["text", "audio"]}, ["modalities"]),
        ({"prompt_cache_key": "k", "store": True}, []),
        ({"made_up": 1}, ["made_up"]),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, ["tools[0]"]),
        (
            {"messages": [{"role": "user", "content": [{"type": "video", "video": {}}]}]},
            ["messages.content.video"],
        ),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_what_cannot_be_carried_is_named(extra: dict[str, Any], lost: list[str]) -> None:
    losses = Losses()
    CHAT.read_request(
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], **extra}, losses
    )
    assert losses.names == lost


@pytest.mark.parametrize("messages", [None, [], "hi", {}])
def test_request_without_messages_is_none(messages: object) -> None:
    with pytest.raises(BadBodyError, match="messages: should be a list"):
        CHAT.read_request({"model": "m", "messages": messages}, Losses())


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "id", "file",
                         "image_url", "choices", "delta", "message", "usage", "index", "error"]),
        inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_odd_bodies_are_read_without_a_stumble(value: Any) -> None:
    body = value if isinstance(value, dict) else {"choices": value}
    CHAT.read_request(
        {"messages": [body, {"role": "assistant", **body}], **body} | {"messages": [body]}, Losses()
    )
    CHAT.read_reply(body)
    list(CHAT.delta_reader().feed(b"data: " + json.dumps(body).encode() + b"\n\n"))


def test_results_with_pictures_are_followed_by_them() -> None:
    picture = Media(kind="image", data="AAAA", mime="image/png")
    result = ToolResult(call_id="c", content=[Text(text="seen"), picture])
    body = json.loads(
        CHAT.write_request(Conversation("m", turns=[Turn("user", [result])]), Losses())
    )
    assert body["messages"] == [
        {"role": "tool", "tool_call_id": "c", "content": "seen"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        },
    ]


@pytest.mark.parametrize(("model", "field"), [
    ("gpt-4o", "max_tokens"), ("llama", "max_tokens"), ("o3-mini", "max_completion_tokens"),
    ("openai/gpt-5.4", "max_completion_tokens"),
])  # fmt: skip
def test_cap_has_the_name_that_the_model_knows(model: str, field: str) -> None:
    body = json.loads(CHAT.write_request(Conversation(model, max_output_tokens=7), Losses()))
    assert body[field] == 7


REPLY = Reply(
    id="chatcmpl-1", model="m", created=5, finish=Finish.TOOL_CALLS, tier="default",
    parts=[
        Thinking(text="hm", signature="sig", origin="anthropic"),
        Text(text="hello"),
        ToolCall(id="c1", name="f", arguments='{"a":1}'),
        ToolCall(id="c2", name="g", arguments="{}", signature="s2"),
    ],
    counts=Counts(input=9, output=4, cached=2, cache_written=1, reasoning=3),
)  # fmt: skip


def test_whole_answer_is_written_and_read_the_same() -> None:
    written = CHAT.write_reply(REPLY)
    ChatCompletion.model_validate(json.loads(written), strict=True)
    assert CHAT.read_reply(json.loads(written)) == REPLY


DELTAS: list[Delta] = [
    Started("chatcmpl-1", "m", 5),
    PartBegan(0, Thinking(origin="anthropic")),
    PartGrew(0, "hm"),
    PartGrew(0, signature="sig"),
    PartEnded(0),
    PartBegan(1, Text(text="")),
    PartGrew(1, "hel"),
    PartGrew(1, "lo"),
    PartEnded(1),
    PartBegan(2, ToolCall(id="c1", name="f", arguments="")),
    PartGrew(2, '{"a"'),
    PartGrew(2, ":1}"),
    PartBegan(3, ToolCall(id="c2", name="g", arguments="")),
    PartGrew(3, "{}"),
    PartEnded(2),
    PartEnded(3),
    Finished(Finish.TOOL_CALLS),
    Counted(Counts(input=9, output=4)),
]


def _stream(deltas: list[Delta], *, tells_usage: bool = True) -> bytes:
    writer = CHAT.delta_writer(Conversation("m", tells_usage=tells_usage))
    return b"".join([*(writer.feed(delta) for delta in deltas), writer.finish()])


@given(st.lists(st.integers(0, 4000), max_size=30))
def test_stream_is_written_and_read_the_same_however_it_is_split(cuts: list[int]) -> None:
    stream = _stream(DELTAS)
    ends = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    reader = CHAT.delta_reader()
    found = [d for a, b in itertools.pairwise(ends) for d in reader.feed(stream[a:b])]
    found += reader.finish()
    assert found == DELTAS


def test_official_client_reads_every_chunk() -> None:
    events = _stream(DELTAS).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    for event in events[:-2]:
        ChatCompletionChunk.model_validate(json.loads(event.removeprefix(b"data: ")), strict=True)


@pytest.mark.parametrize("tells_usage", [True, False])
def test_usage_is_told_to_who_asked_for_it(tells_usage: bool) -> None:
    assert (b'"usage"' in _stream(DELTAS, tells_usage=tells_usage)) is tells_usage


def test_broken_stream_ends_with_its_error() -> None:
    stream = _stream([Started("a"), Broken("busy", 503, "server_error", "x")])
    error = {"message": "busy", "type": "server_error", "param": None, "code": "x"}
    assert stream.endswith(b"data: " + msgspec.json.encode({"error": error}) + b"\n\n")


def test_whole_answer_in_one_delta_is_written_like_one_in_many() -> None:
    deltas: list[Delta] = [Started("a", "m", 1)]
    for index, part in enumerate([*REPLY.parts, Refusal(text="no")]):
        deltas += [PartBegan(index, part), PartEnded(index)]
    reader = CHAT.delta_reader()
    grown: dict[int, str] = {}
    for delta in [*reader.feed(_stream(deltas)), *reader.finish()]:
        if isinstance(delta, PartGrew):
            grown[delta.index] = grown.get(delta.index, "") + delta.text
    assert list(grown.values()) == ["hm", "hello", '{"a":1}', "{}", "no"]


def test_names_of_what_is_lost_are_plain_and_bounded() -> None:
    losses = Losses()
    odd = {f"f{number}\r\nx: \u2603{'y' * 100}": 1 for number in range(100)}
    CHAT.read_request(
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], **odd}, losses
    )
    assert len(losses.names) == 32
    assert losses.names[0] == f"f0??x: ?{'y' * 72}"
