"""An answer in a realtime session."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.dialect import Asked, Drawn
from apikeyrouter_simulator.dialects.responses import items
from apikeyrouter_simulator.dialects.wording import event


class RealtimeRequest(msgspec.Struct):
    """What a session knows when it is to answer."""

    model: str
    input: list[items.Item]


@dataclass(slots=True)
class RealtimeAnswer(Asked):
    """An answer in text."""

    request: RealtimeRequest
    model: str
    streams: bool = True

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone."""
        return max(1, sum(len(items.text_of(item)) for item in self.request.input) // 4)

    def whole(self, drawn: Drawn) -> bytes:
        """Write all of it at once."""
        return b"".join(self.events(drawn))

    def events(self, drawn: Drawn) -> list[bytes]:
        """Write all events."""
        events = list(self._events(drawn))
        if not drawn.finishes:
            events.pop()
        numbered = enumerate(events)
        return [event({**e, "event_id": f"event_{drawn.name}_{n}"}) for n, e in numbered]

    def error_event(self, status: int) -> bytes:
        """Write the event that says that it failed."""
        message = f"The simulated provider answers {status}."
        about = {"type": "server_error", "code": None, "message": message, "param": None}
        return event({"type": "error", "event_id": "event_error", "error": about})

    def _events(self, drawn: Drawn) -> Iterator[dict[str, Any]]:
        words = wording.words_of(drawn.made, drawn.echo)
        part = {"type": "output_text", "text": "".join(words)}
        item = {
            "id": f"item_{drawn.name}", "object": "realtime.item", "type": "message",
            "role": "assistant", "status": "completed", "content": [part],
        }  # fmt: skip
        name = f"resp_{drawn.name}"
        at = {"response_id": name, "item_id": item["id"], "output_index": 0, "content_index": 0}
        response: dict[str, Any] = {"id": name, "object": "realtime.response", "output": []}
        yield {"type": "response.created", "response": response | {"status": "in_progress"}}
        for word in words:
            yield {"type": "response.output_text.delta", **at, "delta": word}
        yield {"type": "response.output_text.done", **at, "text": part["text"]}
        usage = {
            "input_tokens": drawn.given, "output_tokens": drawn.made,
            "total_tokens": drawn.given + drawn.made,
            "input_token_details": {"text_tokens": drawn.given, "audio_tokens": 0},
            "output_token_details": {"text_tokens": drawn.made, "audio_tokens": 0},
        }  # fmt: skip
        done = response | {"status": "completed", "output": [item], "usage": usage}
        yield {"type": "response.done", "response": done}


def read(body: bytes) -> RealtimeAnswer | str:
    """Read what a session asks, or say what is wrong with it."""
    try:
        request = msgspec.json.decode(body, type=RealtimeRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    return RealtimeAnswer(request, request.model)
