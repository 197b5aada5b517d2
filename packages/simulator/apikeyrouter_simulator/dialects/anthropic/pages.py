"""Pages of Anthropic's lists."""

from collections.abc import Sequence

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects.dialect import Incoming, Refusal, Whole


def page(objects: Sequence[dict[str, object]], incoming: Incoming) -> Whole | Refusal:
    """Write a page of a list, as `limit`, `after_id` and `before_id` have it."""
    query = incoming.query
    limit = query.get("limit", "20")
    if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
        return Refusal("bad_request", "limit: should be from 1 to 1000")
    names = [str(entry["id"]) for entry in objects]
    after, before = query.get("after_id"), query.get("before_id")
    for name in (after, before):
        if name is not None and name not in names:
            return Refusal("bad_request", f"no such id: {name}")
    begin = names.index(after) + 1 if after else 0
    end = names.index(before) if before else len(names)
    if before:
        begin = max(begin, end - int(limit))
    shown = list(objects[begin:end])[: int(limit)]
    more = begin > 0 if before else begin + len(shown) < end
    ids = [entry["id"] for entry in shown] or [None]
    data = {"data": shown, "has_more": more, "first_id": ids[0], "last_id": ids[-1]}
    return Whole(200, [asgi.JSON], msgspec.json.encode(data))
