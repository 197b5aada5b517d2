"""Whole chat answers, read and written."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from apikeyrouter.dialects import openai_usage
from apikeyrouter.dialects.conversation import AnyPart, Counts, Finish, Refusal, Reply, Text
from apikeyrouter.dialects.json_values import count_in, object_in, objects_in, text_in
from apikeyrouter.dialects.openai_chat.reading import read_calls, read_thoughts
from apikeyrouter.dialects.openai_chat.writing import assistant_message

FINISHES: Mapping[str, Finish] = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}
_NAMES: Mapping[Finish, str] = {
    Finish.LENGTH: "length",
    Finish.CONTEXT_LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
}


def read_reply(body: dict[str, Any]) -> Reply:
    """Read a whole answer: its first choice."""
    choice = next(iter(objects_in(body.get("choices"))), {})
    message = object_in(choice.get("message"))
    parts: list[AnyPart] = list(read_thoughts(message))
    if text := _text_of(message.get("content")) or text_in(choice.get("text")):
        parts.append(Text(text=text))
    if refusal := text_in(message.get("refusal")):
        parts.append(Refusal(text=refusal))
    parts += read_calls(message, 1)
    return Reply(
        id=text_in(body.get("id")),
        model=text_in(body.get("model")),
        parts=parts,
        finish=finish_of(choice),
        counts=counts_in(body),
        tier=text_in(body.get("service_tier")),
        created=count_in(body.get("created")),
    )


def write_reply(reply: Reply) -> bytes:
    """Write a whole answer."""
    finish = reply.finish or Finish.STOP
    choice = {
        "index": 0,
        "message": {"refusal": None, **assistant_message(reply.parts, thoughts=True)},
        "logprobs": None,
        "finish_reason": name_of(finish),
    }
    body: dict[str, Any] = {
        "id": reply.id or "chatcmpl-translated",
        "object": "chat.completion",
        "created": reply.created or int(time.time()),
        "model": reply.model,
        "choices": [choice],
    }
    if reply.counts is not None:
        body["usage"] = usage_of(reply.counts)
    if reply.tier:
        body["service_tier"] = reply.tier
    return msgspec.json.encode(body)


def finish_of(choice: dict[str, Any]) -> Finish | None:
    """Return why a choice ended; `None` if it has not."""
    reason = text_in(choice.get("finish_reason"))
    return FINISHES.get(reason, Finish.STOP) if reason else None


def name_of(finish: Finish) -> str:
    """Return the finish reason of a chat."""
    return _NAMES.get(finish, "stop")


def counts_in(body: dict[str, Any]) -> Counts | None:
    """Return the tokens that a body or a chunk tells; `None` if it tells none."""
    return openai_usage.counts_in(object_in(body.get("usage")))


def usage_of(counts: Counts) -> dict[str, Any]:
    """Return the usage of a chat."""
    given = {"cached_tokens": counts.cached, "audio_tokens": counts.audio_input}
    if counts.cache_written:
        given["cache_write_tokens"] = counts.cache_written
    made = {"reasoning_tokens": counts.reasoning, "audio_tokens": counts.audio_output}
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": given,
        "completion_tokens_details": made,
    }


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    return "".join(text_in(part.get("text")) for part in objects_in(content))
