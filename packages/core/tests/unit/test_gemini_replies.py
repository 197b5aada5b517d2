"""Gemini's answers read into the neutral form and written from it, whole and streamed."""

import json
from typing import Any

import pytest
from gemini_streams import ARRAYS, EVENTS, as_array, as_events, spoken, streamed
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Broken,
    Conversation,
    Counted,
    Counts,
    Delta,
    Finish,
    Finished,
    Media,
    PartBegan,
    PartEnded,
    PartGrew,
    Refusal,
    Reply,
    Started,
    Text,
    Thinking,
    ToolCall,
)
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.gemini.conversations.rendering import GeminiRendering
from apikeyrouter.dialects.gemini.conversations.signatures import unwrapped

pytestmark = pytest.mark.unit

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)
COUNTS = st.builds(
    lambda given, made, cached, thoughts, audio: Counts(
        input=given + cached, output=made + thoughts, cached=cached, reasoning=thoughts,
        audio_input=audio,
    ),
    st.integers(1, 99), st.integers(1, 99), st.integers(0, 9), st.integers(0, 9),
    st.integers(0, 3),
)  # fmt: skip
PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Thinking, text=TEXTS, signature=st.just("c2ln"), origin=st.just("gemini")),
    st.builds(Thinking, signature=st.just("c2ln"), origin=st.just("gemini")),
    st.builds(
        ToolCall, id=NAMES, name=NAMES, arguments=st.sampled_from(["{}", '{"a":{"b":[1]}}']),
        signature=st.sampled_from(["", "c2ln"]),
    ),
    st.just(Media(kind="image", data="AA+/", mime="image/png")),
)  # fmt: skip
REPLIES = st.builds(
    Reply,
    id=NAMES, model=NAMES, parts=st.lists(PARTS, min_size=1, max_size=5),
    finish=st.sampled_from([Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER]), counts=COUNTS,
)  # fmt: skip


def settled(reply: Reply) -> Reply:
    """Let texts that stand together be one, and a call be the reason of the end."""
    parts: list[AnyPart] = []
    for part in reply.parts:
        last = parts[-1] if parts else None
        if isinstance(last, Text) and isinstance(part, Text):
            parts[-1] = Text(text=last.text + part.text)
        else:
            parts.append(part)
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    finish = Finish.TOOL_CALLS if has_calls and reply.finish is Finish.STOP else reply.finish
    return Reply(reply.id, reply.model, parts, finish, counts=reply.counts)


def gathered(deltas: list[Delta]) -> Reply:
    """Put deltas together as whoever reads them does."""
    reply, parts = Reply(), dict[int, Any]()
    for delta in deltas:
        match delta:
            case Started():
                reply.id, reply.model = delta.id, delta.model
            case PartBegan():
                parts[delta.index] = delta.part
            case PartGrew(text=text):
                part = parts[delta.index]
                if isinstance(part, ToolCall):
                    part.arguments += text
                else:
                    part.text += text
                if isinstance(part, Thinking):
                    part.signature += delta.signature
                    part.encrypted += delta.encrypted
            case Finished():
                reply.finish = delta.finish
            case Counted():
                reply.counts = delta.counts
    reply.parts = [parts[index] for index in sorted(parts)]
    return reply


def pieces_in(stream: bytes) -> list[Any]:
    if stream.startswith(b"["):
        found: list[Any] = json.loads(stream)
        return found
    return [json.loads(event[6:]) for event in stream.split(b"\r\n\r\n") if event]


@settings(max_examples=150)
@given(REPLIES)
def test_whole_answer_that_is_written_is_read_the_same(reply: Reply) -> None:
    written = json.loads(EVENTS.write_reply(reply))
    types.GenerateContentResponse.model_validate(written)
    assert EVENTS.read_reply(written) == settled(reply)


@settings(max_examples=100)
@given(REPLIES, st.sampled_from([EVENTS, ARRAYS]), st.integers(1, 50))
def test_stream_that_is_written_is_read_the_same(
    reply: Reply, rendering: GeminiRendering, size: int
) -> None:
    deltas: list[Delta] = [Started(reply.id, reply.model)]
    for index, part in enumerate(reply.parts):
        deltas += [PartBegan(index, part), PartEnded(index)]
    assert reply.finish is not None
    assert reply.counts is not None
    deltas += [Finished(reply.finish), Counted(reply.counts)]
    stream = spoken(rendering, deltas)
    for piece in pieces_in(stream):
        types.GenerateContentResponse.model_validate(piece)
    expected = settled(reply)
    found = gathered(streamed(rendering, stream, size))
    # Texts of their own become one, whoever wrote them; signatures come after their texts.
    assert _said(found) == _said(expected)
    assert (found.id, found.finish, found.counts) == (reply.id, expected.finish, reply.counts)


def _said(reply: Reply) -> Any:
    texts = "".join(part.text for part in reply.parts if isinstance(part, Text))
    thoughts = "".join(part.text for part in reply.parts if isinstance(part, Thinking))
    signed = sum(bool(part.signature) for part in reply.parts if isinstance(part, Thinking))
    rest = [part for part in reply.parts if isinstance(part, ToolCall | Media)]
    return texts, thoughts, signed, rest


def piece(*parts: Any, finish: str = "", **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "r-1", "modelVersion": "gemini-3", **more}


USAGE = {
    "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 6,
    "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 1, "totalTokenCount": 20,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
}  # fmt: skip
#: As the API sends it: thoughts, text, two calls of which the first is signed, figures on the way.
TRANSCRIPT: list[Any] = [
    {**piece({"text": ""}), "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}},
    piece({"text": "Let me ", "thought": True}),
    piece({"text": "think.", "thought": True}),
    piece({"text": "It is "}, finish="STOP"),
    piece({"text": "sunny ☀"}),
    piece(
        {"functionCall": {"name": "look", "args": {"at": 'the "sky"'}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "look", "args": {"at": "the sea"}}},
    ),
    piece({"text": "", "thoughtSignature": "bGFzdA=="}, finish="STOP", usageMetadata=USAGE),
]
WHOLE = piece(
    *(part for found in TRANSCRIPT for part in found["candidates"][0]["content"]["parts"]),
    finish="STOP", usageMetadata=USAGE,
)  # fmt: skip


def test_transcript_is_read_the_same_wherever_it_is_split() -> None:
    reply = EVENTS.read_reply(WHOLE)
    calls = [part for part in reply.parts if isinstance(part, ToolCall)]
    assert reply == Reply(
        "r-1", "gemini-3",
        [
            Thinking(text="Let me think.", origin="gemini"),
            Text(text="It is sunny ☀"),
            ToolCall(id=calls[0].id, name="look", arguments='{"at":"the \\"sky\\""}',
                     signature="c2ln"),
            ToolCall(id=calls[1].id, name="look", arguments='{"at":"the sea"}'),
            Thinking(signature="bGFzdA==", origin="gemini"),
        ],
        Finish.TOOL_CALLS,
        counts=Counts(input=11, output=9, cached=4, reasoning=3, audio_input=2),
    )  # fmt: skip
    assert calls[0].id != calls[1].id
    for stream in (
        as_events(TRANSCRIPT), as_events(TRANSCRIPT, b"\n\n"), as_array(TRANSCRIPT),
        as_events(TRANSCRIPT).rstrip(),
    ):  # fmt: skip
        for size in (*range(1, 20), len(stream)):
            assert gathered(streamed(EVENTS, stream, size)) == reply


def test_split_in_two_anywhere_changes_nothing() -> None:
    stream = as_events(TRANSCRIPT)
    expected = streamed(EVENTS, stream, len(stream))
    for at in range(len(stream)):
        reader = EVENTS.delta_reader()
        assert [*reader.feed(stream[:at]), *reader.feed(stream[at:]), *reader.finish()] == expected


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", Finish.STOP), ("MAX_TOKENS", Finish.LENGTH), ("SAFETY", Finish.CONTENT_FILTER),
        ("RECITATION", Finish.CONTENT_FILTER), ("BLOCKLIST", Finish.CONTENT_FILTER),
        ("PROHIBITED_CONTENT", Finish.CONTENT_FILTER), ("SPII", Finish.CONTENT_FILTER),
        ("IMAGE_SAFETY", Finish.CONTENT_FILTER), ("LANGUAGE", Finish.CONTENT_FILTER),
        ("OTHER", Finish.STOP), ("MALFORMED_FUNCTION_CALL", Finish.STOP),
        ("A_NEW_ONE", Finish.STOP), ("FINISH_REASON_UNSPECIFIED", None), ("", None),
    ],
)  # fmt: skip
def test_reason_of_the_end_is_read(reason: str, finish: Finish | None) -> None:
    assert EVENTS.read_reply(piece({"text": "x"}, finish=reason)).finish is finish


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER"])
def test_model_that_gave_up_before_it_said_anything_has_failed(reason: str) -> None:
    nothing = {"candidates": [{"finishReason": reason, "index": 0}]}
    with pytest.raises(BadBodyError, match=f"gave up its answer: {reason}"):
        EVENTS.read_reply(nothing)
    broken = Broken(f"the model gave up its answer: {reason}", 502, code=reason)
    assert broken in streamed(EVENTS, as_events([nothing]), 9)
    assert EVENTS.read_reply(piece({"text": "x"}, finish=reason)).finish is Finish.STOP
    after = as_events([piece({"text": "x"}), nothing])
    assert gathered(streamed(EVENTS, after, 9)).finish is Finish.STOP


def test_blocked_prompt_is_an_answer_without_content() -> None:
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 3},
    }
    expected = Reply(finish=Finish.CONTENT_FILTER, counts=Counts(input=3))
    assert EVENTS.read_reply(blocked) == expected
    assert gathered(streamed(EVENTS, as_events([blocked]), 9)) == expected


@pytest.mark.parametrize(
    ("finish", "name"),
    [
        (Finish.STOP, "STOP"), (Finish.STOP_SEQUENCE, "STOP"), (Finish.TOOL_CALLS, "STOP"),
        (Finish.PAUSE, "STOP"), (Finish.LENGTH, "MAX_TOKENS"),
        (Finish.CONTEXT_LENGTH, "MAX_TOKENS"), (Finish.CONTENT_FILTER, "SAFETY"),
        (Finish.REFUSAL, "SAFETY"), (None, "STOP"),
    ],
)  # fmt: skip
def test_reason_of_the_end_is_written(finish: Finish | None, name: str) -> None:
    written = json.loads(EVENTS.write_reply(Reply(parts=[Refusal(text="no")], finish=finish)))
    assert written["candidates"] == [
        {"content": {"role": "model", "parts": [{"text": "no"}]}, "index": 0, "finishReason": name}
    ]


@pytest.mark.parametrize("body", [{}, {"candidates": 3}, {"candidates": [{"content": "x"}]}])
def test_odd_answer_is_an_empty_one(body: Any) -> None:
    assert EVENTS.read_reply(body) == Reply()


def test_only_the_first_candidate_is_read() -> None:
    second = {"content": {"parts": [{"text": "b"}]}, "index": 1, "finishReason": "STOP"}
    first = {"content": {"parts": [{"text": "a"}]}, "index": 0}
    for body in ({"candidates": [second, first]}, {"candidates": [first, second]}):
        assert EVENTS.read_reply(body) == Reply(parts=[Text(text="a")])


FOREIGN: list[Delta] = [
    Started("msg_1", "claude"),
    PartBegan(0, Thinking(origin="anthropic")),
    PartGrew(0, "Let me "),
    PartGrew(0, "see."),
    PartGrew(0, signature="sig+/="),
    PartEnded(0),
    PartBegan(1, Text(text="")),
    PartGrew(1, "Look"),
    PartGrew(1, "ing."),
    PartBegan(2, ToolCall(id="toolu_1", name="look")),
    PartGrew(2, '{"at":'),
    PartBegan(3, ToolCall(id="toolu_2", name="go", arguments="")),
    PartGrew(2, '"sky"}'),
    PartGrew(3, "{}"),
    PartEnded(2),
    PartEnded(3),
    Finished(Finish.TOOL_CALLS),
    Counted(Counts(input=5, output=9, reasoning=2)),
]


@pytest.mark.parametrize("rendering", [EVENTS, ARRAYS], ids=["events", "array"])
def test_stream_of_another_dialect_is_googles(rendering: GeminiRendering) -> None:
    pieces = pieces_in(spoken(rendering, FOREIGN))
    parts = [part for found in pieces for part in found["candidates"][0]["content"]["parts"]]
    signatures = [part.pop("thoughtSignature", None) for part in parts]
    assert parts == [
        {"text": "Let me ", "thought": True},
        {"text": "see.", "thought": True},
        {"text": "", "thought": True},
        {"text": "Look"},
        {"text": "ing."},
        {"functionCall": {"id": "toolu_1", "name": "look", "args": {"at": "sky"}}},
        {"functionCall": {"id": "toolu_2", "name": "go", "args": {}}},
        {"text": ""},
    ]
    thought = Thinking(text="Let me see.", signature="sig+/=", origin="anthropic")
    kept = [unwrapped(signature) for signature in signatures if signature]
    assert kept == [thought, thought]
    assert [bool(signature) for signature in signatures].index(True) == 2
    assert pieces[-1] == {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "index": 0,
             "finishReason": "STOP"},
        ],
        "usageMetadata": {
            "promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 14,
            "thoughtsTokenCount": 2,
        },
        "modelVersion": "claude", "responseId": "msg_1",
    }  # fmt: skip


@pytest.mark.parametrize("rendering", [EVENTS, ARRAYS], ids=["events", "array"])
@pytest.mark.parametrize("begun", [True, False])
def test_error_ends_a_stream(rendering: GeminiRendering, begun: bool) -> None:
    broken = Broken("busy", status=503, kind="overloaded_error", code="overloaded")
    before = FOREIGN[:9] if begun else FOREIGN[:1]
    writer = rendering.delta_writer(Conversation(model="m"))
    stream = b"".join(map(writer.feed, [*before, broken])) + writer.finish()
    assert pieces_in(stream)[-1]["error"]["status"] == "UNAVAILABLE"
    found = streamed(rendering, stream, 3)
    assert [delta for delta in found if isinstance(delta, Broken)] == [
        Broken("busy", status=503, kind="service_unavailable_error", code="UNAVAILABLE")
    ]


@pytest.mark.parametrize(
    ("arguments", "args"),
    [("", {}), ("{}", {}), ('{"a":1}', {"a": 1}), ("nonsense", {"arguments": "nonsense"})],
)
def test_arguments_become_an_object(arguments: str, args: Any) -> None:
    call = ToolCall(id="1", name="f", arguments=arguments)
    written = json.loads(EVENTS.write_reply(Reply(parts=[call])))
    assert written["candidates"][0]["content"]["parts"][0]["functionCall"]["args"] == args


def test_answer_without_anything_still_has_a_part() -> None:
    stream = spoken(EVENTS, [Started("a", "m"), Finished(Finish.STOP)])
    response = types.GenerateContentResponse.model_validate(pieces_in(stream)[0])
    assert response.text == ""
