"""Images, speech, transcriptions and moderations: calls that draw on limits, small but real."""

import base64
from dataclasses import dataclass
from typing import Any

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.dialect import Asked, Drawn, Incoming
from apikeyrouter_simulator.dialects.multipart import parts_of

KINDS = {
    "v1/images/generations": "image",
    "v1/audio/speech": "speech",
    "v1/audio/transcriptions": "transcription",
    "v1/moderations": "moderation",
}
#: The smallest picture, of one point.
_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
#: Bytes of sound for every letter that is spoken.
_SOUND_A_LETTER = 64


class _Request(msgspec.Struct):
    model: str | None = None
    prompt: str = ""
    input: str | list[Any] = ""
    n: int | None = None


@dataclass(slots=True)
class Medium(Asked):
    """Something other than a text that is asked for, or made into one."""

    kind: str
    model: str
    text: str
    count: int
    upload: bytes
    makes_tokens: bool = False
    names_model: bool = True

    @property
    def whole_type(self) -> tuple[bytes, bytes]:
        """The content type of an answer."""
        return (b"content-type", b"audio/mpeg") if self.kind == "speech" else asgi.JSON

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone."""
        return max(1, len(self.text) // 4)

    def whole(self, drawn: Drawn) -> bytes:
        """Write the answer."""
        if self.kind == "speech":
            return b"ID3" + bytes(len(self.text) * _SOUND_A_LETTER)
        return msgspec.json.encode(self._data(drawn))

    def _data(self, drawn: Drawn) -> dict[str, Any]:
        if self.kind == "image":
            images = [{"b64_json": base64.b64encode(_PNG).decode()}] * self.count
            usage = {"input_tokens": drawn.given, "output_tokens": 0, "total_tokens": drawn.given}
            return {"created": 1760000000, "data": images, "usage": usage}
        if self.kind == "moderation":
            flagged = wording.SAFETY.decode() in self.text
            scores = {"violence": 0.9 if flagged else 0.01}
            result = {
                "flagged": flagged, "categories": {"violence": flagged},
                "category_scores": scores, "category_applied_input_types": {},
            }  # fmt: skip
            return {"id": drawn.name, "model": self.model, "results": [result] * self.count}
        seconds = -(-len(self.upload) // 16000)
        return {"text": wording.text_of(10), "usage": {"type": "duration", "seconds": seconds}}


def read(incoming: Incoming) -> Medium | str:
    """Read a request, or say what is wrong with it."""
    kind = KINDS[incoming.path]
    if kind == "transcription":
        return _read_transcription(incoming)
    try:
        request = msgspec.json.decode(incoming.body, type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    many = isinstance(request.input, list)
    text = msgspec.json.encode(request.input).decode() if many else str(request.input)
    text = request.prompt if kind == "image" else text
    if text in ("", "[]"):
        return f"Missing required parameter: '{'prompt' if kind == 'image' else 'input'}'."
    count = len(request.input) if many and kind == "moderation" else request.n or 1
    count = min(count, 10) if kind == "image" else count
    named = request.model is not None
    return Medium(kind, request.model or "default", text, count, b"", names_model=named)


def _read_transcription(incoming: Incoming) -> Medium | str:
    found = parts_of(incoming.headers.get(b"content-type", b""), incoming.body)
    parts = {part.name: part for part in found or ()}
    for name in ("file", "model"):
        if name not in parts:
            return f"Missing required parameter: '{name}'."
    return Medium("transcription", parts["model"].text, "", 1, parts["file"].content)
