"""The neutral form as a request for a response."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Conversation,
    Losses,
    Media,
    OutputFormat,
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
from apikeyrouter.dialects.openai_chat.writing import effort_of
from apikeyrouter.dialects.openai_responses.items import NAME, output_item

#: Models that reason, and may be asked for their reasoning in encrypted form.
_REASONS = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9]|gpt-\d\d|codex)")
#: OpenAI refuses smaller caps.
_LEAST_CAP = 16
_LONGEST_USER = 64
_TIERS = {"standard": "default", "standard_only": "default"}
_KNOWN_TIERS = frozenset({"auto", "default", "flex", "priority", "scale", "fast", "ultrafast"})
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/x-wav": "wav"}


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """Write a request; what a response cannot carry goes to *losses*.

    Nothing is stored: whoever asks in another dialect could not find it again.
    """
    body: dict[str, Any] = {"model": conversation.model, "store": False}
    system = conversation.system
    if len(system) == 1:
        body["instructions"] = system[0].text
    body["input"] = list(_items_of(conversation, losses))
    if conversation.stream:
        body["stream"] = True
    if conversation.max_output_tokens is not None:
        body["max_output_tokens"] = max(conversation.max_output_tokens, _LEAST_CAP)
    body |= _sampling_of(conversation, losses)
    body |= _tools_of(conversation)
    body |= _reasoning_of(conversation)
    body |= _wishes_of(conversation, losses)
    return msgspec.json.encode(body)


def _sampling_of(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    sampling = conversation.sampling
    lacking = {
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "stop": conversation.stop or None,
        "n": conversation.choices if conversation.choices > 1 else None,
    }
    for name, value in lacking.items():
        if value is not None:
            losses.lack(name)
    found = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    return {name: value for name, value in found.items() if value is not None}


def _tools_of(conversation: Conversation) -> dict[str, Any]:
    if not conversation.tools:
        return {}
    body: dict[str, Any] = {"tools": [_tool_of(tool) for tool in conversation.tools]}
    choice = conversation.tool_choice
    if choice is None:
        return body
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel
    if choice.mode != "auto" or choice.names:
        body["tool_choice"] = _choice_of(choice)
    return body


def _tool_of(tool: Tool) -> dict[str, Any]:
    # What is left out here is strict; in all other dialects it is not.
    found: dict[str, Any] = {
        "type": "function", "name": tool.name, "parameters": tool.parameters,
        "strict": bool(tool.strict),
    }  # fmt: skip
    return {**found, "description": tool.description} if tool.description else found


def _choice_of(choice: ToolChoice) -> object:
    tools = [{"type": "function", "name": name} for name in choice.names]
    if choice.mode == "none" or not tools:
        return choice.mode
    if choice.mode == "required" and len(tools) == 1:
        return tools[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}


def _reasoning_of(conversation: Conversation) -> dict[str, Any]:
    wish = conversation.reasoning
    if wish is None and not _REASONS.match(conversation.model):
        return {}
    body: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}
    found: dict[str, Any] = {}
    if wish is not None and (effort := effort_of(wish)):
        found["effort"] = effort
    if wish is not None and wish.shows:
        found["summary"] = "auto"
    return {**body, "reasoning": found} if found else body


def _wishes_of(conversation: Conversation, losses: Losses) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if conversation.output_format is not None:
        body["text"] = {"format": _format_of(conversation.output_format)}
    if conversation.user:
        body["safety_identifier"] = conversation.user_within(_LONGEST_USER)
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
    found: dict[str, Any] = {
        "type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema,
        "strict": bool(wanted.strict),
    }  # fmt: skip
    return {**found, "description": wanted.description} if wanted.description else found


def _items_of(conversation: Conversation, losses: Losses) -> Iterator[dict[str, Any]]:
    if len(conversation.system) > 1:
        yield _message("developer", conversation.system, losses)
    for turn in conversation.turns:
        if turn.role == "assistant":
            yield from _said_by_model(turn)
        elif turn.role == "system":
            yield _message("developer", turn.parts, losses)
        else:
            yield from _said_to_model(turn, losses)


def _said_by_model(turn: Turn) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(turn.parts):
        if isinstance(part, Thinking):
            # Others' reasoning is of no use here, and without its proof neither is one's own.
            if part.origin == NAME and part.encrypted:
                yield output_item(part, part.id or f"rs_{number}")
        elif isinstance(part, Text | Refusal | ToolCall):
            item = output_item(part, "")
            del item["id"], item["status"]
            yield item


def _said_to_model(turn: Turn, losses: Losses) -> Iterator[dict[str, Any]]:
    rest: list[AnyPart] = []
    for part in turn.parts:
        if isinstance(part, ToolResult):
            yield {
                "type": "function_call_output", "call_id": part.call_id,
                "output": _content_of(part.content, losses),
            }  # fmt: skip
        else:
            rest.append(part)
    if rest:
        yield _message("user", rest, losses)


def _message(role: str, parts: Sequence[AnyPart], losses: Losses) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": _content_of(parts, losses)}


def _content_of(parts: Sequence[AnyPart], losses: Losses) -> object:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Text):
            content.append({"type": "input_text", "text": part.text})
        elif isinstance(part, Media):
            content += _media_of(part, losses)
    return content


def _media_of(media: Media, losses: Losses) -> list[dict[str, Any]]:
    inline = data_url(media.mime, media.data) if media.data else ""
    if media.kind == "audio" and media.data:
        name = _AUDIO_FORMATS.get(media.mime) or media.mime.rpartition("/")[2] or "wav"
        return [{"type": "input_audio", "input_audio": {"data": media.data, "format": name}}]
    if media.kind == "image" and (inline or media.url):
        return [
            {
                "type": "input_image", "image_url": inline or media.url,
                "detail": media.detail or "auto",
            }
        ]  # fmt: skip
    if media.kind == "document" and inline:
        name = media.name or "document"
        return [{"type": "input_file", "filename": name, "file_data": inline}]
    if media.kind == "document" and media.url:
        return [{"type": "input_file", "file_url": media.url}]
    losses.lack(f"{media.kind} by {'file id' if media.file_id else 'address'}")
    return []
