"""What one piece of a streamed Gemini answer carries."""

from typing import Any

import msgspec

from apikeyrouter.dialects.dialect import Verdict

_EMPTY: tuple[object, ...] = (None, "", [], {})
#: Says nothing though it is set.
_UNSPECIFIED = "_UNSPECIFIED"


def judge(data: bytes) -> Verdict:
    """Tell what the data of one event, or one item of an array, carries."""
    try:
        piece = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Verdict.NOTHING
    if not isinstance(piece, dict):
        return Verdict.NOTHING
    if piece.get("error") not in _EMPTY:
        return Verdict.FAILED
    feedback = piece.get("promptFeedback")
    if isinstance(feedback, dict) and is_said(feedback.get("blockReason")):
        return Verdict.CARRIES
    candidates = piece.get("candidates")
    carries = isinstance(candidates, list) and any(map(_candidate_carries, candidates))
    return Verdict.CARRIES if carries else Verdict.NOTHING


def is_said(value: object) -> bool:
    """Tell whether a reason is one; some clients want them as numbers."""
    if isinstance(value, int):
        return value > 0
    return isinstance(value, str) and bool(value) and not value.endswith(_UNSPECIFIED)


def _candidate_carries(candidate: object) -> bool:
    if not isinstance(candidate, dict):
        return False
    if is_said(candidate.get("finishReason")):
        return True
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return isinstance(parts, list) and any(map(_part_carries, parts))


def _part_carries(part: Any) -> bool:
    """Tell whether a part has more than the mark that it is a thought."""
    return isinstance(part, dict) and any(
        value not in _EMPTY for name, value in part.items() if name != "thought"
    )
