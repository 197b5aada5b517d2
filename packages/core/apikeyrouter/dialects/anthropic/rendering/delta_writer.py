"""Deltas as the stream of a message.

Its blocks come one after the other: what grows beside another part waits for its turn.
"""

from typing import Any

import msgspec

from apikeyrouter.dialects.anthropic.errors import status_of, type_of
from apikeyrouter.dialects.anthropic.rendering.blocks import block_of, id_of, thinking_block
from apikeyrouter.dialects.anthropic.rendering.replies import head_of, reason_of, usage_of
from apikeyrouter.dialects.anthropic.rendering.signatures import is_own, packed, packed_call
from apikeyrouter.dialects.conversation import (
    AnyPart,
    Broken,
    Conversation,
    Counted,
    Counts,
    Delta,
    Finish,
    Finished,
    PartBegan,
    PartEnded,
    PartGrew,
    Started,
    Thinking,
    ToolCall,
)
from apikeyrouter.domain.token_estimate import estimate_tokens


class _Waiting:
    """A part that has begun, and what of it was not written yet."""

    __slots__ = ("grown", "has_begun", "is_ended", "part")

    def __init__(self, part: AnyPart) -> None:
        self.part = part
        self.grown: list[str] = []
        self.has_begun = False
        self.is_ended = False


class MessageDeltaWriter:
    """Turns deltas into the events of a message.

    Args:
        conversation: What is answered; its size is told until the provider counts it.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._is_started = False
        self._counts = Counts()
        self._tier = ""
        self._end = Finished(Finish.STOP)
        self._has_calls = False
        self._is_broken = False
        #: Parts in their order; the first one is written.
        self._waiting: dict[int, _Waiting] = {}
        self._blocks = 0

    def feed(self, delta: Delta) -> bytes:
        """Return the events that *delta* makes."""
        match delta:
            case Started():
                return self._start(delta)
            case PartBegan():
                return self._opened() + self._begin(delta)
            case PartGrew():
                return self._grow(delta)
            case PartEnded():
                if (waiting := self._waiting.get(delta.index)) is not None:
                    waiting.is_ended = True
                return self._written()
            case Finished():
                self._end = delta
            case Counted():
                self._counts, self._tier = delta.counts, delta.tier
            case Broken():
                self._is_broken = True
                return _error_event(delta)
        return b""

    def finish(self) -> bytes:
        """Return what ends the stream."""
        if self._is_broken:
            return b""
        for waiting in self._waiting.values():
            waiting.is_ended = True
        rest = self._opened() + self._written()
        end = {
            "stop_reason": reason_of(self._end.finish, calls=self._has_calls),
            "stop_sequence": self._end.stop_sequence,
        }
        usage = usage_of(self._counts, self._tier)
        return rest + _event("message_delta", delta=end, usage=usage) + _event("message_stop")

    def _start(self, delta: Started) -> bytes:
        self._is_started = True
        self._counts = delta.counts or self._estimated()
        head = head_of(delta.id, delta.model or self._conversation.model)
        message = {
            **head, "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": usage_of(self._counts),
        }  # fmt: skip
        return _event("message_start", message=message)

    def _opened(self) -> bytes:
        return b"" if self._is_started else self._start(Started())

    def _estimated(self) -> Counts:
        """Guess the input: agents show it from the beginning on."""
        said = self._conversation
        return Counts(input=estimate_tokens(msgspec.json.encode([said.system, said.turns])))

    def _begin(self, delta: PartBegan) -> bytes:
        part = delta.part
        self._has_calls = self._has_calls or isinstance(part, ToolCall)
        waiting = self._waiting[delta.index] = _Waiting(part)
        text = part.arguments if isinstance(part, ToolCall) else getattr(part, "text", "")
        if text:
            waiting.grown.append(text)
        return self._written()

    def _grow(self, delta: PartGrew) -> bytes:
        waiting = self._waiting.get(delta.index)
        if waiting is None:
            return b""
        if isinstance(waiting.part, Thinking):
            waiting.part = msgspec.structs.replace(
                waiting.part,
                signature=waiting.part.signature + delta.signature,
                encrypted=waiting.part.encrypted + delta.encrypted,
            )
        if delta.text:
            waiting.grown.append(delta.text)
        return self._written()

    def _written(self) -> bytes:
        """Write what can be written: the first part, and the next ones once it has ended."""
        events = []
        while self._waiting:
            index, waiting = next(iter(self._waiting.items()))
            events.append(self._write(waiting))
            if not waiting.is_ended:
                break
            events.append(self._close(waiting))
            del self._waiting[index]
        return b"".join(events)

    def _write(self, waiting: _Waiting) -> bytes:
        part = waiting.part
        # Of a thought it is not known which kind of block it is before it has text.
        if isinstance(part, Thinking) and not waiting.grown:
            return b""
        events = [] if waiting.has_begun else [self._open(waiting)]
        name, kind = _GROWING.get(type(part), ("text", "text_delta"))
        events += [self._delta({"type": kind, name: text}) for text in waiting.grown]
        waiting.grown.clear()
        return b"".join(events)

    def _open(self, waiting: _Waiting) -> bytes:
        waiting.has_begun = True
        part = waiting.part
        if isinstance(part, Thinking):
            return self._block(thinking_block("", ""))
        if not isinstance(part, ToolCall):
            return self._block({"type": "text", "text": ""})
        carrier = b""
        if part.signature:
            carrier = self._block(thinking_block("", "")) + self._signed(packed_call(part))
        block = {"type": "tool_use", "id": id_of(part.id), "name": part.name, "input": {}}
        return carrier + self._block(block)

    def _close(self, waiting: _Waiting) -> bytes:
        part = waiting.part
        if not isinstance(part, Thinking):
            return self._stop()
        if not waiting.has_begun and is_own(part) and part.encrypted:
            block = block_of(part, replies=True)
            return self._block(block or {}) + self._stop()
        signature = packed(part)
        if waiting.has_begun:
            return self._signed(signature) if signature else self._stop()
        return self._block(thinking_block("", "")) + self._signed(signature) if signature else b""

    def _signed(self, signature: str) -> bytes:
        return self._delta({"type": "signature_delta", "signature": signature}) + self._stop()

    def _block(self, block: dict[str, Any]) -> bytes:
        return _event("content_block_start", index=self._blocks, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._blocks, delta=delta)

    def _stop(self) -> bytes:
        self._blocks += 1
        return _event("content_block_stop", index=self._blocks - 1)


#: Where the text of a part grows, and how that is called.
_GROWING: dict[type[AnyPart], tuple[str, str]] = {
    ToolCall: ("partial_json", "input_json_delta"),
    Thinking: ("thinking", "thinking_delta"),
}


def _event(kind: str, **data: Any) -> bytes:
    encoded = msgspec.json.encode({"type": kind, **data})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encoded)


def _error_event(broken: Broken) -> bytes:
    return _event(
        "error", error={"type": type_of(status_of(broken.status)), "message": broken.message}
    )
