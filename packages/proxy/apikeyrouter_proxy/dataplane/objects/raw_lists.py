"""Lists that pass the raw way: as the provider tells them, but for what other clients have made.

A list that has nothing of others passes as it came. A page that has nothing else is followed by
the next one of the same account: clients take an empty page for the end.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import msgspec

from apikeyrouter_proxy.dataplane.objects.forwarder import CURSORS

_PAGE_TOKEN, _NEXT = "pageToken", "nextPageToken"
IsOthers = Callable[[str], bool]


class RawList:
    """A provider's list.

    Args:
        told: The whole answer, or a bare list.
        entries: What it lists.
        member: Where the answer has them.
    """

    def __init__(self, told: dict[str, object] | None, entries: list[object], member: str) -> None:
        self._told = told
        self._entries = entries
        self._member = member
        self._last = _name_of(entries[-1]) if entries else ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is listed."""
        return not self._entries

    @property
    def has_token(self) -> bool:
        """Whether a token leads to the next page."""
        return self._told is not None and bool(self._told.get(_NEXT))

    def hide(self, is_others: IsOthers) -> bool:
        """Leave out what is of others, by its id; tell whether there was anything."""
        kept = [entry for entry in self._entries if not is_others(_name_of(entry))]
        is_changed = len(kept) < len(self._entries)
        self._entries = kept
        return is_changed

    def body(self, *, is_last: bool = False) -> bytes:
        """Return what the client is told, of the last page without what leads on."""
        if self._told is None:
            return msgspec.json.encode(self._entries)
        told = {**self._told, self._member: self._entries}
        if is_last:
            told.pop(_NEXT, None)
        names = [_name_of(entry) for entry in self._entries]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return msgspec.json.encode(told | {name: ends[name] for name in ends if name in told})

    def query_on(self, query: str) -> str | None:
        """Return the query for the next page; `None` where this is the last."""
        told = self._told or {}
        pairs = parse_qsl(query, keep_blank_values=True)
        token = told.get(_NEXT)
        if isinstance(token, str) and token:
            kept = [pair for pair in pairs if pair[0] != _PAGE_TOKEN]
            return urlencode([*kept, (_PAGE_TOKEN, token)])
        if told.get("has_more") is not True or not self._last:
            return None
        # OpenAI's lists say that they are some.
        cursor = "after" if told.get("object") == "list" else "after_id"
        if any(name in CURSORS and name != cursor for name, _ in pairs):
            return None
        return urlencode([*(pair for pair in pairs if pair[0] != cursor), (cursor, self._last)])


def list_in(body: bytes, kind: str) -> RawList | None:
    """Read a list of objects of *kind*; `None` where an answer is none."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(told, list):
        return RawList(None, told, "")
    if isinstance(told, dict):
        for member in ("data", kind):
            if isinstance(entries := told.get(member), list):
                return RawList(told, entries, member)
    return None


def _name_of(entry: object) -> str:
    name = (entry.get("id") or entry.get("name")) if isinstance(entry, dict) else None
    return name.rpartition("/")[2] if isinstance(name, str) else ""
