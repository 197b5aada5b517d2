"""The neutral form as a request for a message."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from apikeyrouter.dialects.anthropic.rendering.blocks import cache_control, write_blocks
from apikeyrouter.dialects.anthropic.rendering.models import takes_system_turns, usual_max_tokens
from apikeyrouter.dialects.anthropic.rendering.thinking import sampling_of, thinking_of
from apikeyrouter.dialects.conversation import (
    Conversation,
    Losses,
    OutputFormat,
    Tool,
    ToolChoice,
)

_LONGEST_USER = 256
#: Addresses and numbers of people are refused as names of users.
_PERSONAL = re.compile(r".*@.*|\+?[\d ()./-]{7,}", re.DOTALL)
_TIERS = {
    "auto": "auto", "priority": "auto", "default": "standard_only", "standard": "standard_only",
    "standard_only": "standard_only",
}  # fmt: skip
_NO_PARAMETERS = {"type": "object", "properties": {}}


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """Write a request; what a message cannot carry goes to *losses*."""
    max_tokens = conversation.max_output_tokens or usual_max_tokens(conversation.model)
    body: dict[str, Any] = {"model": conversation.model, "max_tokens": max_tokens}
    system = write_blocks(conversation.system, losses)
    messages = list(_messages_of(conversation, losses))
    if not messages:
        # Somebody has to speak.
        messages, system = [{"role": "user", "content": system}], []
    if system:
        body["system"] = system
    body["messages"] = messages
    if conversation.stream:
        body["stream"] = True
    thinking, effort = thinking_of(conversation, max_tokens)
    body |= thinking
    thinks = thinking.get("thinking", {}).get("type") in ("enabled", "adaptive")
    body |= sampling_of(conversation, losses, thinks=thinks)
    body |= _tools_of(conversation)
    body |= _wishes_of(conversation, effort, losses)
    return msgspec.json.encode(body)


def _messages_of(conversation: Conversation, losses: Losses) -> Iterator[dict[str, Any]]:
    """Yield messages: what one side says in several turns is one of them."""
    takes_system = takes_system_turns(conversation.model)
    said: list[tuple[str, list[dict[str, Any]]]] = []
    turns = conversation.turns
    for number, turn in enumerate(turns):
        blocks = write_blocks(turn.parts, losses)
        role = "assistant" if turn.role == "assistant" else "user"
        if turn.role == "system" and takes_system and said and said[-1][0] == "user":
            follows = turns[number + 1].role if number + 1 < len(turns) else "assistant"
            role = "system" if follows == "assistant" else "user"
        if said and said[-1][0] == role:
            said[-1][1].extend(blocks)
        elif blocks:
            said.append((role, blocks))
    for number, (role, blocks) in enumerate(said):
        is_last = number == len(said) - 1
        yield {"role": role, "content": _ordered(role, blocks, is_last=is_last)}


def _ordered(role: str, blocks: list[dict[str, Any]], *, is_last: bool) -> list[dict[str, Any]]:
    """Return blocks as they are taken: results first, no space at the end of what goes on."""
    if role == "assistant":
        if is_last and blocks[-1]["type"] == "text":
            blocks[-1]["text"] = blocks[-1]["text"].rstrip() or "."
        return blocks
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _tools_of(conversation: Conversation) -> dict[str, Any]:
    choice, tools = conversation.tool_choice, conversation.tools
    if not tools:
        return {}
    if choice is not None and len(choice.names) > (choice.mode == "required"):
        # It can be told to choose one or any, so that it is shown no others.
        tools = [tool for tool in tools if tool.name in choice.names] or tools
    body: dict[str, Any] = {"tools": [_tool_of(tool) for tool in tools]}
    if choice is not None:
        body["tool_choice"] = _choice_of(choice)
    return body


def _tool_of(tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    schema = tool.parameters or _NO_PARAMETERS
    found["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
    if tool.strict is not None:
        found["strict"] = tool.strict
    if tool.cache:
        found["cache_control"] = cache_control(tool.cache)
    return found


def _choice_of(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode == "none":
        return {"type": "none"}
    found: dict[str, Any] = {"type": "auto"}
    if choice.mode == "required":
        is_one = len(choice.names) == 1
        found = {"type": "tool", "name": choice.names[0]} if is_one else {"type": "any"}
    if choice.parallel is not None:
        found["disable_parallel_tool_use"] = not choice.parallel
    return found


def _wishes_of(conversation: Conversation, effort: str, losses: Losses) -> dict[str, Any]:
    body: dict[str, Any] = {}
    output: dict[str, Any] = {"effort": effort} if effort else {}
    if conversation.output_format is not None:
        output |= _format_of(conversation.output_format, losses)
    if output:
        body["output_config"] = output
    stops = [text for text in conversation.stop if text.strip()]
    if len(stops) < len(conversation.stop):
        losses.lack("stop")
    if stops:
        body["stop_sequences"] = stops
    if conversation.choices > 1:
        losses.lack("n")
    if conversation.user:
        body["metadata"] = {"user_id": _user_of(conversation)}
    tier = _TIERS.get(conversation.service_tier)
    if tier is not None:
        body["service_tier"] = tier
    elif conversation.service_tier:
        losses.lack("service_tier")
    return body


def _user_of(conversation: Conversation) -> str:
    is_personal = _PERSONAL.fullmatch(conversation.user)
    return conversation.user_within(0 if is_personal else _LONGEST_USER)


def _format_of(wanted: OutputFormat, losses: Losses) -> dict[str, Any]:
    if wanted.schema is None:
        losses.lack("response_format")
        return {}
    return {"format": {"type": "json_schema", "schema": wanted.schema}}
