"""Pages of Gemini's lists."""

from collections.abc import Sequence

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects.dialect import Incoming, Refusal, Whole


def page(what: str, objects: Sequence[dict[str, object]], incoming: Incoming) -> Whole | Refusal:
    """Write a page of a list; its token is where the next one begins."""
    size, token = incoming.query.get("pageSize", "50"), incoming.query.get("pageToken", "0")
    if not (size.isdecimal() and token.isdecimal()):
        return Refusal("bad_request", "pageSize and pageToken should be numbers of a list")
    begin, end = int(token), int(token) + (int(size) or 50)
    answer: dict[str, object] = {what: objects[begin:end]}
    if end < len(objects):
        answer["nextPageToken"] = str(end)
    return Whole(200, [asgi.JSON], msgspec.json.encode(answer))
