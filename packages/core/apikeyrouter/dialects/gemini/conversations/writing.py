"""The neutral form as a request for content."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import (
    DETAIL,
    AnyPart,
    Conversation,
    Losses,
    Media,
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
from apikeyrouter.dialects.gemini.conversations.parts import call_part, media_part, thought_part
from apikeyrouter.dialects.gemini.conversations.signatures import NONE_KNOWN, ORIGIN
from apikeyrouter.dialects.json_values import decoded

Json = dict[str, Any]
#: Models that think by levels, and want a signature with calls.
_HAS_LEVELS = re.compile(r"(?:.*/)?gemini-(?:[3-9]|\d\d|(?:flash|pro|flash-lite)-latest)")
_LEVELS = {
    "none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high",
    "xhigh": "high", "max": "high",
}  # fmt: skip
_BUDGETS = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768,
    "max": 32768,
}  # fmt: skip
_TIERS = {
    "": "", "auto": "", "flex": "flex", "priority": "priority", "fast": "priority",
    "default": "standard", "standard": "standard", "standard_only": "standard",
}  # fmt: skip
#: Under these names a result is text; an object with one of them alone is not taken for a result.
_WRAPPERS = frozenset({"output", "result", "content", "error"})


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """Write a request; what Gemini has no place for goes to *losses*."""
    body: Json = {"contents": _Contents(conversation, losses).written()}
    if conversation.system and conversation.turns:
        body["systemInstruction"] = {"parts": _texts_of(conversation.system)}
    body |= _tools_of(conversation, losses)
    config = _config_of(conversation, losses)
    if config:
        body["generationConfig"] = config
    tier = _TIERS.get(conversation.service_tier)
    if tier:
        body["serviceTier"] = tier
    elif tier is None:
        losses.lack("service_tier")
    return msgspec.json.encode(body)


def _texts_of(parts: list[Text]) -> list[Json]:
    return [{"text": part.text} for part in parts]


class _Contents:
    """Writes the turns of a conversation; neighbours of one side become one content."""

    def __init__(self, conversation: Conversation, losses: Losses) -> None:
        self._conversation = conversation
        self._losses = losses
        self._wants_signature = _HAS_LEVELS.match(conversation.model) is not None
        #: Name and place of a call by its id, of the last one that had it.
        self._calls: dict[str, tuple[str, int]] = {}

    def written(self) -> list[Json]:
        contents = []
        turns = self._conversation.turns or [Turn("user", list(self._conversation.system))]
        for role, parts in _grouped(turns):
            written = self._model(parts) if role == "model" else self._user(parts)
            if written:
                contents.append({"role": role, "parts": written})
        return contents

    def _model(self, parts: list[AnyPart]) -> list[Json]:
        written: list[Json] = []
        calls = [part for part in parts if isinstance(part, ToolCall)]
        has_signature = any(call.signature for call in calls)
        for part in parts:
            if isinstance(part, ToolCall):
                self._calls[part.id] = part.name, len(self._calls)
                call = call_part(part, with_id=False)
                signature = part.signature
                if self._wants_signature and not has_signature and part is calls[0]:
                    signature = NONE_KNOWN
                written.append({**call, "thoughtSignature": signature} if signature else call)
            elif isinstance(part, Thinking):
                # What another provider thought, this one takes no notice of.
                thought = thought_part(part, part.signature) if part.origin == ORIGIN else None
                written += [thought] if thought is not None else []
            else:
                written += self._plain(part)
        return written

    def _user(self, parts: list[AnyPart]) -> list[Json]:
        """Write what tools answered first, in the order of their calls; media in it follow."""
        results = [part for part in parts if isinstance(part, ToolResult)]
        results.sort(key=lambda part: self._calls.get(part.call_id, ("", len(self._calls)))[1])
        written = [self._result(result) for result in results]
        for result in results:
            for inner in result.content:
                written += self._plain(inner) if isinstance(inner, Media) else []
        for part in parts:
            written += self._plain(part)
        return written

    def _result(self, result: ToolResult) -> Json:
        name = result.name or self._calls.get(result.call_id, (result.call_id, 0))[0]
        text = "\n".join(part.text for part in result.content if isinstance(part, Text))
        answered = decoded(text)
        if result.is_error:
            answered = {"error": text}
        elif not answered or (len(answered) == 1 and _WRAPPERS.issuperset(answered)):
            answered = {"output": text}
        return {"functionResponse": {"name": name, "response": answered}}

    def _plain(self, part: AnyPart) -> list[Json]:
        if isinstance(part, Text | Refusal):
            return [{"text": part.text}] if part.text else []
        if not isinstance(part, Media):
            return []
        media = media_part(part)
        if media is None:
            self._losses.lack(f"{part.kind} by {'file id' if part.file_id else 'address'}")
        return [media] if media is not None else []


def _grouped(turns: list[Turn]) -> Iterator[tuple[str, list[AnyPart]]]:
    """Yield role and parts; instructions in the middle are said by the user."""
    last, parts = "", list[AnyPart]()
    for turn in turns:
        role = "model" if turn.role == "assistant" else "user"
        if role != last and parts:
            yield last, parts
            parts = []
        last = role
        parts += turn.parts
    if parts:
        yield last, parts


def _tools_of(conversation: Conversation, losses: Losses) -> Json:
    if not conversation.tools:
        return {}
    body: Json = {"tools": [{"functionDeclarations": list(map(_tool_of, conversation.tools))}]}
    choice = conversation.tool_choice or ToolChoice()
    # Clients ask for structured output by the one function that has to be called, once.
    is_one = choice.mode == "required" and len(choice.names or conversation.tools) == 1
    if choice.parallel is False and not is_one:
        losses.lack("parallel_tool_calls")
    mode = {"auto": "AUTO", "none": "NONE", "required": "ANY"}[choice.mode]
    if mode == "AUTO" and (choice.names or any(tool.strict for tool in conversation.tools)):
        mode = "VALIDATED"
    if mode != "AUTO":
        config: Json = {"mode": mode}
        if choice.names and mode != "NONE":
            config["allowedFunctionNames"] = choice.names
        body["toolConfig"] = {"functionCallingConfig": config}
    return body


def _tool_of(tool: Tool) -> Json:
    found: Json = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    if tool.parameters:
        found["parametersJsonSchema"] = tool.parameters
    return found


def _config_of(conversation: Conversation, losses: Losses) -> Json:
    sampling, wanted = conversation.sampling, conversation.output_format
    if conversation.choices > 1:
        losses.lack("n")
    config: Json = {
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "seed": sampling.seed,
        "frequencyPenalty": sampling.frequency_penalty,
        "presencePenalty": sampling.presence_penalty,
        "stopSequences": conversation.stop or None,
        "maxOutputTokens": conversation.max_output_tokens,
        "responseMimeType": "application/json" if wanted is not None else None,
        "responseJsonSchema": wanted.schema if wanted is not None else None,
        "mediaResolution": _resolution_of(conversation, losses),
        "thinkingConfig": _thinking_of(conversation.reasoning, conversation.model),
    }
    return {name: value for name, value in config.items() if value is not None}


def _resolution_of(conversation: Conversation, losses: Losses) -> str | None:
    """Return the resolution of all media: not every model takes one of each."""
    kinds = {
        (media.kind, media.detail == "low")
        for turn in conversation.turns
        for media in turn.media()
        if media.kind != "audio"
    }
    if ("image", True) not in kinds:
        return None
    if len(kinds) == 1:
        return "MEDIA_RESOLUTION_LOW"
    losses.lack(DETAIL)
    return None


def _thinking_of(reasoning: Reasoning | None, model: str) -> Json | None:
    if reasoning is None:
        return None
    config: Json = {}
    if reasoning.budget_tokens is not None:
        config["thinkingBudget"] = reasoning.budget_tokens
    elif reasoning.effort and _HAS_LEVELS.match(model):
        config["thinkingLevel"] = _LEVELS.get(reasoning.effort, reasoning.effort)
    elif reasoning.effort:
        config["thinkingBudget"] = _BUDGETS.get(reasoning.effort, -1)
    if reasoning.shows is not None:
        config["includeThoughts"] = reasoning.shows
    return config or None
