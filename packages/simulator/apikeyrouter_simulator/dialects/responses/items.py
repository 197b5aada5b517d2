"""What a request for a response says, and what is wrong with it beside what is kept.

Law: what was encrypted for one scope is not valid in another; ids are found only in the scope that
they were made in, or on the connection.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.dialect import Refusal
from apikeyrouter_simulator.dialects.store import ScopeId

Item = dict[str, Any]


class Named(msgspec.Struct):
    """A tool, or the choice of one."""

    type: str = ""
    name: str = ""


class Reasoning(msgspec.Struct):
    """How to think."""

    effort: str | None = None
    summary: str | None = None


class ResponseRequest(msgspec.Struct):
    """What of a request matters here."""

    model: str
    input: str | list[Item] = ""
    instructions: str | None = None
    tools: list[Named] = []
    tool_choice: str | Named = "auto"
    stream: bool | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    conversation: str | Item | None = None
    store: bool | None = None
    include: list[str] | None = None
    reasoning: Reasoning | None = None
    background: bool | None = None
    generate: bool | None = None
    metadata: dict[str, str] | None = None

    @property
    def keeps(self) -> bool:
        """Whether the response is to be kept, as it is if nothing is said."""
        return self.store is not False

    @property
    def conversation_id(self) -> str | None:
        """The conversation that it belongs to."""
        given = self.conversation
        return str(given.get("id", "")) if isinstance(given, dict) else given

    def items(self) -> list[Item]:
        """Return its input as items."""
        if isinstance(self.input, str):
            content = [{"type": "input_text", "text": self.input}]
            return [{"type": "message", "role": "user", "content": content}] if self.input else []
        return [{"type": "message", **item} for item in self.input]

    def thinks(self, body: bytes) -> bool:
        """Whether the answer begins with reasoning."""
        effort = self.reasoning.effort if self.reasoning else None
        return effort not in (None, "none") or wording.THINK in body

    def tools_called(self, body: bytes) -> list[str]:
        """Return the functions that the answer calls, when a user asks and may have one."""
        items = self.items()
        if self.tool_choice == "none" or not items or items[-1].get("role") != "user":
            return []
        chosen = self.tool_choice.name if isinstance(self.tool_choice, Named) else None
        names = [tool.name for tool in self.tools if tool.type == "function"]
        return wording.tools_called(names, body, chosen or None)


_decoder = msgspec.json.Decoder(ResponseRequest)


def read(body: bytes) -> ResponseRequest | str:
    """Read a request, or say what is wrong with it."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    if request.previous_response_id and request.conversation:
        return "Mutually exclusive parameters: 'previous_response_id' and 'conversation'."
    if request.background and not request.keeps:
        return "Background responses must be stored."
    return request


def text_of(item: Item) -> str:
    """Return the text of a message or of an output."""
    content = item.get("content") or item.get("output") or ""
    if isinstance(content, str):
        return content
    return " ".join(_texts(content))


def _texts(parts: object) -> Iterator[str]:
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]


def encrypted(scope: ScopeId, text: str) -> str:
    """Return what only this scope can read again."""
    return wording.signature_of(f"{scope}{text}")


#: What stands behind all that is encrypted here.
THOUGHT, COMPACTED = "thought", "compacted"


def wrong(items: Sequence[Item], before: Sequence[Item], scope: ScopeId) -> Refusal | None:
    """Say which item is not valid in this scope or without its call."""
    calls = {_call_of(item) for item in before if item.get("type") == "function_call"}
    for item in items:
        kind, call = item.get("type"), _call_of(item)
        if kind == "function_call":
            calls.add(call)
        if kind == "function_call_output" and call not in calls:
            message = f"No tool call found for function call output with call_id {call}."
            return Refusal("bad_request", message)
        sealed = item.get("encrypted_content")
        if sealed and sealed not in (encrypted(scope, THOUGHT), encrypted(scope, COMPACTED)):
            message = f"The encrypted content for item {item.get('id')} could not be verified."
            return Refusal("bad_request", message, code="invalid_encrypted_content")
    answered = {_call_of(i) for i in [*before, *items] if i.get("type") == "function_call_output"}
    for call in sorted(calls - answered):
        return Refusal("bad_request", f"No tool output found for function call {call}.")
    return None


def _call_of(item: Item) -> str:
    return str(item.get("call_id"))
