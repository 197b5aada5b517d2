"""What a request for content says, and what is wrong with it."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from apikeyrouter_simulator.dialects import wording


class Part(msgspec.Struct, rename="camel"):
    """A part of a content."""

    text: str = ""
    thought: bool = False
    thought_signature: str | None = None
    function_call: dict[str, Any] | None = None
    function_response: dict[str, Any] | None = None
    inline_data: dict[str, Any] | None = None
    file_data: dict[str, Any] | None = None


class Content(msgspec.Struct):
    """What one side said."""

    parts: list[Part] = []
    role: str = "user"


class Function(msgspec.Struct):
    """A tool's declaration."""

    name: str


class Tool(msgspec.Struct, rename="camel"):
    """Tools on offer."""

    function_declarations: list[Function] = []


class ThinkingConfig(msgspec.Struct, rename="camel"):
    """Whether to think, and to show it."""

    include_thoughts: bool = False
    thinking_budget: int | None = None
    thinking_level: str | None = None


class GenerationConfig(msgspec.Struct, rename="camel"):
    """How to answer."""

    max_output_tokens: int | None = None
    thinking_config: ThinkingConfig | None = None
    candidate_count: int | None = None


class CallingConfig(msgspec.Struct, rename="camel"):
    """Which functions may be called."""

    mode: str = "AUTO"
    allowed_function_names: list[str] = []


class ToolConfig(msgspec.Struct, rename="camel"):
    """How tools are used."""

    function_calling_config: CallingConfig = msgspec.field(default_factory=CallingConfig)


class ContentRequest(msgspec.Struct, rename="camel"):
    """What of a request matters here."""

    contents: list[Content]
    system_instruction: Content | None = None
    tools: list[Tool] = []
    tool_config: ToolConfig = msgspec.field(default_factory=ToolConfig)
    generation_config: GenerationConfig = msgspec.field(default_factory=GenerationConfig)

    def text(self) -> Iterator[str]:
        """Yield every text in it."""
        for content in [self.system_instruction, *self.contents]:
            for part in content.parts if content else ():
                yield part.text

    @property
    def thinks(self) -> bool:
        """Whether thoughts are wanted."""
        config = self.generation_config.thinking_config
        return config is not None and config.thinking_budget != 0

    @property
    def shows_thoughts(self) -> bool:
        """Whether thoughts are to be shown."""
        config = self.generation_config.thinking_config
        return config is not None and config.include_thoughts

    def tools_called(self, body: bytes) -> list[str]:
        """Return the functions that the answer calls, when a user asks and may have one."""
        calling = self.tool_config.function_calling_config
        last = self.contents[-1]
        if calling.mode == "NONE" or last.role == "model":
            return []
        if any(part.function_response is not None for part in last.parts):
            return []
        names = [f.name for tool in self.tools for f in tool.function_declarations]
        allowed = [name for name in names if name in calling.allowed_function_names]
        return wording.tools_called(allowed or names, body)


_decoder = msgspec.json.Decoder(ContentRequest)
_STRUCTS = (
    Part, Tool, ThinkingConfig, GenerationConfig, CallingConfig, ToolConfig, ContentRequest,
)  # fmt: skip
#: Their fields as they may be written too, before a colon.
_SNAKES = re.compile(
    b'"(%s)"\\s*:'
    % b"|".join(n.encode() for s in _STRUCTS for n in s.__struct_fields__ if "_" in n)
)
#: What clients say that have no signature of a call.
_NO_SIGNATURE = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")


def read(body: bytes) -> ContentRequest | str:
    """Read a request, or say what is wrong with it."""
    try:
        request = _decoder.decode(camel(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"Invalid JSON payload received. {error}"
    return _wrong(request) or request


def _wrong(request: ContentRequest) -> str | None:
    if not request.contents:
        return "* GenerateContentRequest.contents: contents is not specified"
    calls = 0
    for number, content in enumerate(request.contents):
        if content.role not in ("user", "model", "function", ""):
            return "Please use a valid role: user, model."
        if not content.parts:
            return f"* GenerateContentRequest.contents[{number}].parts: should not be empty"
        answered = sum(part.function_response is not None for part in content.parts)
        if answered != calls:
            return (
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn."
            )
        calls = sum(part.function_call is not None for part in content.parts)
        for part in content.parts:
            if part.thought_signature is not None and not is_ours(part.thought_signature):
                return "Thought signature is not valid."
    return None


def camel(body: bytes) -> bytes:
    """Write the fields that matter as they are usually written; Google takes either way."""
    return _SNAKES.sub(_to_camel, body) if b"_" in body else body


def _to_camel(match: re.Match[bytes]) -> bytes:
    first, *rest = match[1].split(b"_")
    return b'"' + first + b"".join(word.title() for word in rest) + b'":'


def is_ours(signature: str) -> bool:
    """Tell whether a signature is one that was given, or says that there is none."""
    return signature in _NO_SIGNATURE or signature == wording.signature_of("thought")
