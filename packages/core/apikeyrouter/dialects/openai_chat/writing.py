"""The neutral form as a chat request."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Conversation,
    Losses,
    Media,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apikeyrouter.dialects.data_urls import data_url

#: Models that know no `max_tokens`.
_REASONS = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9]|gpt-\d\d)")
_LONGEST_USER = 64
_TIERS = {"standard": "default", "standard_only": "default"}
_KNOWN_TIERS = frozenset({"auto", "default", "flex", "priority", "scale", "fast"})
#: Up to so many thinking tokens are an effort of this name.
_EFFORTS = ((0, "none"), (1024, "minimal"), (4096, "low"), (16384, "medium"))
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/x-wav": "wav"}


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """Write a request; what a chat cannot carry goes to *losses*."""
    body: dict[str, Any] = {
        "model": conversation.model,
        "messages": _messages_of(conversation, losses),
    }
    if conversation.stream:
        body["stream"] = True
        if conversation.asks_usage:
            body["stream_options"] = {"include_usage": True}
    if conversation.max_output_tokens is not None:
        is_new = _REASONS.match(conversation.model)
        body["max_completion_tokens" if is_new else "max_tokens"] = conversation.max_output_tokens
    body |= _sampling_of(conversation, losses)
    body |= _tools_of(conversation)
    body |= _wishes_of(conversation, losses)
    return msgspec.json.encode(body)


def _sampling_of(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    sampling = conversation.sampling
    if sampling.top_k is not None:
        losses.lack("top_k")
    found = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "stop": conversation.stop or None,
        "n": conversation.choices if conversation.choices > 1 else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _tools_of(conversation: Conversation) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if conversation.tools:
        body["tools"] = [_tool_of(tool) for tool in conversation.tools]
    choice = conversation.tool_choice
    if choice is None or not conversation.tools:
        return body
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel
    if choice.mode != "auto" or choice.names:
        body["tool_choice"] = _choice_of(choice)
    return body


def _tool_of(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choice_of(choice: ToolChoice) -> object:
    tools = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if choice.mode == "none" or not tools:
        return choice.mode
    if choice.mode == "required" and len(tools) == 1:
        return tools[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}


def _wishes_of(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if conversation.output_format is not None:
        body["response_format"] = _format_of(conversation.output_format)
    if conversation.reasoning is not None and (effort := effort_of(conversation.reasoning)):
        body["reasoning_effort"] = effort
    if conversation.user:
        body["user"] = conversation.user_within(_LONGEST_USER)
    if conversation.metadata:
        body["metadata"] = conversation.metadata
    tier = _TIERS.get(conversation.service_tier, conversation.service_tier)
    if tier in _KNOWN_TIERS:
        body["service_tier"] = tier
    elif tier:
        losses.lack("service_tier")
    return body


def _format_of(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def effort_of(reasoning: Reasoning) -> str:
    """Return the effort that is asked for, by name or by its tokens; empty if it is not said."""
    if reasoning.effort:
        return reasoning.effort
    budget = reasoning.budget_tokens
    if budget is None or budget < 0:
        return ""
    return next((effort for most, effort in _EFFORTS if budget <= most), "high")


def _messages_of(conversation: Conversation, losses: Losses) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if conversation.system:
        messages.append({"role": "system", "content": _content_of(conversation.system, losses)})
    for turn in conversation.turns:
        if turn.role == "assistant":
            messages.append(_assistant_of(turn))
        elif turn.role == "system":
            messages.append({"role": "system", "content": _content_of(turn.parts, losses)})
        else:
            messages += _user_of(turn, losses)
    return messages


def _user_of(turn: Turn, losses: Losses) -> list[dict[str, Any]]:
    """Write a turn: what tools answered first; media in it follow as the user's."""
    messages: list[dict[str, Any]] = []
    rest: list[AnyPart] = []
    for part in turn.parts:
        if not isinstance(part, ToolResult):
            rest.append(part)
            continue
        texts = [inner.text for inner in part.content if isinstance(inner, Text)]
        rest += [inner for inner in part.content if isinstance(inner, Media)]
        messages.append({"role": "tool", "tool_call_id": part.call_id, "content": "\n".join(texts)})
    if rest:
        message = {"role": "user", "content": _content_of(rest, losses)}
        messages.append({**message, "name": turn.name} if turn.name else message)
    return messages


def _assistant_of(turn: Turn) -> dict[str, Any]:
    return assistant_message(turn.parts, thoughts=False)


def assistant_message(parts: Sequence[AnyPart], *, thoughts: bool) -> dict[str, Any]:
    """Return an assistant's message.

    Args:
        thoughts: Tell the reasoning too, in the fields that gateways have for it.
    """
    texts = [part.text for part in parts if isinstance(part, Text)]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if refusals := [part.text for part in parts if isinstance(part, Refusal)]:
        message["refusal"] = "".join(refusals)
    calls = [call_of(part) for part in parts if isinstance(part, ToolCall)]
    if calls:
        message["tool_calls"] = calls
    thinking = [part for part in parts if isinstance(part, Thinking)]
    if thoughts and thinking:
        if text := "".join(part.text for part in thinking):
            message["reasoning_content"] = text
        message["reasoning_details"] = [
            thought_of(part, index) for index, part in enumerate(thinking)
        ]
    return message


def call_of(call: ToolCall) -> dict[str, Any]:
    """Return a tool call of a message."""
    function = {"name": call.name, "arguments": call.arguments}
    found: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
    if call.signature:
        found["extra_content"] = {"google": {"thought_signature": call.signature}}
    return found


def thought_of(thought: Thinking, index: int) -> dict[str, Any]:
    """Return an entry of `reasoning_details`: whoever sends it back keeps the signature."""
    kind = "reasoning.encrypted" if thought.encrypted else "reasoning.text"
    found = {
        "type": kind, "text": thought.text, "signature": thought.signature,
        "data": thought.encrypted, "id": thought.id, "format": thought.origin,
    }  # fmt: skip
    return {**{name: value for name, value in found.items() if value}, "index": index}


def _content_of(parts: Sequence[AnyPart], losses: Losses) -> object:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    content = []
    for part in parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Media):
            content += _media_of(part, losses)
    return content


def _media_of(media: Media, losses: Losses) -> list[dict[str, Any]]:
    if media.kind == "audio" and media.data:
        name = _AUDIO_FORMATS.get(media.mime) or media.mime.rpartition("/")[2] or "wav"
        return [{"type": "input_audio", "input_audio": {"data": media.data, "format": name}}]
    inline = data_url(media.mime, media.data) if media.data else ""
    if media.kind == "image" and (inline or media.url):
        image = {"url": inline or media.url}
        if media.detail:
            image["detail"] = media.detail
        return [{"type": "image_url", "image_url": image}]
    if media.kind == "document" and media.data:
        name = media.name or "document"
        return [{"type": "file", "file": {"filename": name, "file_data": inline}}]
    losses.lack(f"{media.kind} by {'file id' if media.file_id else 'address'}")
    return []
