"""How an answer is wanted: tools, sampling, thinking, form."""

from typing import Any

from apikeyrouter.dialects.conversation import (
    Conversation,
    Losses,
    OutputFormat,
    Reasoning,
    Sampling,
    Tool,
    ToolChoice,
)
from apikeyrouter.dialects.gemini.conversations.parts import camel, member
from apikeyrouter.dialects.gemini.conversations.schemas import json_schema_of
from apikeyrouter.dialects.json_values import (
    flag_in,
    number_in,
    object_in,
    objects_in,
    text_in,
    whole_in,
)

_KNOWN = frozenset(
    {
        "contents", "model", "systemInstruction", "tools", "toolConfig", "generationConfig",
        "safetySettings", "serviceTier", "labels", "store",
    }
)  # fmt: skip
_KNOWN_OF_CONFIG = frozenset(
    {
        "temperature", "topP", "topK", "seed", "frequencyPenalty", "presencePenalty",
        "stopSequences", "maxOutputTokens", "candidateCount", "responseMimeType",
        "responseSchema", "responseJsonSchema", "_responseJsonSchema", "thinkingConfig",
        "responseModalities",
    }
)  # fmt: skip
_NOTHING: tuple[object, ...] = (None, False, {}, [], "")
#: Thresholds that ask for no filter: others have none that could be turned off.
_UNFILTERED = frozenset({"BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED"})
_MODES = {"ANY": "required", "NONE": "none"}


def read_wishes(body: dict[str, Any], conversation: Conversation, losses: Losses) -> None:
    """Read into *conversation* how its answer is wanted."""
    _name_unknown(body, _KNOWN, "", losses)
    conversation.tools = _read_tools(body, losses)
    conversation.tool_choice = _read_choice(object_in(member(body, "toolConfig")), losses)
    for setting in objects_in(member(body, "safetySettings")):
        if text_in(setting.get("threshold")) not in _UNFILTERED:
            losses.lack("safetySettings")
    conversation.service_tier = text_in(member(body, "serviceTier")).lower()
    labels = object_in(body.get("labels")).items()
    conversation.metadata = {name: value for name, value in labels if isinstance(value, str)}
    _read_config(object_in(member(body, "generationConfig")), conversation, losses)


def _name_unknown(
    found: dict[str, Any], known: frozenset[str], within: str, losses: Losses
) -> None:
    for written, value in found.items():
        name = camel(written)
        if name not in known and value not in _NOTHING:
            losses.lack(within + name)


def _read_tools(body: dict[str, Any], losses: Losses) -> list[Tool]:
    tools = []
    for offer in objects_in(body.get("tools")):
        for written, value in offer.items():
            name = camel(written)
            if name == "functionDeclarations":
                tools += [_read_function(function) for function in objects_in(value)]
            elif value is not None:
                losses.lack(f"tools.{name}")
    return tools


def _read_function(function: dict[str, Any]) -> Tool:
    schema, own = member(function, "parametersJsonSchema"), function.get("parameters")
    if not isinstance(schema, dict):
        schema = json_schema_of(own) if isinstance(own, dict) else None
    return Tool(
        name=text_in(function.get("name")),
        description=text_in(function.get("description")),
        parameters=schema,
    )


def _read_choice(config: dict[str, Any], losses: Losses) -> ToolChoice | None:
    _name_unknown(config, frozenset({"functionCallingConfig"}), "toolConfig.", losses)
    calling = object_in(member(config, "functionCallingConfig"))
    if not calling:
        return None
    names = member(calling, "allowedFunctionNames")
    allowed = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    mode = _MODES.get(text_in(calling.get("mode")).upper())
    if mode == "required":
        return ToolChoice("required", allowed)
    return ToolChoice("none") if mode == "none" else ToolChoice("auto", allowed)


def _read_config(config: dict[str, Any], conversation: Conversation, losses: Losses) -> None:
    _name_unknown(config, _KNOWN_OF_CONFIG, "generationConfig.", losses)
    conversation.sampling = Sampling(
        temperature=number_in(config.get("temperature")),
        top_p=number_in(member(config, "topP")),
        top_k=whole_in(member(config, "topK")),
        seed=whole_in(config.get("seed")),
        frequency_penalty=number_in(member(config, "frequencyPenalty")) or None,
        presence_penalty=number_in(member(config, "presencePenalty")) or None,
    )
    conversation.max_output_tokens = whole_in(member(config, "maxOutputTokens")) or None
    stop = member(config, "stopSequences")
    conversation.stop = [text for text in stop if text] if isinstance(stop, list) else []
    if (whole_in(member(config, "candidateCount")) or 1) > 1:
        losses.lack("generationConfig.candidateCount")
    modalities = member(config, "responseModalities")
    if isinstance(modalities, list) and {str(name).upper() for name in modalities} - {"TEXT"}:
        losses.lack("generationConfig.responseModalities")
    conversation.output_format = _read_format(config, losses)
    conversation.reasoning = _read_thinking(object_in(member(config, "thinkingConfig")))


def _read_format(config: dict[str, Any], losses: Losses) -> OutputFormat | None:
    mime = text_in(member(config, "responseMimeType"))
    if mime not in ("", "text/plain", "application/json"):
        losses.lack("generationConfig.responseMimeType")
    if mime != "application/json":
        return None
    own = member(config, "responseSchema")
    schema = member(config, "responseJsonSchema") or config.get("_responseJsonSchema")
    if not isinstance(schema, dict):
        schema = json_schema_of(own) if isinstance(own, dict) else None
    return OutputFormat(schema)


def _read_thinking(config: dict[str, Any]) -> Reasoning | None:
    level = text_in(member(config, "thinkingLevel")).lower()
    reasoning = Reasoning(
        effort="" if level.endswith("unspecified") else level,
        budget_tokens=whole_in(member(config, "thinkingBudget")),
        shows=flag_in(member(config, "includeThoughts")),
    )
    return reasoning if reasoning != Reasoning() else None
