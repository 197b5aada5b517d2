"""Whole answers, read and written."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Counts,
    Finish,
    Media,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
)
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.gemini.conversations.parts import (
    call_part,
    made_up_id,
    media_part,
    member,
    read_spoken,
    thought_part,
)
from apikeyrouter.dialects.gemini.conversations.signatures import ORIGIN, wrapped
from apikeyrouter.dialects.gemini.judging import is_said
from apikeyrouter.dialects.json_values import count_in, object_in, objects_in, text_in

Json = dict[str, Any]
#: What ends an answer for what it says; a reason that is in no row is an ordinary end.
_FINISHES: Mapping[str, Finish] = {
    "MAX_TOKENS": Finish.LENGTH,
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
            "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
        ),
        Finish.CONTENT_FILTER,
    ),
}  # fmt: skip
#: The model gave up; what it said before may still be of use.
_GIVEN_UP = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "OTHER",
    }
)  # fmt: skip
_NAMES: Mapping[Finish, str] = {
    Finish.LENGTH: "MAX_TOKENS",
    Finish.CONTEXT_LENGTH: "MAX_TOKENS",
    Finish.CONTENT_FILTER: "SAFETY",
    Finish.REFUSAL: "SAFETY",
}


class SpokenReader:
    """Reads parts of one answer, whether they come at once or in pieces."""

    def __init__(self) -> None:
        self.calls = 0

    def read(self, piece: Json) -> Iterator[AnyPart]:
        """Yield the parts of a piece's first candidate."""
        response_id = text_in(member(piece, "responseId"))
        for part in objects_in(object_in(candidate_in(piece).get("content")).get("parts")):
            call = object_in(member(part, "functionCall"))
            made_up = made_up_id(response_id, self.calls, call.get("name"), call.get("args"))
            for found in read_spoken(part, made_up):
                self.calls += isinstance(found, ToolCall)
                yield found


def read_reply(body: Json) -> Reply:
    """Read a whole answer: its first candidate.

    Raises:
        BadBodyError: The model gave up before it said anything.
    """
    reader = SpokenReader()
    parts: list[AnyPart] = []
    for part in reader.read(body):
        if not parts or not grown(parts[-1], part):
            parts.append(part)
    if not parts and (reason := given_up(body)):
        raise BadBodyError(f"the model gave up its answer: {reason}")
    return Reply(
        id=text_in(member(body, "responseId")),
        model=text_in(member(body, "modelVersion")),
        parts=parts,
        finish=finish_in(body, has_calls=reader.calls > 0),
        counts=counts_in(body),
    )


def grown(last: AnyPart, part: AnyPart) -> bool:
    """Let *last* grow by *part* if they are one text or one thought; tell whether they are."""
    if isinstance(last, Text) and isinstance(part, Text):
        last.text += part.text
        return True
    if not isinstance(last, Thinking) or not isinstance(part, Thinking):
        return False
    if last.signature or last.encrypted or (last.origin, last.id) != (part.origin, part.id):
        return False
    last.text += part.text
    last.signature, last.encrypted = part.signature, part.encrypted
    return True


def candidate_in(piece: Json) -> Json:
    """Return the first candidate."""
    for candidate in objects_in(piece.get("candidates")):
        if not count_in(candidate.get("index")):
            return candidate
    return {}


def finish_in(piece: Json, *, has_calls: bool) -> Finish | None:
    """Return why an answer ended; `None` if it has not."""
    reason = member(candidate_in(piece), "finishReason")
    if is_said(reason):
        found = _FINISHES.get(str(reason), Finish.STOP)
        return Finish.TOOL_CALLS if has_calls and found is Finish.STOP else found
    feedback = object_in(member(piece, "promptFeedback"))
    return Finish.CONTENT_FILTER if is_said(member(feedback, "blockReason")) else None


def given_up(piece: Json) -> str:
    """Return for which fault of its own the model ended its answer; empty for none."""
    reason = text_in(member(candidate_in(piece), "finishReason"))
    return reason if reason in _GIVEN_UP else ""


def counts_in(piece: Json) -> Counts | None:
    """Return the tokens that a piece tells; `None` if it tells none."""
    usage = object_in(member(piece, "usageMetadata"))
    given = count_in(member(usage, "promptTokenCount"))
    given += count_in(member(usage, "toolUsePromptTokenCount"))
    thoughts = count_in(member(usage, "thoughtsTokenCount"))
    made = count_in(member(usage, "candidatesTokenCount")) + thoughts
    total = count_in(member(usage, "totalTokenCount"))
    if not (given or made or total):
        return None
    return Counts(
        input=given,
        output=made or max(0, total - given),
        cached=count_in(member(usage, "cachedContentTokenCount")),
        reasoning=thoughts,
        audio_input=_audio_in(member(usage, "promptTokensDetails")),
        audio_output=_audio_in(member(usage, "candidatesTokensDetails")),
    )


def _audio_in(details: object) -> int:
    return sum(
        count_in(member(detail, "tokenCount"))
        for detail in objects_in(details)
        if detail.get("modality") == "AUDIO"
    )


def write_reply(reply: Reply) -> bytes:
    """Write a whole answer."""
    parts = SpokenWriter().written(reply.parts)
    piece = piece_of(parts, reply.finish or Finish.STOP, reply.counts)
    return msgspec.json.encode({**piece, **names_of(reply.id, reply.model)})


class SpokenWriter:
    """Writes parts of one answer; thoughts of other dialects go along with the calls after them."""

    def __init__(self) -> None:
        self._signature = ""

    def written(self, parts: Sequence[AnyPart]) -> list[Json]:
        """Write whole parts, in their order."""
        return [part for found in parts if (part := self.part_of(found)) is not None]

    def part_of(self, part: AnyPart) -> Json | None:
        """Write one whole part; `None` for what there is no place for."""
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text else None
            case Thinking():
                signature = wrapped(part)
                self._signature = signature if part.origin != ORIGIN else ""
                return thought_part(part, signature)
            case ToolCall():
                signature, self._signature = part.signature or self._signature, ""
                call = call_part(part, with_id=True)
                return {**call, "thoughtSignature": signature} if signature else call
            case Media():
                return media_part(part)
        return None


def piece_of(parts: list[Json], finish: Finish | None, counts: Counts | None) -> Json:
    """Return a piece of an answer, or all of it."""
    candidate: Json = {"content": {"parts": parts or [{"text": ""}], "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = _NAMES.get(finish, "STOP")
    piece: Json = {"candidates": [candidate]}
    if counts is not None:
        piece["usageMetadata"] = usage_of(counts)
    return piece


def names_of(response_id: str, model: str) -> Json:
    """Return what names an answer and the model that gave it."""
    return {"modelVersion": model, "responseId": response_id or "translated"}


def usage_of(counts: Counts) -> Json:
    """Return Google's usage: what is made is told without thoughts."""
    usage: Json = {
        "promptTokenCount": counts.input,
        "candidatesTokenCount": max(0, counts.output - counts.reasoning),
        "totalTokenCount": counts.input + counts.output,
    }
    if counts.cached:
        usage["cachedContentTokenCount"] = counts.cached
    if counts.reasoning:
        usage["thoughtsTokenCount"] = counts.reasoning
    for name, audio in (("prompt", counts.audio_input), ("candidates", counts.audio_output)):
        if audio:
            usage[f"{name}TokensDetails"] = [{"modality": "AUDIO", "tokenCount": audio}]
    return usage
