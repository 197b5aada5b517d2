"""Generated content, whole and streamed."""

from dataclasses import dataclass
from typing import Any

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.dialect import Asked, Drawn
from apikeyrouter_simulator.dialects.gemini.contents import ContentRequest
from apikeyrouter_simulator.dialects.gemini.errors import status_error

Json = dict[str, Any]


@dataclass(slots=True)
class Generation(Asked):
    """Content that is asked for.

    Attributes:
        is_sse: Whether a stream is one of events; else it is a list that grows.
    """

    request: ContentRequest
    body: bytes
    model: str
    cap: int | None
    streams: bool
    is_sse: bool = True

    @property
    def stream_type(self) -> tuple[bytes, bytes]:
        """The content type of a stream."""
        return (b"content-type", b"text/event-stream") if self.is_sse else asgi.JSON

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone."""
        letters = sum(len(text) for text in self.request.text())
        return max(1, letters // 4 + len(self.request.contents))

    def last_word(self) -> str:
        """Return the last word of a chat."""
        parts = self.request.contents[-1].parts
        return wording.last_word(parts[-1].text) if parts else ""

    @property
    def _is_blocked(self) -> bool:
        return wording.BLOCK in self.body

    def whole(self, drawn: Drawn) -> bytes:
        """Write a plain answer."""
        if self._is_blocked:
            return msgspec.json.encode(self._blocked(drawn))
        thoughts = self._thoughts(drawn)
        parts = self._thought_parts(thoughts)
        calls = self._call_parts(drawn)
        text = "".join(wording.words_of(drawn.made - thoughts, drawn.echo))
        parts += calls or [{"text": text}]
        usage = self._usage(drawn, thoughts, drawn.made - thoughts)
        return msgspec.json.encode(self._chunk(drawn, parts, usage, self._finish(drawn)))

    def events(self, drawn: Drawn) -> list[bytes]:
        """Write all pieces of a stream."""
        chunks = [self._blocked(drawn)] if self._is_blocked else self._chunks(drawn)
        if self.is_sse:
            return [b"data: " + msgspec.json.encode(chunk) + b"\r\n\r\n" for chunk in chunks]
        pieces = [b",\r\n" + msgspec.json.encode(chunk) for chunk in chunks]
        pieces[0] = b"[" + pieces[0][3:]
        return [*pieces, b"]"] if drawn.finishes else pieces

    def error_event(self, status: int) -> bytes:
        """Write the piece of a stream that says that it failed."""
        said = msgspec.json.encode(status_error(status))
        return b"data: " + said + b"\r\n\r\n" if self.is_sse else b",\r\n" + said + b"]"

    def _chunks(self, drawn: Drawn) -> list[Json]:
        """Return the pieces of a stream: thoughts, then calls at once or text by token."""
        thoughts, chunks = self._thoughts(drawn), list[Json]()
        begun = self._usage(drawn, thoughts, 0)
        chunks += [self._chunk(drawn, [part], begun) for part in self._thought_parts(thoughts)]
        calls = self._call_parts(drawn)
        made = drawn.made - thoughts
        if calls:
            chunks.append(self._chunk(drawn, calls, self._usage(drawn, thoughts, made)))
        for number, word in enumerate(wording.words_of(made, drawn.echo) if not calls else (), 1):
            usage = self._usage(drawn, thoughts, min(number, made))
            chunks.append(self._chunk(drawn, [{"text": word}], usage))
        if not chunks:
            chunks.append(self._chunk(drawn, [{"text": ""}], self._usage(drawn, thoughts, made)))
        if drawn.finishes:
            chunks[-1]["candidates"][0]["finishReason"] = self._finish(drawn)
        return chunks

    def _chunk(self, drawn: Drawn, parts: list[Json], usage: Json, finish: str = "") -> Json:
        candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        return {"candidates": [candidate], **self._tail(drawn, usage)}

    def _blocked(self, drawn: Drawn) -> Json:
        usage = {"promptTokenCount": drawn.given, "totalTokenCount": drawn.given}
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **self._tail(drawn, usage)}

    def _tail(self, drawn: Drawn, usage: Json) -> Json:
        return {"usageMetadata": usage, "modelVersion": self.model, "responseId": drawn.name}

    def _finish(self, drawn: Drawn) -> str:
        if wording.SAFETY in self.body:
            return "SAFETY"
        cut = drawn.is_cut_short and not self.request.tools_called(self.body)
        return "MAX_TOKENS" if cut else "STOP"

    def _thoughts(self, drawn: Drawn) -> int:
        thinks = self.request.thinks or wording.THINK in self.body
        return wording.thoughts_among(drawn.made) if thinks else 0

    def _thought_parts(self, thoughts: int) -> list[Json]:
        if not thoughts or not self.request.shows_thoughts:
            return []
        return [{"text": wording.text_of(thoughts), "thought": True}]

    def _call_parts(self, drawn: Drawn) -> list[Json]:
        """Return the parts that call functions; the first one bears the signature of a thought."""
        parts: list[Json] = []
        for number, name in enumerate(self.request.tools_called(self.body), 1):
            arguments = wording.arguments_of(self.body)
            called = {"id": f"{drawn.name}-{number}", "name": name, "args": arguments}
            parts.append({"functionCall": called})
        if parts and self._thoughts(drawn):
            parts[0]["thoughtSignature"] = wording.signature_of("thought")
        return parts

    def _usage(self, drawn: Drawn, thoughts: int, made: int) -> Json:
        """Return usage so far: what is made is without thoughts, the prompt with the cached."""
        usage: Json = {
            "promptTokenCount": drawn.given,
            "candidatesTokenCount": made,
            "totalTokenCount": drawn.given + thoughts + made,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": drawn.given}],
        }
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
        return usage


class EmbedPart(msgspec.Struct):
    """A part that is to be embedded."""

    text: str = ""


class EmbedContent(msgspec.Struct):
    """A content that is to be embedded."""

    parts: list[EmbedPart]


class EmbedRequest(msgspec.Struct):
    """A request for one vector."""

    content: EmbedContent


class BatchRequest(msgspec.Struct):
    """A request for many."""

    requests: list[EmbedRequest]


@dataclass(slots=True)
class Embedding(Asked):
    """Vectors that are asked for."""

    requests: list[EmbedRequest]
    model: str
    is_batch: bool
    makes_tokens: bool = False

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone."""
        return max(1, sum(len(p.text) for r in self.requests for p in r.content.parts) // 4)

    def whole(self, drawn: Drawn) -> bytes:  # noqa: ARG002 - others need it
        """Write the vectors."""
        vectors = [{"values": [0.1, -0.2, 0.3, 0.4]} for _ in self.requests]
        if self.is_batch:
            return msgspec.json.encode({"embeddings": vectors})
        return msgspec.json.encode({"embedding": vectors[0]})


def read_embedding(body: bytes, model: str, *, is_batch: bool) -> Embedding | str:
    """Read a request for vectors, or say what is wrong with it."""
    try:
        if is_batch:
            requests = msgspec.json.decode(body, type=BatchRequest).requests
        else:
            requests = [msgspec.json.decode(body, type=EmbedRequest)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"Invalid JSON payload received. {error}"
    return Embedding(requests, model, is_batch)
