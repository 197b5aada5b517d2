"""Google's own client takes the simulator for Gemini."""

import json
from collections.abc import Iterator

import pytest
from google import genai
from google.genai import errors, types

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

WEATHER, TIME = (
    types.FunctionDeclaration(
        name=name, parameters=types.Schema(type="OBJECT", properties={"place": {"type": "STRING"}})
    )
    for name in ("weather", "time")
)
TOOLS = [types.Tool(function_declarations=[WEATHER, TIME])]


def client_for(
    simulator: RunningSimulator, key: str = "AQ.wide", *, version: str = "v1beta"
) -> genai.Client:
    options = types.HttpOptions(base_url=f"{simulator.url}/google", api_version=version)
    return genai.Client(api_key=key, vertexai=False, http_options=options)


@pytest.fixture
def gemini(simulator: RunningSimulator) -> Iterator[genai.Client]:
    with client_for(simulator) as client:
        yield client


def ask(client: genai.Client, contents="Hello!", model: str = "flash", **config):
    return client.models.generate_content(
        model=model, contents=contents, config=types.GenerateContentConfig(**config)
    )


def stream(client: genai.Client, contents="Hello!", **config):
    return list(
        client.models.generate_content_stream(
            model="flash", contents=contents, config=types.GenerateContentConfig(**config)
        )
    )


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_content_is_generated_with_usage(simulator: RunningSimulator, version) -> None:
    with client_for(simulator, version=version) as client:
        answer = ask(client)
    assert answer.text == "the router finds a key with room and says"
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage.candidates_token_count == 9
    assert usage.total_token_count == usage.prompt_token_count + 9


def test_cap_shortens_the_answer(gemini: genai.Client) -> None:
    answer = ask(gemini, max_output_tokens=3)
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert answer.usage_metadata.candidates_token_count == 3


def test_stream_says_what_the_plain_answer_says_and_counts_up(gemini: genai.Client) -> None:
    chunks = stream(gemini)
    assert "".join(chunk.text or "" for chunk in chunks) == ask(gemini).text
    assert [c.usage_metadata.candidates_token_count for c in chunks] == list(range(1, 10))
    finishes = [chunk.candidates[0].finish_reason for chunk in chunks]
    assert [f for f in finishes if f] == [types.FinishReason.STOP]


@pytest.mark.parametrize("streams", [True, False])
def test_marked_text_calls_all_functions_and_their_answers_are_taken(gemini, streams) -> None:
    asked = types.Content(role="user", parts=[types.Part(text="all [[parallel]] [[think]]")])
    if streams:
        content = stream(gemini, [asked], tools=TOOLS)[-1].candidates[0].content
    else:
        content = ask(gemini, [asked], tools=TOOLS).candidates[0].content
    calls = [part.function_call for part in content.parts]
    assert [(call.name, call.args) for call in calls] == [
        ("weather", {"place": "here"}), ("time", {"place": "here"}),
    ]  # fmt: skip
    assert content.parts[0].thought_signature
    replies = types.Content(
        role="user",
        parts=[types.Part.from_function_response(name=c.name, response={}) for c in calls],
    )
    assert ask(gemini, [asked, content, replies], tools=TOOLS).text
    replies.parts.pop()
    with pytest.raises(errors.ClientError, match="number of function response"):
        ask(gemini, [asked, content, replies], tools=TOOLS)


@pytest.mark.parametrize(
    ("config", "called"),
    [({"mode": "NONE"}, []), ({"mode": "ANY", "allowed_function_names": ["time"]}, ["time"])],
    ids=["none", "one"],
)
def test_choice_of_function_is_obeyed(gemini: genai.Client, config, called) -> None:
    tool_config = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(**config))
    answer = ask(gemini, tools=TOOLS, tool_config=tool_config)
    assert called == [call.name for call in answer.function_calls or []]


def test_thoughts_are_counted_apart_and_shown_if_wanted(gemini: genai.Client) -> None:
    for shown in (True, False):
        thinking = types.ThinkingConfig(include_thoughts=shown)
        answer = ask(gemini, thinking_config=thinking)
        parts = answer.candidates[0].content.parts
        assert [bool(part.thought) for part in parts] == [True] * shown + [False]
        usage = answer.usage_metadata
        assert (usage.thoughts_token_count, usage.candidates_token_count) == (3, 6)
        assert usage.total_token_count == usage.prompt_token_count + 9


@pytest.mark.parametrize("streams", [True, False])
def test_blocked_prompt_has_no_candidate(gemini: genai.Client, streams) -> None:
    answer = stream(gemini, "[[block]]")[0] if streams else ask(gemini, "[[block]]")
    assert not answer.candidates
    assert answer.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


def test_answer_stops_for_safety(gemini: genai.Client) -> None:
    assert ask(gemini, "[[safety]]").candidates[0].finish_reason == types.FinishReason.SAFETY


def test_images_and_files_are_taken(gemini: genai.Client) -> None:
    parts = [
        types.Part.from_bytes(data=b"png", mime_type="image/png"),
        types.Part.from_uri(file_uri="files/x", mime_type="application/pdf"),
        "what is it?",
    ]
    assert ask(gemini, parts).text


def test_tokens_are_counted_for_nothing(simulator, gemini: genai.Client) -> None:
    assert gemini.models.count_tokens(model="flash", contents="Hello!").total_tokens == 2
    counts = simulator.stats()["keys"]["google/g-wide"]
    assert (counts["accepted"], counts["free"]) == (0, 1)


def test_vectors_are_made_for_every_input(gemini: genai.Client) -> None:
    answer = gemini.models.embed_content(model="flash", contents=["a", "b"])
    assert len(answer.embeddings) == 2


def test_models_are_listed_by_page(gemini: genai.Client) -> None:
    names = [m.name for m in gemini.models.list(config={"page_size": 2, "query_base": True})]
    assert names == ["models/flash", "models/pro", "models/lite"]
    assert gemini.models.get(model="lite").name == "models/lite"


def details_of(error: errors.APIError, kind: str) -> dict:
    details = error.details["error"].get("details", [])
    return next((d for d in details if d["@type"].endswith(kind)), {})


@pytest.mark.parametrize(
    ("key", "quota", "waits"),
    [
        ("AQ.tight", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", (59, 60)),
        ("AQ.daily", "GenerateRequestsPerDayPerProjectPerModel-FreeTier", (86398, 86400)),
        ("AQ.small", "GenerateContentInputTokensPerModelPerMinute-FreeTier", None),
        ("AQ.none", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", None),
    ],
)
def test_refusal_names_the_quota_and_the_wait(simulator, key, quota, waits) -> None:
    with client_for(simulator, key) as client:
        if waits is not None:
            ask(client)
        with pytest.raises(errors.ClientError) as caught:
            ask(client)
    error = caught.value
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED")
    (violation,) = details_of(error, "QuotaFailure")["violations"]
    assert violation["quotaId"] == quota
    assert violation["quotaDimensions"]["model"] == "flash"
    delay = details_of(error, "RetryInfo").get("retryDelay")
    assert delay is None if waits is None else waits[0] <= float(delay[:-1]) <= waits[1]


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"kind": "invalid_key"}, 400, "INVALID_ARGUMENT"),
        ({"kind": "revoked_key"}, 403, "PERMISSION_DENIED"),
        ({"kind": "insufficient_quota"}, 429, "RESOURCE_EXHAUSTED"),
        ({"kind": "status", "status": 429}, 429, "RESOURCE_EXHAUSTED"),
        ({"kind": "status", "status": 500}, 500, "INTERNAL"),
        ({"kind": "status", "status": 503}, 503, "UNAVAILABLE"),
    ],
    ids=lambda value: str(value),
)
def test_condition_answers_in_its_manner(simulator, gemini, fields, code, status) -> None:
    simulator.condition(times=1, **fields)
    with pytest.raises(errors.APIError) as caught:
        ask(gemini)
    assert (code, status) == (caught.value.code, caught.value.status)
    assert ask(gemini).text


def test_stream_fails_after_it_began(simulator: RunningSimulator, gemini: genai.Client) -> None:
    simulator.condition(kind="stream_error", status=503, chunks=2, times=1)
    with pytest.raises(errors.ServerError, match="overloaded"):
        stream(gemini)


def test_stream_ends_without_a_finish(simulator: RunningSimulator, gemini: genai.Client) -> None:
    simulator.condition(kind="no_finish", times=1)
    assert {chunk.candidates[0].finish_reason for chunk in stream(gemini)} == {None}


def test_invalid_key_is_400_with_its_reason(simulator: RunningSimulator) -> None:
    with client_for(simulator, "nobody") as client, pytest.raises(errors.ClientError) as caught:
        ask(client)
    assert caught.value.code == 400
    assert details_of(caught.value, "ErrorInfo")["reason"] == "API_KEY_INVALID"


def test_unknown_model_is_404(gemini: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini, model="ultra")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_forged_signature_is_400(gemini: genai.Client) -> None:
    call = types.FunctionCall(name="weather", args={})
    parts = [types.Part(function_call=call, thought_signature=b"forged")]
    reply = types.Part.from_function_response(name="weather", response={})
    turns = [
        types.Content(role="user", parts=[types.Part(text="x")]),
        types.Content(role="model", parts=parts),
        types.Content(role="user", parts=[reply]),
    ]
    with pytest.raises(errors.ClientError, match="signature"):
        ask(gemini, turns, tools=TOOLS)


def test_error_is_json_of_its_shape(gemini: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini, [types.Content(role="user", parts=[])])
    assert set(json.loads(json.dumps(caught.value.details))["error"]) == {
        "code", "message", "status",
    }  # fmt: skip
