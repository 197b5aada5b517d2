"""A request for a message as the neutral form."""

from collections.abc import Iterator
from typing import Any

from apikeyrouter.dialects.anthropic.rendering.blocks import cache_of, read_blocks
from apikeyrouter.dialects.conversation import (
    Conversation,
    Losses,
    OutputFormat,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    Turn,
)
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.json_values import (
    count_in,
    flag_in,
    number_in,
    object_in,
    objects_in,
    text_in,
    whole_in,
)

#: What is read, and what changes nothing of the answer: hints, records, our own wishes.
_KNOWN = frozenset(
    {
        "model", "messages", "system", "max_tokens", "tools", "tool_choice", "thinking",
        "output_config", "output_format", "temperature", "top_p", "top_k", "stop_sequences",
        "stream", "metadata", "service_tier", "cache_control", "diagnostics",
        "context_management", "betas",
    }
)  # fmt: skip
#: Values with which a field asks for nothing.
_NOTHING: tuple[object, ...] = (None, False, {}, [], "")
#: A line of records that an agent puts before its instructions: for Anthropic alone, and another
#: one each time, so that no other provider could cache what follows.
_BILLING = "x-anthropic-billing-header:"
_EFFORTS = {"max": "xhigh"}
_MODES = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}


def read_request(body: dict[str, Any], losses: Losses) -> Conversation:
    """Read a request; what the neutral form cannot carry goes to *losses*.

    Raises:
        BadBodyError: There are no messages.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadBodyError("messages: should be a list with at least one message", "messages")
    for name, value in body.items():
        if name not in _KNOWN and value not in _NOTHING and not _is_usual(name, value):
            losses.lack(name)
    return Conversation(
        model=text_in(body.get("model")),
        system=list(_read_system(body.get("system"))),
        turns=[_read_turn(message, losses) for message in objects_in(messages)],
        tools=_read_tools(body, losses),
        tool_choice=_read_choice(object_in(body.get("tool_choice"))),
        output_format=_read_format(body),
        reasoning=_read_reasoning(body, losses),
        sampling=Sampling(
            temperature=number_in(body.get("temperature")),
            top_p=number_in(body.get("top_p")),
            top_k=whole_in(body.get("top_k")),
        ),
        max_output_tokens=count_in(body.get("max_tokens")) or None,
        stop=[
            text
            for text in body.get("stop_sequences") or ()
            if isinstance(text, str) and text
        ] if isinstance(body.get("stop_sequences"), list) else [],
        stream=body.get("stream") is True,
        service_tier=text_in(body.get("service_tier")),
        user=text_in(object_in(body.get("metadata")).get("user_id")),
    )  # fmt: skip


def _is_usual(name: str, value: object) -> bool:
    """Tell whether a field asks for what happens anyway."""
    return name == "speed" and value == "standard"


def _read_system(system: object) -> Iterator[Text]:
    if isinstance(system, str):
        system = [{"text": system}]
    for block in objects_in(system):
        text = text_in(block.get("text"))
        if text.startswith(_BILLING):
            text = text.partition("\n")[2]
        if text:
            yield Text(text=text, cache=cache_of(block))


def _read_turn(message: dict[str, Any], losses: Losses) -> Turn:
    content, role = message.get("content"), message.get("role")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts = read_blocks(objects_in(content), losses)
    if role == "assistant":
        return Turn("assistant", parts)
    return Turn("system" if role == "system" else "user", parts)


def _read_tools(body: dict[str, Any], losses: Losses) -> list[Tool]:
    tools = []
    for number, tool in enumerate(objects_in(body.get("tools"))):
        if tool.get("type") in (None, "custom"):
            schema = tool.get("input_schema")
            tools.append(
                Tool(
                    name=text_in(tool.get("name")),
                    description=text_in(tool.get("description")),
                    parameters=schema if isinstance(schema, dict) else None,
                    strict=flag_in(tool.get("strict")),
                    cache=cache_of(tool),
                )
            )
        else:
            losses.lack(f"tools[{number}]")
    return tools


def _read_choice(choice: dict[str, Any]) -> ToolChoice | None:
    mode = _MODES.get(text_in(choice.get("type")))
    if mode is None:
        return None
    name = text_in(choice.get("name"))
    disabled = flag_in(choice.get("disable_parallel_tool_use"))
    parallel = None if disabled is None else not disabled
    return ToolChoice(mode, [name] if name else [], parallel)  # type: ignore[arg-type] # a mode


def _read_format(body: dict[str, Any]) -> OutputFormat | None:
    # The second name is the one it had in its beta.
    for wanted in (object_in(body.get("output_config")).get("format"), body.get("output_format")):
        if object_in(wanted).get("type") == "json_schema":
            return OutputFormat(schema=object_in(object_in(wanted).get("schema")))
    return None


def _read_reasoning(body: dict[str, Any], losses: Losses) -> Reasoning | None:
    effort = text_in(object_in(body.get("output_config")).get("effort"))
    effort = _EFFORTS.get(effort, effort)
    thinking = object_in(body.get("thinking"))
    # Thoughts are shown unless they are left out by name.
    shows = thinking.get("display") != "omitted"
    match text_in(thinking.get("type")):
        case "":
            return Reasoning(effort) if effort else None
        case "disabled":
            return Reasoning("none")
        case "enabled":
            return Reasoning(effort, whole_in(thinking.get("budget_tokens")), shows)
        case "adaptive":
            return Reasoning(effort, None if effort else -1, shows)
    losses.lack("thinking")
    return Reasoning(effort) if effort else None
