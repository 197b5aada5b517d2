"""A chat request as the neutral form."""

from collections.abc import Iterator, Mapping
from typing import Any

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Conversation,
    Losses,
    Media,
    OutputFormat,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apikeyrouter.dialects.data_urls import split_data_url
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
        "model", "messages", "tools", "tool_choice", "functions", "function_call",
        "parallel_tool_calls", "response_format", "reasoning_effort", "reasoning",
        "max_completion_tokens", "max_tokens", "stop", "n", "stream", "stream_options",
        "temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty",
        "service_tier", "user", "safety_identifier", "metadata", "store", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options",
    }
)  # fmt: skip
#: Values with which a field asks for nothing.
_NOTHING: tuple[object, ...] = (None, False, {}, [], "")
#: Fields that ask for something even when there is nothing in them.
_ASKED_BY_NAME = frozenset({"web_search_options"})
_LEGACY_CALL = "call_legacy_{}"


def read_request(body: dict[str, Any], losses: Losses) -> Conversation:
    """Read a request; what the neutral form cannot carry goes to *losses*.

    Raises:
        BadBodyError: There are no messages.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadBodyError("messages: should be a list with at least one message", "messages")
    for name, value in body.items():
        is_asked = value not in _NOTHING or (name in _ASKED_BY_NAME and value is not None)
        if name not in _KNOWN and is_asked and not _is_usual(name, value):
            losses.lack(name)
    system, turns = _read_messages(objects_in(messages), losses)
    options = object_in(body.get("stream_options"))
    return Conversation(
        model=text_in(body.get("model")),
        system=system,
        turns=turns,
        tools=_read_tools(body, losses),
        tool_choice=_read_choice(body),
        output_format=_read_format(object_in(body.get("response_format"))),
        reasoning=_read_reasoning(body),
        sampling=_read_sampling(body),
        max_output_tokens=count_in(body.get("max_completion_tokens"))
        or count_in(body.get("max_tokens"))
        or None,
        stop=_read_stop(body.get("stop")),
        choices=count_in(body.get("n")) or 1,
        stream=body.get("stream") is True,
        tells_usage=options.get("include_usage") is True,
        service_tier=text_in(body.get("service_tier")),
        user=text_in(body.get("safety_identifier")) or text_in(body.get("user")),
        metadata={
            name: value
            for name, value in object_in(body.get("metadata")).items()
            if isinstance(value, str)
        },
    )


def _is_usual(name: str, value: object) -> bool:
    """Tell whether a field asks for what happens anyway."""
    return name == "modalities" and value == ["text"]


def _read_messages(messages: list[dict[str, Any]], losses: Losses) -> tuple[list[Text], list[Turn]]:
    system: list[Text] = []
    turns: list[Turn] = []
    legacy_calls = 0
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            texts = [part for part in _read_content(message, losses) if isinstance(part, Text)]
            if turns:
                turns.append(Turn("system", list(texts)))
            else:
                system += texts
        elif role == "assistant":
            turns.append(_read_assistant(message, losses, legacy_calls))
            legacy_calls += bool(message.get("function_call"))
        elif role in ("tool", "function"):
            call_id = text_in(message.get("tool_call_id")) or _LEGACY_CALL.format(legacy_calls)
            _add_result(turns, _read_result(message, call_id, losses))
        else:
            name = text_in(message.get("name"))
            turns.append(Turn("user", list(_read_content(message, losses)), name))
    return system, turns


def _add_result(turns: list[Turn], result: ToolResult) -> None:
    """Add what a tool answered to those before it: together they are one turn."""
    before = turns[-1].parts if turns and turns[-1].role == "user" else []
    if before and isinstance(before[-1], ToolResult):
        before.append(result)
    else:
        turns.append(Turn("user", [result]))


def _read_result(message: dict[str, Any], call_id: str, losses: Losses) -> ToolResult:
    content = [part for part in _read_content(message, losses) if isinstance(part, Text | Media)]
    return ToolResult(call_id=call_id, name=text_in(message.get("name")), content=content)


def _read_assistant(message: dict[str, Any], losses: Losses, legacy_calls: int) -> Turn:
    parts: list[AnyPart] = list(read_thoughts(message))
    parts += [part for part in _read_content(message, losses) if _says_something(part)]
    if refusal := text_in(message.get("refusal")):
        parts.append(Refusal(text=refusal))
    if message.get("audio"):
        losses.lack("messages.audio")
    parts += read_calls(message, legacy_calls + 1, losses)
    return Turn("assistant", parts, text_in(message.get("name")))


def _says_something(part: AnyPart) -> bool:
    return not isinstance(part, Text) or part.text != ""


def read_thoughts(message: dict[str, Any]) -> Iterator[Thinking]:
    """Yield the reasoning of an assistant's message, in the forms that gateways have for it."""
    details = objects_in(message.get("reasoning_details"))
    for detail in details:
        yield Thinking(
            text=text_in(detail.get("text")) or text_in(detail.get("summary")),
            signature=text_in(detail.get("signature")),
            encrypted=text_in(detail.get("data")),
            id=text_in(detail.get("id")),
            origin=text_in(detail.get("format")),
        )
    text = text_in(message.get("reasoning_content")) or text_in(message.get("reasoning"))
    if text and not details:
        yield Thinking(text=text)


def read_calls(
    message: dict[str, Any], legacy_call: int, losses: Losses | None = None
) -> Iterator[ToolCall]:
    """Yield the tool calls of an assistant's message; only functions can be carried.

    Args:
        legacy_call: Number of its `function_call`, which has no id.
    """
    for call in objects_in(message.get("tool_calls")):
        if call.get("type", "function") == "function":
            function = object_in(call.get("function"))
            google = object_in(object_in(call.get("extra_content")).get("google"))
            yield ToolCall(
                id=text_in(call.get("id")),
                name=text_in(function.get("name")),
                arguments=text_in(function.get("arguments")) or "{}",
                signature=text_in(google.get("thought_signature")),
            )
        elif losses is not None:
            losses.lack("messages.tool_calls")
    function = object_in(message.get("function_call"))
    if function:
        yield ToolCall(
            id=_LEGACY_CALL.format(legacy_call),
            name=text_in(function.get("name")),
            arguments=text_in(function.get("arguments")) or "{}",
        )


def _read_content(message: dict[str, Any], losses: Losses) -> Iterator[AnyPart]:
    content = message.get("content")
    if isinstance(content, str):
        yield Text(text=content, cache=_cache_of(message))
    for part in objects_in(content):
        read = _PARTS.get(text_in(part.get("type")))
        found = read(part) if read is not None else None
        if found is None:
            losses.lack(f"messages.content.{part.get('type')}")
        else:
            found.cache = _cache_of(part)
            yield found


def _cache_of(part: dict[str, Any]) -> str:
    mark = part.get("cache_control")
    return text_in(mark.get("ttl")) or "5m" if isinstance(mark, dict) else ""


def _read_text(part: dict[str, Any]) -> AnyPart:
    return Text(text=text_in(part.get("text")))


def _read_refusal(part: dict[str, Any]) -> AnyPart:
    return Refusal(text=text_in(part.get("refusal")))


def _read_image(part: dict[str, Any]) -> AnyPart | None:
    image = part.get("image_url")
    facts = object_in(image)
    url = image if isinstance(image, str) else text_in(facts.get("url"))
    if not url:
        return None
    detail = text_in(facts.get("detail"))
    inline = split_data_url(url)
    if inline is not None:
        return Media(kind="image", mime=inline[0], data=inline[1], detail=detail)
    return Media(kind="image", url=url, detail=detail)


def _read_audio(part: dict[str, Any]) -> AnyPart:
    audio = object_in(part.get("input_audio"))
    name = text_in(audio.get("format")) or "wav"
    mime = "audio/mpeg" if name == "mp3" else f"audio/{name}"
    return Media(kind="audio", data=text_in(audio.get("data")), mime=mime)


def _read_file(part: dict[str, Any]) -> AnyPart | None:
    file = object_in(part.get("file"))
    name = text_in(file.get("filename"))
    if file_id := text_in(file.get("file_id")):
        return Media(kind="document", file_id=file_id, name=name)
    data = text_in(file.get("file_data"))
    if not data:
        return None
    mime, base64 = split_data_url(data) or ("application/pdf", data)
    return Media(kind="document", mime=mime, data=base64, name=name)


_PARTS = {
    "text": _read_text,
    "refusal": _read_refusal,
    "image_url": _read_image,
    "input_audio": _read_audio,
    "file": _read_file,
}


def _read_tools(body: dict[str, Any], losses: Losses) -> list[Tool]:
    tools = []
    for number, tool in enumerate(objects_in(body.get("tools"))):
        if tool.get("type", "function") == "function":
            read = _read_function(object_in(tool.get("function")))
            read.cache = _cache_of(tool)
            tools.append(read)
        else:
            losses.lack(f"tools[{number}]")
    return tools + [_read_function(function) for function in objects_in(body.get("functions"))]


def _read_function(function: dict[str, Any]) -> Tool:
    parameters = function.get("parameters")
    return Tool(
        name=text_in(function.get("name")),
        description=text_in(function.get("description")),
        parameters=parameters if isinstance(parameters, dict) else None,
        strict=flag_in(function.get("strict")),
    )


def _read_choice(body: dict[str, Any]) -> ToolChoice | None:
    choice = body.get("tool_choice", body.get("function_call"))
    parallel = flag_in(body.get("parallel_tool_calls"))
    if isinstance(choice, str):
        modes: Mapping[str, ToolChoice] = {
            "none": ToolChoice("none"),
            "required": ToolChoice("required"),
            "any": ToolChoice("required"),
        }
        found = modes.get(choice, ToolChoice("auto"))
    elif isinstance(choice, dict):
        found = _read_named_choice(choice)
    elif parallel is None:
        return None
    else:
        found = ToolChoice("auto")
    return ToolChoice(found.mode, found.names, parallel)


def _read_named_choice(choice: dict[str, Any]) -> ToolChoice:
    if choice.get("type") == "allowed_tools":
        allowed = object_in(choice.get("allowed_tools"))
        tools = [object_in(tool.get("function")) for tool in objects_in(allowed.get("tools"))]
        names = [text_in(tool.get("name")) for tool in tools]
        return ToolChoice("required" if allowed.get("mode") == "required" else "auto", names)
    name = text_in(object_in(choice.get("function")).get("name")) or text_in(choice.get("name"))
    return ToolChoice("required", [name] if name else [])


def _read_format(wanted: dict[str, Any]) -> OutputFormat | None:
    if wanted.get("type") == "json_object":
        return OutputFormat()
    if wanted.get("type") != "json_schema":
        return None
    schema = object_in(wanted.get("json_schema"))
    return OutputFormat(
        schema=object_in(schema.get("schema")),
        name=text_in(schema.get("name")),
        description=text_in(schema.get("description")),
        strict=flag_in(schema.get("strict")),
    )


def _read_reasoning(body: dict[str, Any]) -> Reasoning | None:
    wish = object_in(body.get("reasoning"))
    effort = text_in(body.get("reasoning_effort")) or text_in(wish.get("effort"))
    budget = whole_in(wish.get("max_tokens"))
    return Reasoning(effort, budget) if effort or budget is not None else None


def _read_sampling(body: dict[str, Any]) -> Sampling:
    return Sampling(
        temperature=number_in(body.get("temperature")),
        top_p=number_in(body.get("top_p")),
        top_k=whole_in(body.get("top_k")),
        seed=whole_in(body.get("seed")),
        frequency_penalty=number_in(body.get("frequency_penalty")) or None,
        presence_penalty=number_in(body.get("presence_penalty")) or None,
    )


def _read_stop(stop: object) -> list[str]:
    texts = stop if isinstance(stop, list) else [stop]
    return [text for text in texts if isinstance(text, str) and text]
