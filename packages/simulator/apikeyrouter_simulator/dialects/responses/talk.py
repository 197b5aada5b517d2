"""What is said over a WebSocket: responses, and the smallest of realtime sessions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from apikeyrouter_simulator.dialects.dialect import Incoming

Frame = dict[str, Any]


@dataclass(slots=True)
class Heard:
    """What a message leads to: frames at once, and a call to be answered."""

    frames: list[Frame] = field(default_factory=list)
    call: Incoming | None = None
    stream_id: str | None = None


class Talk(ABC):
    """What is understood and remembered of one connection."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._session: dict[str, list[dict[str, Any]]] = {}

    def greeting(self) -> list[Frame]:
        """Return what is said first."""
        return []

    def hear(self, text: str | bytes) -> Heard:
        """Take a message."""
        try:
            message = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Heard([self.error(400, {"message": str(error)})])
        return self.take(message)

    @abstractmethod
    def take(self, message: Mapping[str, Any]) -> Heard:
        """Take a message that could be read."""

    def error(self, status: int, about: Mapping[str, Any]) -> Frame:
        """Return the frame that tells an error."""
        type_ = "invalid_request_error" if status < 500 else "server_error"
        error = {"type": type_, "code": None, "param": None, **about}
        return {"type": "error", "status": status, "error": error}

    def call(self, body: Mapping[str, Any]) -> Incoming:
        """Return the call that makes the answer."""
        incoming = self._incoming
        encoded = msgspec.json.encode({**body, "stream": True})
        return Incoming("POST", incoming.path, {}, incoming.headers, encoded, self._session)


class ResponsesTalk(Talk):
    """Responses: every message makes one; what came before is remembered, kept or not."""

    def take(self, message: Mapping[str, Any]) -> Heard:
        """Make a response."""
        rest = {**message}
        kind, stream_id = rest.pop("type", None), rest.pop("stream_id", None)
        stream_id = str(stream_id) if stream_id is not None else None
        if kind != "response.create":
            wrong = self.error(400, {"message": f"unknown type of message: {kind}"})
            return Heard([wrong], stream_id=stream_id)
        if rest.get("background"):
            wrong = self.error(400, {"message": "background is not supported here"})
            return Heard([wrong], stream_id=stream_id)
        return Heard(call=self.call(rest), stream_id=stream_id)


class RealtimeTalk(Talk):
    """A session that keeps items and answers in text."""

    def __init__(self, incoming: Incoming) -> None:
        super().__init__(incoming)
        self._numbers = count(1)
        model = incoming.query.get("model", "")
        self._settings: Frame = {
            "id": "sess_1", "object": "realtime.session", "type": "realtime", "model": model,
            "output_modalities": ["text"],
        }  # fmt: skip
        self._items: list[Frame] = []

    def greeting(self) -> list[Frame]:
        """Tell the session."""
        return [self._event("session.created", session=self._settings)]

    def take(self, message: Mapping[str, Any]) -> Heard:
        """Change the session, keep an item, or answer."""
        kind = message.get("type")
        if kind == "session.update":
            changes = message.get("session")
            self._settings |= changes if isinstance(changes, dict) else {}
            return Heard([self._event("session.updated", session=self._settings)])
        if kind == "conversation.item.create":
            given = message.get("item")
            item = {"id": f"item_{next(self._numbers)}", "object": "realtime.item"}
            item |= given if isinstance(given, dict) else {}
            self._items.append(item)
            names = ("conversation.item.added", "conversation.item.done")
            return Heard([self._event(name, item=item) for name in names])
        if kind == "response.create":
            body = {"model": self._settings["model"], "input": self._items}
            return Heard(call=self.call(body))
        if str(kind).startswith("input_audio_buffer."):
            return Heard()
        return Heard([self.error(400, {"message": f"unknown type of message: {kind}"})])

    def error(self, status: int, about: Mapping[str, Any]) -> Frame:
        """Return the frame that tells an error."""
        frame = super().error(status, about)
        return self._event("error", error=frame["error"])

    def _event(self, kind: str, **more: Any) -> Frame:
        return {"type": kind, "event_id": f"event_{next(self._numbers)}", **more}


#: By path, what is talked there.
TALKS: Mapping[str, type[Talk]] = {"v1/responses": ResponsesTalk, "v1/realtime": RealtimeTalk}
