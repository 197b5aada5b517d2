"""A request for a response as the neutral form."""

from typing import Any

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Conversation,
    Losses,
    OutputFormat,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
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
)
from apikeyrouter.dialects.openai_responses.items import (
    read_call,
    read_content,
    read_reasoning,
    read_result,
)

#: What is read, and what changes nothing of the answer: hints, records, bounds of built-in tools.
_KNOWN = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text",
        "reasoning", "max_output_tokens", "temperature", "top_p", "stream", "stream_options",
        "service_tier", "metadata", "user", "safety_identifier", "store", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options", "include", "truncation",
        "max_tool_calls", "client_metadata",
    }
)  # fmt: skip
#: Values with which a field asks for nothing.
_NOTHING: tuple[object, ...] = (None, False, 0, {}, [], "")
_SPOKEN_BY = {"assistant": "assistant", "system": "system", "developer": "system"}


def read_request(body: dict[str, Any], losses: Losses) -> Conversation:
    """Read a request; what the neutral form cannot carry goes to *losses*.

    Raises:
        BadBodyError: Nothing is asked.
    """
    for name, value in body.items():
        if name not in _KNOWN and value not in _NOTHING:
            losses.lack(name)
    if body.get("truncation") == "auto":
        losses.lack("truncation")
    include = body.get("include")
    if isinstance(include, list) and "message.output_text.logprobs" in include:
        losses.lack("include")
    turns = _read_input(body.get("input"), losses)
    instructions = text_in(body.get("instructions"))
    system = [Text(text=instructions)] if instructions else []
    system += _leading_system(turns)
    if not (turns or system or losses.names):
        raise BadBodyError("input: should be text or a list with at least one item", "input")
    return Conversation(
        model=text_in(body.get("model")),
        system=system,
        turns=turns,
        tools=_read_tools(body, losses),
        tool_choice=_read_choice(body, losses),
        output_format=_read_format(object_in(body.get("text")), losses),
        reasoning=_read_effort(object_in(body.get("reasoning"))),
        sampling=Sampling(number_in(body.get("temperature")), number_in(body.get("top_p"))),
        max_output_tokens=count_in(body.get("max_output_tokens")) or None,
        stream=body.get("stream") is True,
        service_tier=text_in(body.get("service_tier")),
        user=text_in(body.get("safety_identifier")) or text_in(body.get("user")),
        metadata={
            name: value
            for name, value in object_in(body.get("metadata")).items()
            if isinstance(value, str)
        },
    )


def _leading_system(turns: list[Turn]) -> list[Text]:
    """Take the instructions that stand before the first turn out of *turns*."""
    texts: list[Text] = []
    while turns and turns[0].role == "system":
        texts += [part for part in turns.pop(0).parts if isinstance(part, Text)]
    return texts


def _read_input(given: object, losses: Losses) -> list[Turn]:
    if isinstance(given, str):
        return [Turn("user", [Text(text=given)])] if given else []
    turns: list[Turn] = []
    for item in objects_in(given):
        kind = text_in(item.get("type")) or ("message" if "role" in item else "")
        match kind:
            case "message":
                _add_message(turns, item, losses)
            case "function_call":
                _add(turns, "assistant", [read_call(item)])
            case "reasoning":
                _add(turns, "assistant", [read_reasoning(item)])
            case "function_call_output":
                _add_result(turns, read_result(item, losses))
            case _:
                losses.lack(f"input.{kind or 'item'}")
    return turns


def _add_message(turns: list[Turn], item: dict[str, Any], losses: Losses) -> None:
    role = _SPOKEN_BY.get(text_in(item.get("role")), "user")
    parts = list(read_content(item.get("content"), losses))
    if role == "assistant":
        _add(turns, role, [part for part in parts if not isinstance(part, Text) or part.text])
    elif role == "system":
        turns.append(Turn("system", parts))
    else:
        turns.append(Turn("user", parts))


def _add(turns: list[Turn], role: str, parts: list[AnyPart]) -> None:
    """Add what the model said to what it said before: items of one turn follow one another."""
    if turns and turns[-1].role == role:
        turns[-1].parts += parts
    elif parts:
        turns.append(Turn("assistant", parts))


def _add_result(turns: list[Turn], result: ToolResult) -> None:
    """Add what a tool answered to those before it: together they are one turn."""
    before = turns[-1].parts if turns and turns[-1].role == "user" else []
    if before and isinstance(before[-1], ToolResult):
        before.append(result)
    else:
        turns.append(Turn("user", [result]))


def _read_tools(body: dict[str, Any], losses: Losses) -> list[Tool]:
    tools = []
    for tool in objects_in(body.get("tools")):
        kind = text_in(tool.get("type"))
        if kind != "function":
            losses.lack(f"tools.{kind}")
            continue
        parameters = tool.get("parameters")
        tools.append(
            Tool(
                name=text_in(tool.get("name")),
                description=text_in(tool.get("description")),
                parameters=parameters if isinstance(parameters, dict) else None,
                strict=flag_in(tool.get("strict")),
            )
        )
    return tools


def _read_choice(body: dict[str, Any], losses: Losses) -> ToolChoice | None:
    choice, parallel = body.get("tool_choice"), flag_in(body.get("parallel_tool_calls"))
    if choice is None and parallel is None:
        return None
    if choice in ("none", "required"):
        return ToolChoice(choice, [], parallel)
    wanted = object_in(choice)
    match wanted.get("type"):
        case "function":
            return ToolChoice("required", [text_in(wanted.get("name"))], parallel)
        case "allowed_tools":
            allowed = objects_in(wanted.get("tools"))
            names = [text_in(tool.get("name")) for tool in allowed if tool.get("name")]
            is_required = wanted.get("mode") == "required"
            return ToolChoice("required" if is_required else "auto", names, parallel)
    if wanted:
        losses.lack("tool_choice")
    return ToolChoice("auto", [], parallel)


def _read_format(text: dict[str, Any], losses: Losses) -> OutputFormat | None:
    if text.get("verbosity") not in (None, "medium"):
        losses.lack("text.verbosity")
    wanted = object_in(text.get("format"))
    match wanted.get("type"):
        case "json_object":
            return OutputFormat()
        case "json_schema":
            return OutputFormat(
                schema=object_in(wanted.get("schema")),
                name=text_in(wanted.get("name")),
                description=text_in(wanted.get("description")),
                strict=flag_in(wanted.get("strict")),
            )
    return None


def _read_effort(wish: dict[str, Any]) -> Reasoning | None:
    effort = text_in(wish.get("effort"))
    shows = bool(wish.get("summary") or wish.get("generate_summary")) or None
    return Reasoning(effort, shows=shows) if effort or shows else None
