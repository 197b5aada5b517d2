"""A message, whole and as the events of a stream."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.anthropic import turns
from apikeyrouter_simulator.dialects.anthropic.turns import MessageRequest
from apikeyrouter_simulator.dialects.dialect import Asked, Drawn, Prefix
from apikeyrouter_simulator.dialects.wording import event

#: Error types by status.
TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
    403: "permission_error", 404: "not_found_error", 409: "conflict_error",
    413: "request_too_large", 415: "invalid_request_error", 429: "rate_limit_error",
    500: "api_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_WORDS_OF_STATUS = {529: "Overloaded", 500: "Internal server error"}

Content = dict[str, Any]


def error(status: int, message: str = "", type_: str | None = None) -> dict[str, object]:
    """Return the body of an error, but for the id of the request."""
    usual = "invalid_request_error" if status < 500 else "api_error"
    message = message or _WORDS_OF_STATUS.get(status, f"The simulated provider answers {status}.")
    type_ = type_ or TYPES.get(status, usual)
    return {"type": "error", "error": {"type": type_, "message": message}}


@dataclass(slots=True)
class Message(Asked):
    """A message that is asked for."""

    request: MessageRequest
    body: bytes
    model: str
    cap: int | None
    streams: bool
    prefixes: list[Prefix] = field(default_factory=list)

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone: a quarter of it, and 4 for every turn."""
        letters = sum(len(text) for text in self.request.text())
        return max(1, letters // 4 + 4 * len(self.request.messages))

    def last_word(self) -> str:
        """Return the last word of a chat."""
        blocks = self.request.messages[-1].blocks()
        return wording.last_word(blocks[-1].text) if blocks else ""

    def whole(self, drawn: Drawn) -> bytes:
        """Write a plain answer."""
        content = [{**block, **rest} for block, rest in self._content(drawn)]
        ending = {"stop_reason": self._stop_reason(drawn), "stop_sequence": None}
        message = self._head(drawn) | {"content": content, **ending, "usage": usage(drawn)}
        return msgspec.json.encode(message)

    def events(self, drawn: Drawn) -> list[bytes]:
        """Write all events of a stream."""
        begun = usage(drawn) | {"output_tokens": 1}
        head = self._head(drawn) | {"content": [], "stop_reason": None, "stop_sequence": None}
        events = [_event("message_start", message=head | {"usage": begun})]
        for index, (empty, full) in enumerate(self._content(drawn)):
            events.append(_event("content_block_start", index=index, content_block=empty))
            if not index:
                events.append(_event("ping"))
            events += (
                _event("content_block_delta", index=index, delta=delta)
                for delta in self._deltas(empty, full)
            )
            events.append(_event("content_block_stop", index=index))
        if not drawn.finishes:
            return events
        delta = {"stop_reason": self._stop_reason(drawn), "stop_sequence": None}
        counts = {name: n for name, n in usage(drawn).items() if name.endswith("_tokens")}
        events.append(_event("message_delta", delta=delta, usage=counts))
        events.append(_event("message_stop"))
        return events

    def error_event(self, status: int) -> bytes:
        """Write the event of a stream that says that it failed."""
        return event(error(status), "error")

    def _head(self, drawn: Drawn) -> Content:
        return {
            "id": f"msg_{drawn.name}", "type": "message", "role": "assistant",
            "model": self.model,
        }  # fmt: skip

    def _stop_reason(self, drawn: Drawn) -> str:
        if self.request.tools_called(self.body):
            return "tool_use"
        return "max_tokens" if drawn.is_cut_short else "end_turn"

    def _content(self, drawn: Drawn) -> Iterator[tuple[Content, Content]]:
        """Yield every block as a stream begins it, and what is to be added."""
        made = drawn.made
        if self.request.thinks:
            thoughts = wording.thoughts_among(made)
            made -= thoughts
            yield {"type": "thinking", "thinking": "", "signature": ""}, self._thought(thoughts)
        tools = self.request.tools_called(self.body)
        for number, tool in enumerate(tools, 1):
            name = f"toolu_{drawn.name}_{number}"
            block = {"type": "tool_use", "id": name, "name": tool, "input": {}}
            yield block, {"input": wording.arguments_of(self.body)}
        if not tools:
            yield (
                {"type": "text", "text": ""},
                {"text": "".join(wording.words_of(made, drawn.echo))},
            )

    def _thought(self, tokens: int) -> Content:
        thinking = self.request.thinking
        if thinking is not None and thinking.display == "omitted":
            return {"thinking": "", "signature": wording.signature_of(turns.OMITTED)}
        text = wording.text_of(tokens)
        return {"thinking": text, "signature": wording.signature_of(text)}

    def _deltas(self, empty: Content, full: Content) -> Iterator[Content]:
        """Yield what is added to a block, a token at a time."""
        kind = empty["type"]
        if kind == "tool_use":
            arguments = wording.arguments_json(self.body)
            # The first piece is empty, as the real one is.
            for part in ("", arguments[:6], arguments[6:]):
                yield {"type": "input_json_delta", "partial_json": part}
        elif kind == "thinking":
            for word in _pieces(full["thinking"]):
                yield {"type": "thinking_delta", "thinking": word}
            yield {"type": "signature_delta", "signature": full["signature"]}
        else:
            for word in _pieces(full["text"]):
                yield {"type": "text_delta", "text": word}


def _pieces(text: str) -> list[str]:
    """Cut a text after its blanks."""
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:]


def usage(drawn: Drawn) -> dict[str, object]:
    """Return the usage object; what the cache had or takes is not among the input tokens."""
    return {
        "input_tokens": drawn.given - drawn.cache_read - drawn.cache_written,
        "cache_creation_input_tokens": drawn.cache_written,
        "cache_read_input_tokens": drawn.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": drawn.cache_written, "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": drawn.made,
        "service_tier": "standard",
    }  # fmt: skip


def _event(name: str, **data: object) -> bytes:
    return event({"type": name, **data}, name)
