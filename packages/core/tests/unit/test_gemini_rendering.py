"""Gemini's conversations read into the neutral form and written from it."""

from typing import Any

import pytest
from gemini_bodies import GEMINI, contents, read, write
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.conversation import (
    Conversation,
    Media,
    OutputFormat,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apikeyrouter.dialects.dialect import BadBodyError

pytestmark = pytest.mark.unit
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)
SCHEMAS = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
MEDIA = st.sampled_from(
    [
        Media(kind="image", data="AA+/", mime="image/png"),
        Media(kind="image", url="https://x/y.png", mime="image/png"),
        Media(kind="audio", data="AAAA", mime="audio/wav"),
        Media(kind="document", data="AAAA", mime="application/pdf"),
        Media(kind="document", file_id="gs://b/o.pdf", mime="application/pdf"),
    ]
)
ROUNDS = st.builds(
    lambda asked, said, names, answers, thought: [
        Turn("user", asked),
        Turn(
            "assistant",
            [
                *([Thinking(text=thought, signature="c2ln", origin="gemini")] if thought else []),
                Text(text=said),
                *(
                    ToolCall(id=f"{number}", name=name, arguments='{"a":1}', signature="c2ln")
                    for number, name in enumerate(names)
                ),
            ],
        ),
        *(
            [
                Turn(
                    "user",
                    [
                        ToolResult(call_id=f"{n}", name=name, content=[Text(text=answers)])
                        for n, name in enumerate(names)
                    ],
                )
            ]
            if names
            else []
        ),
    ],
    st.lists(st.one_of(st.builds(Text, text=TEXTS), MEDIA), min_size=1, max_size=3),
    TEXTS, st.lists(NAMES, max_size=3), TEXTS, st.one_of(st.just(""), TEXTS),
)  # fmt: skip
CONVERSATIONS = st.builds(
    Conversation,
    system=st.lists(st.builds(Text, text=TEXTS), max_size=2),
    turns=ROUNDS,
    tools=st.lists(
        st.builds(Tool, name=NAMES, description=TEXTS, parameters=SCHEMAS), min_size=1, max_size=2
    ),
    tool_choice=st.one_of(
        st.none(),
        st.builds(ToolChoice, st.just("required"), st.lists(NAMES, max_size=2)),
        st.builds(ToolChoice, st.just("auto"), st.lists(NAMES, min_size=1, max_size=2)),
        st.just(ToolChoice("none")),
    ),
    output_format=st.one_of(
        st.none(), st.just(OutputFormat()), st.builds(OutputFormat, schema=SCHEMAS)
    ),
    reasoning=st.one_of(
        st.none(),
        st.builds(Reasoning, st.just(""), st.integers(-1, 9), st.sampled_from([None, True, False])),
    ),
    sampling=st.builds(
        Sampling, temperature=st.just(0.5), top_p=st.just(0.9), top_k=st.just(40),
        seed=st.just(3), frequency_penalty=st.just(0.1), presence_penalty=st.just(0.2),
    ),
    max_output_tokens=st.one_of(st.none(), st.integers(1, 9999)),
    stop=st.lists(TEXTS, max_size=2),
    service_tier=st.sampled_from(["", "flex", "priority", "standard"]),
)  # fmt: skip


def _without_ids(conversation: Conversation) -> Conversation:
    """Name calls by their number: Gemini has no ids, but has them in order."""
    number, by_id = 0, dict[str, str]()
    for turn in conversation.turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                by_id[part.id] = part.id = f"call {number}"
                number += 1
            elif isinstance(part, ToolResult):
                part.call_id = by_id.get(part.call_id, part.call_id)
    return conversation


@settings(max_examples=150)
@given(CONVERSATIONS)
def test_what_is_written_is_read_the_same(conversation: Conversation) -> None:
    body, losses = write(conversation)
    found, unread = read(body)
    assert (losses, unread) == ([], [])
    assert _without_ids(found) == _without_ids(conversation)


@settings(max_examples=60)
@given(CONVERSATIONS)
def test_googles_client_understands_what_is_written(conversation: Conversation) -> None:
    body, _ = write(conversation)
    for content in body["contents"]:
        types.Content.model_validate(content)
    for tool in body["tools"]:
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))


@pytest.mark.parametrize(
    ("body", "losses"),
    [
        (contents({"text": "x"}), []),
        ({**contents({"text": "x"}), "cachedContent": "cachedContents/1"}, ["cachedContent"]),
        ({**contents({"text": "x"}), "cached_content": "cachedContents/1"}, ["cachedContent"]),
        (
            {**contents({"text": "x"}), "safetySettings": [{"threshold": "BLOCK_LOW_AND_ABOVE"}]},
            ["safetySettings"],
        ),
        (
            {**contents({"text": "x"}), "safetySettings": [{"threshold": "BLOCK_NONE"}]},
            [],
        ),
        (
            {**contents({"text": "x"}), "tools": [{"googleSearch": {}}, {"code_execution": {}}]},
            ["tools.googleSearch", "tools.codeExecution"],
        ),
        (
            {**contents({"text": "x"}), "toolConfig": {"retrievalConfig": {"languageCode": "de"}}},
            ["toolConfig.retrievalConfig"],
        ),
        (
            {
                **contents({"text": "x"}),
                "generationConfig": {
                    "candidateCount": 2, "responseModalities": ["TEXT", "IMAGE"],
                    "responseLogprobs": True, "speechConfig": {"a": 1}, "imageConfig": {},
                    "responseMimeType": "text/x.enum",
                },
            },
            [
                "generationConfig.responseLogprobs", "generationConfig.speechConfig",
                "generationConfig.candidateCount", "generationConfig.responseModalities",
                "generationConfig.responseMimeType",
            ],
        ),
        (
            contents({"inlineData": {"mimeType": "video/mp4", "data": "AA"}}, {"text": "x"}),
            ["contents.parts.video"],
        ),
        (
            contents({"executableCode": {"code": "1"}}, {"codeExecutionResult": {}}, role="model"),
            ["contents.parts.executableCode", "contents.parts.codeExecutionResult"],
        ),
        ({**contents({"text": "x"}), "futureField": 1}, ["futureField"]),
    ],
)  # fmt: skip
def test_what_others_have_no_place_for_is_named(body: Any, losses: list[str]) -> None:
    assert read(body)[1] == losses


@pytest.mark.parametrize(
    ("change", "losses"),
    [
        ({"choices": 2}, ["n"]),
        ({"service_tier": "scale"}, ["service_tier"]),
        ({"tool_choice": ToolChoice(parallel=False), "tools": [Tool("f")]},
         ["parallel_tool_calls"]),
        ({"tool_choice": ToolChoice(parallel=True), "tools": [Tool("f")]}, []),
        ({"tool_choice": ToolChoice("required", ["f"], parallel=False),
          "tools": [Tool("f"), Tool("g")]}, []),
        ({"tool_choice": ToolChoice("required", parallel=False), "tools": [Tool("f"), Tool("g")]},
         ["parallel_tool_calls"]),
        ({"turns": [Turn("user", [Media(kind="document", file_id="file-1")])]},
         ["document by file id"]),
        ({"metadata": {"user_id": "u"}, "user": "u"}, []),
    ],
)  # fmt: skip
def test_what_gemini_has_no_place_for_is_named(change: Any, losses: list[str]) -> None:
    turns = [Turn("user", [Text(text="x")])]
    assert write(Conversation(**{"model": "m", "turns": turns, **change}))[1] == losses


def test_both_spellings_are_read() -> None:
    found, losses = read(
        {
            "system_instruction": {"parts": [{"text": "Be brief."}]},
            "contents": {"parts": [{"inline_data": {"mime_type": "image/png", "data": "A-_A"}}]},
            "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {}}]}],
            "tool_config": {
                "function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}
            },
            "generation_config": {
                "max_output_tokens": 5, "top_k": 3.0, "response_mime_type": "application/json",
                "thinking_config": {"thinking_level": "LOW", "include_thoughts": True},
            },
        }
    )  # fmt: skip
    assert losses == []
    assert found == Conversation(
        system=[Text(text="Be brief.")],
        turns=[Turn("user", [Media(kind="image", mime="image/png", data="A+/A")])],
        tools=[Tool("f", parameters={})],
        tool_choice=ToolChoice("required", ["f"]),
        output_format=OutputFormat(),
        reasoning=Reasoning("low", shows=True),
        sampling=Sampling(top_k=3),
        max_output_tokens=5,
    )


@pytest.mark.parametrize("body", [{}, {"contents": []}, {"contents": "x"}, {"contents": [3]}])
def test_request_without_contents_is_refused(body: Any) -> None:
    with pytest.raises(BadBodyError, match="contents"):
        read(body)


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking"),
    [
        ("gemini-2.5-flash", Reasoning("low"), {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", Reasoning("none"), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Reasoning("high", shows=True),
         {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-3-pro", Reasoning("xhigh"), {"thinkingLevel": "high"}),
        ("gemini-3-flash", Reasoning("none"), {"thinkingLevel": "minimal"}),
        ("gemini-3-flash", Reasoning("low", 2000), {"thinkingBudget": 2000}),
        ("gemini-3-flash", Reasoning(shows=False), {"includeThoughts": False}),
        ("x", Reasoning(), None),
    ],
)  # fmt: skip
def test_effort_is_a_level_or_a_budget(model: str, reasoning: Reasoning, thinking: Any) -> None:
    turns = [Turn("user", [Text(text="x")])]
    body, _ = write(Conversation(model=model, turns=turns, reasoning=reasoning))
    assert body.get("generationConfig", {}).get("thinkingConfig") == thinking


def test_neighbours_of_one_side_become_one_content_and_nothing_empty_is_written() -> None:
    turns = [
        Turn("user", [Text(text="a")]), Turn("user", [Text(text="b"), Text(text="")]),
        Turn("assistant", [Text(text="")]), Turn("assistant", [Refusal(text="no")]),
    ]  # fmt: skip
    assert write(Conversation(turns=turns))[0]["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "no"}]},
    ]


def test_mere_system_prompt_is_said_by_the_user() -> None:
    body, _ = write(Conversation(system=[Text(text="Say hi.")]))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}


@pytest.mark.parametrize(
    ("stream", "path", "query"),
    [
        (True, "v1beta/models/a/b:streamGenerateContent", "alt=sse"),
        (False, "v1beta/models/a/b:generateContent", ""),
    ],
)
def test_address_names_model_and_form(stream: bool, path: str, query: str) -> None:
    target = GEMINI.target(Conversation(model="a/b", stream=stream))
    assert (target.path, target.query) == (path, query)
