"""Whole messages, read and written."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apikeyrouter.dialects.anthropic.rendering.blocks import read_part, write_blocks
from apikeyrouter.dialects.anthropic.usage import Figures
from apikeyrouter.dialects.conversation import (
    AnyPart,
    Counts,
    Finish,
    Losses,
    Refusal,
    Reply,
    ToolCall,
)
from apikeyrouter.dialects.json_values import object_in, objects_in, text_in

FINISHES: Mapping[str, Finish] = {
    "end_turn": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "stop_sequence": Finish.STOP_SEQUENCE,
    "tool_use": Finish.TOOL_CALLS,
    "pause_turn": Finish.PAUSE,
    "refusal": Finish.REFUSAL,
    "model_context_window_exceeded": Finish.CONTEXT_LENGTH,
}
_REASONS: Mapping[Finish, str] = {
    **{finish: reason for reason, finish in FINISHES.items()},
    Finish.CONTENT_FILTER: "refusal",
}
_TIERS = {"priority": "priority", "batch": "batch"}


def read_reply(body: dict[str, Any]) -> Reply:
    """Read a whole answer; blocks of tools that the provider runs itself are left out."""
    parts = _read_content(objects_in(body.get("content")))
    if explanation := explanation_in(body):
        parts.append(Refusal(text=explanation))
    usage = object_in(body.get("usage"))
    return Reply(
        id=text_in(body.get("id")),
        model=text_in(body.get("model")),
        parts=parts,
        finish=finish_of(body),
        stop_sequence=text_in(body.get("stop_sequence")) or None,
        counts=counts_of(figures_in(usage)),
        tier=text_in(usage.get("service_tier")),
    )


def write_reply(reply: Reply) -> bytes:
    """Write a whole answer."""
    body: dict[str, Any] = {
        **head_of(reply.id, reply.model),
        "content": write_blocks(reply.parts, Losses(), replies=True),
        "stop_reason": reason_of(
            reply.finish, calls=any(isinstance(part, ToolCall) for part in reply.parts)
        ),
        "stop_sequence": reply.stop_sequence,
        "usage": usage_of(reply.counts or Counts(), reply.tier),
    }
    return msgspec.json.encode(body)


def _read_content(blocks: list[dict[str, Any]]) -> list[AnyPart]:
    parts: list[AnyPart] = []
    signatures: dict[str, str] = {}
    for block in blocks:
        part = read_part(block)
        if isinstance(part, ToolCall):
            if not part.name and part.signature:
                signatures[part.id] = part.signature
                continue
            part.signature = signatures.get(part.id, "")
        if part is not None:
            parts.append(part)
    return parts


def head_of(name: str, model: str) -> dict[str, Any]:
    """Return what every message begins with."""
    return {
        "id": name or "msg_translated", "type": "message", "role": "assistant", "model": model,
    }  # fmt: skip


def finish_of(body: dict[str, Any]) -> Finish | None:
    """Return why a message ended; `None` if it has not."""
    reason = text_in(body.get("stop_reason"))
    return FINISHES.get(reason, Finish.STOP) if reason else None


def reason_of(finish: Finish | None, *, calls: bool) -> str:
    """Return the stop reason of a message.

    Args:
        calls: Tools are called: some providers tell only that they have stopped.
    """
    finish = finish or Finish.STOP
    return _REASONS[Finish.TOOL_CALLS if calls and finish is Finish.STOP else finish]


def explanation_in(body: dict[str, Any]) -> str:
    """Return why the model refused, if a message or the end of one says so."""
    return text_in(object_in(body.get("stop_details")).get("explanation"))


def figures_in(usage: dict[str, Any]) -> Figures | None:
    """Return the figures of a usage; `None` if there are none or they make no sense."""
    try:
        return msgspec.convert(usage, Figures) if usage else None
    except msgspec.ValidationError:
        return None


def counts_of(figures: Figures | None) -> Counts | None:
    """Return what is counted; `None` if nothing is."""
    usage = figures.usage() if figures is not None else None
    if usage is None:
        return None
    return Counts(
        input=usage.input_tokens, output=usage.output_tokens, cached=usage.cached_tokens,
        cache_written=usage.cache_written_tokens, cache_written_1h=usage.cache_written_1h_tokens,
        reasoning=usage.reasoning_tokens,
    )  # fmt: skip


def usage_of(counts: Counts, tier: str = "") -> dict[str, Any]:
    """Return the usage of a message: agents rely on every figure being there."""
    written, written_1h = counts.cache_written, counts.cache_written_1h
    usage: dict[str, Any] = {
        "input_tokens": max(0, counts.input - counts.cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": counts.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": max(0, written - written_1h),
            "ephemeral_1h_input_tokens": written_1h,
        },
        "output_tokens": counts.output,
    }
    if counts.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    if tier:
        usage["service_tier"] = _TIERS.get(tier, "standard")
    return usage
