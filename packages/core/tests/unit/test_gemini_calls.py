"""Calls and their results, signatures and schemas, where Gemini has others than the rest."""

import json
from typing import Any

import pytest
from gemini_bodies import call, contents, read, response, write
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.dialects.conversation import (
    Conversation,
    Media,
    OutputFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from apikeyrouter.dialects.gemini.conversations.signatures import (
    NONE_KNOWN,
    unwrapped,
    without_wrapped,
    wrapped,
)

pytestmark = pytest.mark.unit
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("calls", "responses", "order"),
    [
        ([call("a"), call("b")], [response("a"), response("b")], [0, 1]),
        ([call("a"), call("b")], [response("b"), response("a")], [1, 0]),
        ([call("a"), call("a")], [response("a"), response("a")], [0, 1]),
        ([call("a", id="x"), call("a", id="y")], [response("a", id="y"), response("a", id="x")],
         [1, 0]),
        ([call("a", id="x"), call("a", id="y")], [response("a"), response("a")], [0, 1]),
        ([call("a"), call("a")], [response("a", id="p"), response("a", id="q")], [0, 1]),
    ],
)  # fmt: skip
def test_results_find_their_calls(calls: Any, responses: Any, order: list[int]) -> None:
    found, _ = read(
        {
            "contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": calls},
                {"role": "user", "parts": responses},
            ]
        }
    )
    ids = [part.id for part in found.turns[1].parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == len(calls)
    answered = [part.call_id for part in found.turns[2].parts if isinstance(part, ToolResult)]
    assert answered == [ids[number] for number in order]


def test_pieces_of_a_stream_that_a_client_kept_apart_are_one_turn() -> None:
    found, _ = read(
        {
            "contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": [{"text": "I "}]},
                {"role": "model", "parts": [{"text": "look."}, call("a", id="1")]},
                {"role": "model", "parts": [call("b", id="2")]},
                {"role": "model", "parts": [{"text": ""}]},
                {"role": "user", "parts": [response("b")]},
                {"role": "function", "parts": [response("a")]},
            ]
        }
    )
    answered = [part.call_id for part in found.turns[2].parts if isinstance(part, ToolResult)]
    assert [turn.role for turn in found.turns] == ["user", "assistant", "user"]
    assert answered == ["2", "1"]


def test_same_call_in_two_rounds_has_two_ids_that_stay_the_same() -> None:
    body = {
        "contents": [
            {"role": "model", "parts": [call("a")]}, {"role": "user", "parts": [response("a")]},
            {"role": "model", "parts": [call("a")]}, {"role": "user", "parts": [response("a")]},
        ]
    }  # fmt: skip
    turns = read(body)[0].turns
    assert turns == read(body)[0].turns
    first, second = turns[0].parts[0], turns[2].parts[0]
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id != second.id
    assert turns[3].parts[0] == ToolResult(
        call_id=second.id, name="a", content=[Text(text='{"ok":1}')]
    )


def test_results_are_written_in_the_order_of_their_calls_with_media_after_them() -> None:
    picture = Media(kind="image", data="AA", mime="image/png")
    conversation = Conversation(
        model="gemini-2.5-flash",
        turns=[
            Turn("assistant", [ToolCall(id="1", name="a"), ToolCall(id="2", name="b")]),
            Turn("user", [ToolResult(call_id="2", content=[Text(text="two"), picture])]),
            Turn("system", [Text(text="Hurry.")]),
            Turn("user", [ToolResult(call_id="1", content=[Text(text="no")], is_error=True)]),
        ],
    )
    assert write(conversation)[0]["contents"][1] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "a", "response": {"error": "no"}}},
            {"functionResponse": {"name": "b", "response": {"output": "two"}}},
            {"inlineData": {"mimeType": "image/png", "data": "AA"}},
            {"text": "Hurry."},
        ],
    }


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", {"output": "plain"}),
        ('{"a": 1}', {"a": 1}),
        ("[1]", {"output": "[1]"}),
        ("{}", {"output": "{}"}),
        ("", {"output": ""}),
        ('{"output": "x"}', {"output": '{"output": "x"}'}),
        ('{"error": "x"}', {"output": '{"error": "x"}'}),
    ],
)
def test_result_of_a_tool_is_an_object(text: str, written: Any) -> None:
    turns = [
        Turn("assistant", [ToolCall(id="1", name="a")]),
        Turn("user", [ToolResult(call_id="1", content=[Text(text=text)])]),
    ]
    body, _ = write(Conversation(turns=turns))
    assert body["contents"][1]["parts"][0]["functionResponse"]["response"] == written
    found = read(body)[0].turns[1].parts[0]
    assert isinstance(found, ToolResult)
    assert found.is_error is False
    [inner] = found.content
    assert isinstance(inner, Text)
    assert inner.text.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("model", "signatures"),
    [
        ("gemini-2.5-flash", [None, None]),
        ("gemini-3-pro-preview", [NONE_KNOWN, None]),
        ("models/gemini-3.1-flash", [NONE_KNOWN, None]),
        ("gemini-flash-latest", [NONE_KNOWN, None]),
    ],
)
def test_calls_of_another_model_are_marked_as_such_where_a_signature_is_wanted(
    model: str, signatures: list[str | None]
) -> None:
    calls = [ToolCall(id="1", name="a"), ToolCall(id="2", name="b")]
    body, _ = write(Conversation(model=model, turns=[Turn("assistant", list(calls))]))
    assert [part.get("thoughtSignature") for part in body["contents"][0]["parts"]] == signatures


def test_own_signature_goes_back_where_it_was() -> None:
    calls = [ToolCall(id="1", name="a", signature="c2ln"), ToolCall(id="2", name="b")]
    thoughts = [Thinking(text="hm", origin="anthropic"), Thinking(text="so", origin="gemini")]
    turn = Turn("assistant", [*thoughts, Text(text="t"), *calls])
    body, _ = write(Conversation(model="gemini-3-pro", turns=[turn]))
    assert body["contents"][0]["parts"] == [
        {"text": "so", "thought": True},
        {"text": "t"},
        {"functionCall": {"name": "a", "args": {}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "b", "args": {}}},
    ]


@given(st.sampled_from(["anthropic", "openai-responses"]), TEXTS, TEXTS, st.text(max_size=9))
def test_thought_of_another_dialect_travels_in_the_signature(
    origin: str, text: str, signature: str, encrypted: str
) -> None:
    thought = Thinking(text=text, signature=signature, encrypted=encrypted, id="i", origin=origin)
    assert unwrapped(wrapped(thought)) == thought
    # Google's client decodes and encodes it anew.
    part = types.Part.model_validate({"text": "", "thoughtSignature": wrapped(thought)})
    again = json.loads(part.model_dump_json(by_alias=True, exclude_none=True))
    assert unwrapped(again["thoughtSignature"]) == thought


@pytest.mark.parametrize("again", [False, True])
def test_gemini_is_told_nothing_of_what_others_signed(again: bool) -> None:
    mark = wrapped(Thinking(text="hm", signature="s>>>???", origin="anthropic"))
    mark = mark.replace("_", "/").replace("-", "+") if again else mark
    signed = {**call("a"), "thoughtSignature": mark}
    own = {**call("b"), "thoughtSignature": "c2ln"}
    body = json.dumps({"contents": [{"role": "model", "parts": [signed, own]}]}).encode()
    parts = json.loads(without_wrapped(body))["contents"][0]["parts"]
    assert [part["thoughtSignature"] for part in parts] == [NONE_KNOWN, "c2ln"]
    plain = body.replace(mark.encode(), b"c2ln")
    assert without_wrapped(plain) is plain


@given(st.text(max_size=60))
def test_any_other_signature_is_googles(signature: str) -> None:
    assert unwrapped(signature) is None


def test_thought_that_stands_with_every_call_is_read_once() -> None:
    thought = Thinking(text="hm", signature="s", origin="anthropic")
    signed = {"thoughtSignature": wrapped(thought)}
    parts = [
        {"text": "hm", "thought": True, **signed},
        {**call("a", id="1"), **signed},
        {**call("b", id="2"), **signed},
    ]
    found, _ = read({"contents": [{"role": "model", "parts": parts}]})
    assert found.turns[0].parts == [
        thought, ToolCall(id="1", name="a"), ToolCall(id="2", name="b"),
    ]  # fmt: skip


SCHEMA = {
    "type": "OBJECT", "nullable": True, "propertyOrdering": ["a", "b"], "required": ["a"],
    "properties": {
        "a": {"type": "STRING", "enum": ["x"], "format": "enum", "nullable": True},
        "b": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "minItems": "2"},
        "type": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": True},
    },
}  # fmt: skip


def test_own_kind_of_schema_becomes_json_schema() -> None:
    body = {
        **contents({"text": "x"}),
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": SCHEMA},
    }
    found, losses = read(body)
    expected = {
        "type": ["object", "null"], "required": ["a"],
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None]},
            "b": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 2},
            "type": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
        },
    }  # fmt: skip
    assert losses == []
    assert found.tools[0].parameters == expected
    assert found.output_format == OutputFormat(expected)


def test_json_schema_goes_out_as_it_is() -> None:
    schema = {"type": "object", "additionalProperties": False, "$defs": {"x": {"oneOf": []}}}
    body, losses = write(
        Conversation(
            turns=[Turn("user", [Text(text="x")])],
            tools=[Tool("f", parameters=schema, strict=True)],
            output_format=OutputFormat(schema, strict=True),
        )
    )
    assert losses == []
    assert body["tools"][0]["functionDeclarations"] == [
        {"name": "f", "parametersJsonSchema": schema}
    ]
    assert body["generationConfig"]["responseJsonSchema"] == schema
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
