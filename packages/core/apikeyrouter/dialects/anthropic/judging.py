"""What one event of a streamed message carries."""

from typing import Any

import msgspec

from apikeyrouter.dialects.dialect import Verdict

_EMPTY: tuple[object, ...] = (None, "", [], {})
#: Kinds of blocks that begin empty and are filled by what follows.
_FILLED_LATER = frozenset(("text", "thinking"))


def judge(data: bytes) -> Verdict:
    """Tell what the data of one event of a message carries."""
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Verdict.NOTHING
    if not isinstance(event, dict):
        return Verdict.NOTHING
    kind = event.get("type")
    if kind == "error" or event.get("error") not in _EMPTY:
        return Verdict.FAILED
    return Verdict.CARRIES if _carries(kind, event) else Verdict.NOTHING


def _carries(kind: object, event: dict[str, Any]) -> bool:
    if kind == "content_block_start":
        return _block_carries(event.get("content_block"))
    if kind == "content_block_delta":
        return _has_more_than_type(event.get("delta"))
    if kind == "message_delta":
        delta = event.get("delta")
        return isinstance(delta, dict) and bool(delta.get("stop_reason"))
    return kind == "message_stop"


def _block_carries(block: object) -> bool:
    """Tell whether a block that begins says something: a tool's name does, empty text does not."""
    if not isinstance(block, dict):
        return False
    return block.get("type") not in _FILLED_LATER or _has_more_than_type(block)


def _has_more_than_type(found: object) -> bool:
    return isinstance(found, dict) and any(
        value not in _EMPTY for name, value in found.items() if name != "type"
    )
