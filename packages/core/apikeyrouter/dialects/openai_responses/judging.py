"""What one event of a streamed response carries."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apikeyrouter.dialects.dialect import Verdict

_EMPTY: tuple[object, ...] = (None, "", [], {}, False)
#: They say that something is under way.
_BARE = frozenset(("response.created", "response.in_progress", "response.queued", "keepalive"))
#: Type of the event that begins something -> its member that may be empty yet.
_BEGINNINGS: Mapping[str, str] = {
    "response.output_item.added": "item",
    "response.content_part.added": "part",
    "response.reasoning_summary_part.added": "part",
}
_BEGUN = frozenset(("message", "reasoning"))
_CONTENTS = ("text", "refusal", "content", "summary", "transcript")


def judge(data: bytes) -> Verdict:
    """Tell what the data of one event carries."""
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Verdict.NOTHING
    if not isinstance(event, dict):
        return Verdict.NOTHING
    kind = event.get("type")
    if kind in ("error", "response.failed") or event.get("error") not in _EMPTY:
        return Verdict.FAILED
    if not isinstance(kind, str) or kind in _BARE:
        return Verdict.NOTHING
    begun = event.get(_BEGINNINGS.get(kind, ""))
    return Verdict.NOTHING if _is_empty(begun) else Verdict.CARRIES


def _is_empty(begun: Any) -> bool:
    """Tell whether an item or a part has begun that has nothing in it yet."""
    if not isinstance(begun, dict):
        return False
    # An item of any other kind is a call: its name is something.
    if "content" in begun or begun.get("type") in _BEGUN or "id" not in begun:
        return all(begun.get(name) in _EMPTY for name in _CONTENTS)
    return False
