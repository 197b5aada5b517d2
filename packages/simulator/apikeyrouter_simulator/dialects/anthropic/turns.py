"""What a request for a message says, and what is wrong with it."""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.dialect import Prefix


class Block(msgspec.Struct):
    """What of a block of content matters here."""

    type: str
    text: str = ""
    id: str = ""
    tool_use_id: str = ""
    thinking: str = ""
    signature: str = ""


class Turn(msgspec.Struct):
    """What one side said."""

    role: Literal["user", "assistant"]
    content: str | list[msgspec.Raw]

    def blocks(self) -> list[Block]:
        """Return the blocks of its content."""
        if isinstance(self.content, str):
            return [Block("text", self.content)]
        return [msgspec.json.decode(raw, type=Block) for raw in self.content]


class Named(msgspec.Struct):
    """A tool, or the choice of one."""

    name: str = ""
    type: str = ""


class Thinking(msgspec.Struct):
    """Whether to think."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None
    display: str | None = None


class MessageRequest(msgspec.Struct):
    """What of a request matters here."""

    model: str
    messages: list[Turn]
    max_tokens: int | None = None
    system: str | list[msgspec.Raw] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: Named | None = None
    thinking: Thinking | None = None
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    def __post_init__(self) -> None:
        """Refuse tools and texts that are none, though they are kept as they were written."""
        try:
            for tool in self.tools or ():
                msgspec.json.decode(tool, type=Named)
            for block in self.system if isinstance(self.system, list) else ():
                msgspec.json.decode(block, type=Block)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None

    @property
    def thinks(self) -> bool:
        """Whether thoughts are wanted."""
        return self.thinking is not None and self.thinking.type != "disabled"

    def text(self) -> Iterator[str]:
        """Yield every text in it."""
        if isinstance(self.system, str):
            yield self.system
        for raw in self.system if isinstance(self.system, list) else ():
            yield msgspec.json.decode(raw, type=Block).text
        for turn in self.messages:
            for block in turn.blocks():
                yield block.text

    def tools_called(self, body: bytes) -> list[str]:
        """Return the tools that the answer calls, when a user asks and may have one."""
        chosen = self.tool_choice or Named(type="auto")
        if not self.tools or chosen.type == "none" or self.messages[-1].role != "user":
            return []
        if any(block.type == "tool_result" for block in self.messages[-1].blocks()):
            return []
        names = [msgspec.json.decode(tool, type=Named).name for tool in self.tools]
        return wording.tools_called(names, body, chosen.name or None)


_decoder = msgspec.json.Decoder(MessageRequest)


def read(body: bytes, version: str, *, counts_only: bool = False) -> MessageRequest | str:
    """Read a request, or say what is wrong with it."""
    try:
        request = _decoder.decode(body)
        return _wrong(request, version, counts_only=counts_only) or request
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)


def _wrong(request: MessageRequest, version: str, *, counts_only: bool) -> str | None:
    if not request.messages:
        return "messages: at least one message is required"
    if not counts_only and request.max_tokens is None:
        return "max_tokens: Field required"
    if not counts_only and request.max_tokens is not None and request.max_tokens < 1:
        return "max_tokens: Input should be greater than or equal to 1"
    for field in ("temperature", "top_p", "top_k"):
        if version >= "2026-10-21" and getattr(request, field) is not None:
            return f"{field}: not supported in version {version}"
    return _wrong_thinking(request) or _wrong_tools(request) or _wrong_thoughts(request)


def _wrong_thinking(request: MessageRequest) -> str | None:
    thinking = request.thinking
    if thinking is None or thinking.type != "enabled":
        return None
    if thinking.budget_tokens is None:
        return "thinking.enabled.budget_tokens: Field required"
    if thinking.budget_tokens < 1024:
        return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
    if request.max_tokens is not None and request.max_tokens <= thinking.budget_tokens:
        return "`max_tokens` must be greater than `thinking.budget_tokens`"
    return None


def _wrong_tools(request: MessageRequest) -> str | None:
    """Say which use of a tool has no result in the next turn, or which result has no use."""
    used: set[str] = set()
    for number, turn in enumerate(request.messages):
        blocks = turn.blocks()
        results = {block.tool_use_id for block in blocks if block.type == "tool_result"}
        if used - results:
            return (
                f"messages.{number}: `tool_use` ids without `tool_result` blocks immediately "
                f"after: {', '.join(sorted(used - results))}"
            )
        if results - used:
            return (
                f"messages.{number}: unexpected `tool_use_id` in `tool_result` blocks: "
                f"{', '.join(sorted(results - used))}"
            )
        used = {block.id for block in blocks if block.type == "tool_use"}
    return None


def _wrong_thoughts(request: MessageRequest) -> str | None:
    for number, turn in enumerate(request.messages):
        for at, block in enumerate(turn.blocks()):
            if block.type == "thinking" and not is_ours(block):
                return f"messages.{number}.content.{at}: Invalid `signature` in `thinking` block"
    return None


def is_ours(block: Block) -> bool:
    """Tell whether a thought is one that was given before, unchanged or left out."""
    return block.signature in (wording.signature_of(block.thinking), wording.signature_of(OMITTED))


#: What a thought's signature is of if its text is not shown.
OMITTED = "\0omitted"


def prefixes(request: MessageRequest) -> list[Prefix]:
    """Return the beginnings of a request that the cache may know, up to the last mark."""
    found: list[Prefix] = []
    digest, size = hashlib.sha256(), 0
    for part in _parts(request):
        is_marked = part.pop("cache_control", None) is not None
        written = msgspec.json.encode(part)
        digest.update(written)
        size += len(written)
        found.append(Prefix(digest.hexdigest(), size // 4, is_marked))
    while found and not found[-1].is_marked:
        found.pop()
    return found


def _parts(request: MessageRequest) -> Iterator[dict[str, Any]]:
    """Yield tools, system and messages, in the order in which they are cached."""
    raws = list(request.tools or ())
    if isinstance(request.system, list):
        raws += request.system
    elif request.system:
        yield {"text": request.system}
    for raw in raws:
        yield msgspec.json.decode(raw, type=dict[str, Any])
    for turn in request.messages:
        if isinstance(turn.content, str):
            yield {"role": turn.role, "type": "text", "text": turn.content}
            continue
        for raw in turn.content:
            yield {"role": turn.role, **msgspec.json.decode(raw, type=dict[str, Any])}
