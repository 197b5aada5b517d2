"""Whole responses, read and written."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from apikeyrouter.dialects import openai_usage
from apikeyrouter.dialects.conversation import Counts, Finish, Reply, ToolCall
from apikeyrouter.dialects.json_values import count_in, object_in, text_in
from apikeyrouter.dialects.openai_responses.items import item_id_of, output_item, read_output

#: Why a response is incomplete.
_INCOMPLETE = {
    Finish.LENGTH: "max_output_tokens",
    Finish.CONTEXT_LENGTH: "max_output_tokens",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
}


def read_reply(body: dict[str, Any]) -> Reply:
    """Read a whole answer."""
    parts = read_output(body.get("output"))
    return Reply(
        id=text_in(body.get("id")),
        model=text_in(body.get("model")),
        parts=parts,
        finish=finish_of(body, has_calls=any(isinstance(part, ToolCall) for part in parts)),
        counts=counts_in(body),
        tier=text_in(body.get("service_tier")),
        created=count_in(body.get("created_at")),
    )


def write_reply(reply: Reply) -> bytes:
    """Write a whole answer."""
    response_id = id_of(reply.id)
    output = [
        output_item(part, item_id_of(part, response_id, index))
        for index, part in enumerate(reply.parts)
    ]
    envelope = envelope_of(response_id, reply.model, reply.created)
    return msgspec.json.encode(
        ended(envelope, output, reply.finish or Finish.STOP, reply.counts, reply.tier)
    )


def id_of(given: str) -> str:
    """Return a response's name, made of the one that the provider has *given*."""
    return given if given.startswith("resp_") else f"resp_{given or 'translated'}"


def envelope_of(response_id: str, model: str, created: int) -> dict[str, Any]:
    """Return a response that has begun; it is stored nowhere."""
    return {
        "id": response_id, "object": "response", "created_at": created or int(time.time()),
        "status": "in_progress", "background": False, "error": None, "incomplete_details": None,
        "instructions": None, "max_output_tokens": None, "model": model, "output": [],
        "parallel_tool_calls": True, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "store": False, "temperature": None,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
        "truncation": "disabled", "usage": None, "user": None, "metadata": {},
    }  # fmt: skip


def ended(
    envelope: dict[str, Any],
    output: Sequence[dict[str, Any]],
    finish: Finish,
    counts: Counts | None,
    tier: str,
) -> dict[str, Any]:
    """Return the response as it is in the end."""
    reason = _INCOMPLETE.get(finish)
    ending: dict[str, Any] = {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": usage_of(counts) if counts is not None else None,
    }
    return {**envelope, **ending, "service_tier": tier} if tier else {**envelope, **ending}


def finish_of(body: dict[str, Any], *, has_calls: bool) -> Finish | None:
    """Return why a response ended; `None` if it has not."""
    status = body.get("status")
    if status == "incomplete":
        reason = object_in(body.get("incomplete_details")).get("reason")
        return Finish.CONTENT_FILTER if reason == "content_filter" else Finish.LENGTH
    if status in ("in_progress", "queued"):
        return None
    return Finish.TOOL_CALLS if has_calls else Finish.STOP


def counts_in(body: dict[str, Any]) -> Counts | None:
    """Return the tokens that a response tells; `None` if it tells none."""
    return openai_usage.counts_in(object_in(body.get("usage")))


def usage_of(counts: Counts) -> dict[str, Any]:
    """Return the usage of a response."""
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {
            "cached_tokens": counts.cached, "cache_write_tokens": counts.cache_written,
        },
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.input + counts.output,
    }  # fmt: skip
