"""What providers that speak OpenAI's dialects tell of a request's use, each in its own way."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.openai_chat import usage_tap
from apikeyrouter.dialects.openai_responses import events
from apikeyrouter.dialects.openai_usage import ToldUsage, counts_in
from apikeyrouter.domain.models.token_usage import TokenUsage, Usage

pytestmark = pytest.mark.unit

#: Provider -> its usage, what stands beside it, and what that means.
CHATS: dict[str, tuple[dict[str, Any], dict[str, Any], Usage]] = {
    "plain": (
        {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}, {}, Usage(20, 8),
    ),
    "openai": (
        {
            "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
            "prompt_tokens_details": {
                "cached_tokens": 1920, "cache_write_tokens": 64, "audio_tokens": 5,
            },
            "completion_tokens_details": {
                "reasoning_tokens": 256, "audio_tokens": 7, "accepted_prediction_tokens": 0,
            },
        },
        {"service_tier": "flex"},
        Usage(2006, 300, 1920, 64, 0, 256, 5, 7, "flex"),
    ),
    "openai, no tier": (
        {"prompt_tokens": 1, "completion_tokens": 2}, {"service_tier": None}, Usage(1, 2),
    ),
    "deepseek": (
        {
            "prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35,
            "prompt_cache_hit_tokens": 24, "prompt_cache_miss_tokens": 6,
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
        {}, Usage(30, 5, 24, reasoning_tokens=3),
    ),
    "deepseek, parts alone": (
        {"prompt_cache_hit_tokens": 24, "prompt_cache_miss_tokens": 6, "completion_tokens": 5},
        {}, Usage(30, 5, 24),
    ),
    "together": (
        {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42, "cached_tokens": 32},
        {}, Usage(40, 2, 32),
    ),
    "xai, reasoning beside the output": (
        {
            "prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
            "num_sources_used": 0, "cost_in_usd_ticks": 37_756_000,
        },
        {}, Usage(32, 103, reasoning_tokens=94, cost_usd=0.0037756),
    ),
    "gemini, reasoning in the total alone": (
        {"prompt_tokens": 20, "completion_tokens": 424, "total_tokens": 1016},
        {}, Usage(20, 996, reasoning_tokens=572),
    ),
    "a total of something else": (
        {
            "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 90,
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        {}, Usage(20, 10, reasoning_tokens=4),
    ),
    "openrouter": (
        {
            "prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "cost": 0.00014,
            "is_byok": False, "cost_details": {"upstream_inference_cost": None},
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        {}, Usage(10, 4, cost_usd=0.00014),
    ),
    "openrouter, free": (
        {"prompt_tokens": 10, "completion_tokens": 4, "cost": 0}, {}, Usage(10, 4, cost_usd=0.0),
    ),
    "perplexity": (
        {
            "prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16, "reasoning_tokens": 2,
            "cost": {"input_tokens_cost": 0.0, "request_cost": 0.005, "total_cost": 0.0052},
        },
        {}, Usage(7, 9, reasoning_tokens=2, cost_usd=0.0052),
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, {}, Usage(8, 0)),
    "transcription in tokens": (
        {
            "type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
        },
        {}, Usage(14, 45, audio_input_tokens=14),
    ),
    "transcription in seconds": (
        {"type": "duration", "seconds": 12}, {}, Usage(0, 0, audio_seconds=12.0),
    ),
    "odd parts": (
        {
            "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": "7", "cost": "free",
            "prompt_tokens_details": {"cached_tokens": None, "cache_write_tokens": {}},
            "completion_tokens_details": {"reasoning_tokens": -1, "audio_tokens": 10**20},
        },
        {"service_tier": 3}, Usage(3, 4),
    ),
}  # fmt: skip
RESPONSES: dict[str, tuple[dict[str, Any], dict[str, Any], Usage]] = {
    "openai": (
        {
            "input_tokens": 75, "output_tokens": 900, "total_tokens": 975,
            "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8},
            "output_tokens_details": {"reasoning_tokens": 832},
        },
        {"service_tier": "priority"},
        Usage(75, 900, 64, 8, 0, 832, tier="priority"),
    ),
    "realtime": (
        {
            "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
            "input_token_details": {"cached_tokens": 64, "audio_tokens": 80},
            "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
        },
        {}, Usage(100, 50, 64, audio_input_tokens=80, audio_output_tokens=40),
    ),
    "perplexity": (
        {"input_tokens": 5, "output_tokens": 6, "cost": {"currency": "USD", "total_cost": 0.01}},
        {}, Usage(5, 6, cost_usd=0.01),
    ),
    "xai": (
        {"input_tokens": 5, "output_tokens": 6, "cost_in_usd_ticks": 10**10},
        {}, Usage(5, 6, cost_usd=1.0),
    ),
}  # fmt: skip


def _is_same(wanted: Usage, found: Usage | None) -> bool:
    if found is None or not math.isclose(wanted.cost_usd or 0.0, found.cost_usd or 0.0):
        return False
    return wanted == msgspec.structs.replace(found, cost_usd=wanted.cost_usd)


@pytest.mark.parametrize(("usage", "beside", "wanted"), CHATS.values(), ids=CHATS)
def test_chat_tells_its_usage_whole_and_streamed(
    usage: dict[str, Any], beside: dict[str, Any], wanted: Usage
) -> None:
    whole = msgspec.json.encode({"choices": [], "usage": usage, **beside})
    assert _is_same(wanted, usage_tap.read_usage(whole))
    tap = usage_tap.StreamTap()
    tap.feed(b"data: " + whole + b"\n\n")
    tap.finish()
    assert _is_same(wanted, tap.usage)


@pytest.mark.parametrize(("usage", "beside", "wanted"), RESPONSES.values(), ids=RESPONSES)
def test_response_tells_its_usage_whole_and_streamed(
    usage: dict[str, Any], beside: dict[str, Any], wanted: Usage
) -> None:
    response = {"object": "response", "error": None, "usage": usage, **beside}
    assert _is_same(wanted, events.read_body(msgspec.json.encode(response))[0])
    last = msgspec.json.encode({"type": "response.completed", "response": response})
    tap = events.ResponsesTap()
    tap.feed(b"event: response.completed\ndata: " + last + b"\n\n")
    tap.finish()
    assert _is_same(wanted, tap.usage)


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [(usage, wanted) for usage, _, wanted in (*CHATS.values(), *RESPONSES.values())],
)
def test_translated_answer_carries_the_same_counts(usage: dict[str, Any], wanted: Usage) -> None:
    counts = counts_in(usage)
    assert counts is not None
    assert msgspec.structs.astuple(counts) == msgspec.structs.astuple(wanted)[:8]


@pytest.mark.parametrize(
    "usage", [{}, {"type": "duration"}, {"seconds": 3}, {"cost": 1.0}, {"total_tokens": 9}]
)
def test_usage_without_counts_is_none(usage: dict[str, Any]) -> None:
    body = msgspec.json.encode({"choices": [], "usage": usage})
    assert usage_tap.read_usage(body) is None


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
NAMES = st.sampled_from(ToldUsage.__struct_fields__)
PARTS = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens"]),
    ODD,
)


@settings(max_examples=200)
@given(st.dictionaries(NAMES, ODD | PARTS), ODD)
def test_whatever_stands_in_a_usage_is_counted_sensibly_or_not_at_all(
    usage: dict[str, Any], tier: Any
) -> None:
    body = msgspec.json.encode({"choices": [], "usage": usage, "service_tier": tier})
    counts_in(usage)
    for found in (usage_tap.read_usage(body), events.read_body(body)[0]):
        if found is not None:
            told = found.told()
            assert isinstance(told, TokenUsage)
            assert told.reasoning_tokens == found.reasoning_tokens >= 0
