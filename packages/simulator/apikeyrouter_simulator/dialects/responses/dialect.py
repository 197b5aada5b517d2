"""The paths of OpenAI's responses; credentials, errors and headers are OpenAI's."""

import re
from typing import Any

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects.dialect import (
    Asked,
    Desk,
    FreeCall,
    Incoming,
    Refusal,
    Whole,
)
from apikeyrouter_simulator.dialects.openai.dialect import OpenAIDialect
from apikeyrouter_simulator.dialects.responses import items, realtime
from apikeyrouter_simulator.dialects.responses.creation import Compaction, Creation
from apikeyrouter_simulator.dialects.store import Kept

_PATHS = re.compile(r"v1/responses(?:/([^/]+)(?:/(cancel|input_items))?)?")
_WORKS = ("input_tokens", "compact")


class ResponsesDialect(OpenAIDialect):
    """OpenAI's tongue, as far as responses go."""

    name = "responses"

    def knows(self, incoming: Incoming) -> bool:
        """Tell whether it has this path."""
        return bool(_PATHS.fullmatch(incoming.path)) or incoming.path == "v1/realtime"

    def read(self, incoming: Incoming) -> Asked | FreeCall | Refusal:
        """Read a request."""
        if incoming.path == "v1/realtime":
            return _realtime(incoming)
        match = _PATHS.fullmatch(incoming.path)
        name, action = (match[1], match[2]) if match else (None, None)
        if name is not None and name not in _WORKS:
            return _about(incoming, name, action)
        if incoming.method != "POST":
            return Refusal("unknown_url", f"{incoming.method} /{incoming.path}")
        request = items.read(incoming.body)
        if isinstance(request, str):
            return Refusal("bad_request", request[:300])
        if name == "compact":
            return Compaction(request, request.model)
        creation = Creation(
            request, incoming.body, request.model, request.max_output_tokens,
            streams=bool(request.stream), makes_tokens=request.generate is not False,
            session=incoming.session,
        )  # fmt: skip
        return FreeCall(lambda desk: _count(creation, desk)) if name else creation


def _realtime(incoming: Incoming) -> Asked | Refusal:
    """Read what a session asks; without a WebSocket there is none."""
    if incoming.session is None:
        return Refusal("unknown_url", f"{incoming.method} /{incoming.path}")
    asked = realtime.read(incoming.body)
    return Refusal("bad_request", asked[:300]) if isinstance(asked, str) else asked


def _about(incoming: Incoming, name: str, action: str | None) -> FreeCall | Refusal:
    """Return the call about a response that is kept."""
    does = {
        ("GET", None): _show,
        ("DELETE", None): _delete,
        ("POST", "cancel"): _cancel,
        ("GET", "input_items"): _list_input,
    }.get((incoming.method, action))
    if does is None:
        return Refusal("unknown_url", f"{incoming.method} /{incoming.path}")
    return FreeCall(lambda desk: does(name, desk))


def _count(creation: Creation, desk: Desk) -> Whole | Refusal:
    wrong = creation.check(desk)
    if wrong is not None:
        return wrong
    return _json({"object": "response.input_tokens", "input_tokens": creation.text_tokens()})


def _find(name: str, desk: Desk) -> Kept | Refusal:
    kept = desk.store.get(desk.scope, "response", name)
    return kept or Refusal("unknown_object", f"Response with id '{name}'")


def _show(name: str, desk: Desk) -> Whole | Refusal:
    kept = _find(name, desk)
    return kept if isinstance(kept, Refusal) else _json(kept.data)


def _cancel(name: str, desk: Desk) -> Whole | Refusal:
    kept = _find(name, desk)
    if isinstance(kept, Refusal):
        return kept
    if not kept.data["background"]:
        return Refusal("bad_request", "Cannot cancel a synchronous response.")
    kept.data |= {"status": "cancelled", "output": [], "usage": None}
    return _json(kept.data)


def _delete(name: str, desk: Desk) -> Whole | Refusal:
    kept = _find(name, desk)
    if isinstance(kept, Refusal):
        return kept
    for kind in ("response", "history", "input"):
        desk.store.pop(desk.scope, kind, name)
    return _json({"id": name, "object": "response", "deleted": True})


def _list_input(name: str, desk: Desk) -> Whole | Refusal:
    kept = desk.store.get(desk.scope, "input", name)
    if kept is None:
        return Refusal("unknown_object", f"Response with id '{name}'")
    given: Any = kept.data["items"]
    ids = [item["id"] for item in given] or [None]
    return _json(
        {"object": "list", "data": given, "has_more": False, "first_id": ids[0],
         "last_id": ids[-1]}
    )  # fmt: skip


def _json(data: object) -> Whole:
    return Whole(200, [asgi.JSON], msgspec.json.encode(data))
