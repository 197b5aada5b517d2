"""Messages of a WebSocket that speaks of responses: what a client wants, and what it gets."""

from typing import Any

import msgspec

from apikeyrouter.service import (
    SOCKET_BODY_BEGINS,
    Answer,
    BadBodyError,
    ToldError,
    is_clients_fault,
)
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer

#: What a message has that a request has not.
_OF_MESSAGES = frozenset({"type", "stream_id", "stream"})
_LONGEST_LANE = 128
_NO_STATUS = 500


class Wish(msgspec.Struct):
    """A message of a client.

    Attributes:
        lane: What is asked in one lane is answered in turn.
    """

    kind: str
    lane: str
    members: dict[str, Any]

    def rewritten(self) -> str:
        """Return the message, with each of its members once."""
        return msgspec.json.encode(self.members).decode()

    def body(self) -> bytes:
        """Return the request that asks for the same over HTTP.

        Raises:
            BadBodyError: It cannot be one.
        """
        rest = {name: self.members[name] for name in self.members if name not in _OF_MESSAGES}
        if not rest:
            raise BadBodyError("model is missing; name the model you want", "model")
        return SOCKET_BODY_BEGINS + msgspec.json.encode(rest)[1:]


def read_wish(text: str) -> Wish:
    """Read a message of a client.

    Raises:
        BadBodyError: It is none.
    """
    try:
        members = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadBodyError(f"the message is not valid JSON: {error}") from None
    if not isinstance(members, dict) or not isinstance(members.get("type"), str):
        raise BadBodyError("the message should be a JSON object with a type", "type")
    lane = members.get("stream_id")
    if lane is not None and not (isinstance(lane, str) and 0 < len(lane) <= _LONGEST_LANE):
        raise BadBodyError(
            f"stream_id should be text of at most {_LONGEST_LANE} characters", "stream_id"
        )
    return Wish(members["type"], lane or "", members)


def event_frame(data: bytes, lane: str) -> str:
    """Return an event of an answer as a message in its lane."""
    text = data.decode("utf-8", "replace")
    if not lane or '"stream_id"' in text[: _LONGEST_LANE * 8]:
        return text
    return f'{{"stream_id":{_quoted(lane)},' + text.removeprefix("{")


def whole_frame(body: bytes, lane: str) -> str:
    """Return a whole answer, where events were wanted, as the last event that it would have had."""
    start = b'{"type":"response.completed","sequence_number":0,"response":'
    return event_frame(start + body + b"}", lane)


def error_frame(error: ErrorAnswer, lane: str) -> str:
    """Return the message that tells *error*."""
    told = error.told
    about = {
        "message": told.message, "type": told.kind, "param": told.param, "code": told.code,
    }  # fmt: skip
    headers = {name.decode(): value.decode("latin-1") for name, value in error.headers}
    return _error_frame(told.status, about, headers, lane)


def refused_frame(answer: Answer, told: ErrorAnswer, lane: str) -> str:
    """Return the message that tells why nobody answered.

    Args:
        told: In our words, where the provider's are not for the client.
    """
    if not is_clients_fault(answer):
        return error_frame(told, lane)
    try:
        error = msgspec.json.decode(answer.body)["error"]
    except (msgspec.DecodeError, ValueError, KeyError, TypeError):
        return error_frame(told, lane)
    return _error_frame(answer.status, error if isinstance(error, dict) else {}, {}, lane)


def broken_frame(message: str, lane: str) -> str:
    """Return the message that tells that an answer broke off."""
    told = ToldError(_NO_STATUS, message, "server_error", "stream_interrupted")
    return error_frame(ErrorAnswer(told), lane)


def _error_frame(status: int, error: dict[str, Any], headers: dict[str, str], lane: str) -> str:
    frame = {"type": "error", "status": status, "error": error, "headers": headers}
    return event_frame(msgspec.json.encode(frame), lane)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
