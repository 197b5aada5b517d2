"""What clients keep with Anthropic: batches of messages, and files."""

import re
from collections.abc import Callable, Mapping

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects.anthropic import turns
from apikeyrouter_simulator.dialects.anthropic.messages import Message, error
from apikeyrouter_simulator.dialects.anthropic.pages import page
from apikeyrouter_simulator.dialects.dialect import Drawn, FreeCall, Incoming, Refusal, Whole
from apikeyrouter_simulator.dialects.store import Kept
from apikeyrouter_simulator.dialects.wish import Json, Wish

_PATH = re.compile(r"v1/(messages/batches|files)(?:/([^/]+))?(?:/(results|cancel|content))?")
_CREATED, _EXPIRES = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
_LINES = (b"content-type", b"application/x-jsonl")
#: Tokens of a message of a batch.
_MADE = 20


def knows(path: str) -> bool:
    """Tell whether a path is of an object."""
    return _PATH.fullmatch(path) is not None


def read(incoming: Incoming) -> FreeCall | Refusal:
    """Find out what is to be done."""
    match = _PATH.fullmatch(incoming.path)
    kind, name, deed = match.groups() if match else ("", None, None)
    does = _DEEDS.get((incoming.method, kind, name is not None, deed))
    if does is None:
        return Refusal("unknown_url", f"{incoming.method} /{incoming.path}")
    return FreeCall(lambda desk: does(Wish(incoming, desk, kind, name or "")))


def _answer(data: object) -> Whole:
    return Whole(200, [asgi.JSON], msgspec.json.encode(data))


def _find(wish: Wish) -> Kept | Refusal:
    return wish.find(wish.kind, wish.name) or Refusal("unknown_object", wish.name)


def _list(wish: Wish) -> Whole | Refusal:
    return page([kept.data for kept in wish.all()][::-1], wish.incoming)


def _show(wish: Wish) -> Whole | Refusal:
    kept = _find(wish)
    return kept if isinstance(kept, Refusal) else _answer(kept.data)


def _make_file(wish: Wish) -> Whole | Refusal:
    file = wish.part("file")
    if file is None:
        return Refusal("bad_request", "file: Field required")
    data: Json = {
        "id": f"file_{wish.desk.name}", "type": "file", "filename": file.filename or "file",
        "mime_type": file.type, "size_bytes": len(file.content), "created_at": _CREATED,
        "downloadable": True,
    }  # fmt: skip
    return _answer(wish.keep("files", data, file.content).data)


def _content(wish: Wish) -> Whole | Refusal:
    kept = _find(wish)
    if isinstance(kept, Refusal):
        return kept
    kind = (b"content-type", str(kept.data["mime_type"]).encode("latin-1", "replace"))
    return Whole(200, [kind], kept.content)


def _delete(wish: Wish) -> Whole | Refusal:
    kept = wish.desk.store.pop(wish.desk.scope, wish.kind, wish.name)
    if kept is None:
        return Refusal("unknown_object", wish.name)
    kind = "file_deleted" if wish.kind == "files" else "message_batch_deleted"
    return _answer({"id": wish.name, "type": kind})


def _make_batch(wish: Wish) -> Whole | Refusal:
    asked = wish.json().get("requests")
    if not isinstance(asked, list) or not asked:
        return Refusal("bad_request", "requests: at least one is required")
    data: Json = {
        "id": f"msgbatch_{wish.desk.name}", "type": "message_batch", "created_at": _CREATED,
        "expires_at": _EXPIRES, "ended_at": None, "archived_at": None,
        "cancel_initiated_at": None, "processing_status": "in_progress", "results_url": None,
        "request_counts": _counts(processing=len(asked)),
    }  # fmt: skip
    return _answer(wish.keep(wish.kind, data, msgspec.json.encode(asked)).data)


def _counts(**more: int) -> dict[str, int]:
    return dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0) | more


def _show_batch(wish: Wish) -> Whole | Refusal:
    """Show a batch; one that is under way is done when it is looked at."""
    kept = _find(wish)
    if isinstance(kept, Refusal):
        return kept
    if kept.data["processing_status"] == "in_progress":
        results = [_result(wish, raw) for raw in msgspec.json.decode(kept.content)]
        kinds = [result["result"]["type"] for result in results]
        names = ("succeeded", "errored")
        kept.data |= {
            "processing_status": "ended", "ended_at": _CREATED,
            "results_url": f"{wish.incoming.base}/v1/messages/batches/{kept.id}/results",
            "request_counts": _counts(**{name: kinds.count(name) for name in names}),
        }  # fmt: skip
    return _answer(kept.data)


def _results(wish: Wish) -> Whole | Refusal:
    kept = _find(wish)
    if isinstance(kept, Refusal):
        return kept
    if kept.data["results_url"] is None:
        return Refusal("bad_request", "the batch has not ended")
    lines = (msgspec.json.encode(_result(wish, raw)) for raw in msgspec.json.decode(kept.content))
    return Whole(200, [_LINES], b"\n".join(lines))


def _result(wish: Wish, asked: object) -> Json:
    """Answer one request of a batch."""
    entry = asked if isinstance(asked, dict) else {}
    body = msgspec.json.encode(entry.get("params"))
    name = str(entry.get("custom_id"))
    request = turns.read(body, "2023-06-01")
    if isinstance(request, str):
        return {"custom_id": name, "result": {"type": "errored", "error": error(400, request)}}
    message = Message(request, body, request.model, request.max_tokens, streams=False)
    made = min(_MADE, request.max_tokens or _MADE)
    drawn = Drawn(f"{wish.name}-{name}", message.text_tokens(), made, is_cut_short=made < _MADE)
    whole = msgspec.json.decode(message.whole(drawn))
    return {"custom_id": name, "result": {"type": "succeeded", "message": whole}}


def _cancel(wish: Wish) -> Whole | Refusal:
    kept = _find(wish)
    if isinstance(kept, Refusal):
        return kept
    if kept.data["processing_status"] == "in_progress":
        kept.data |= {"processing_status": "canceling", "cancel_initiated_at": _CREATED}
    return _answer(kept.data)


_BATCHES = "messages/batches"
#: By method, kind, whether one is named, and what is to be done with it.
_DEEDS: Mapping[tuple[str, str, bool, str | None], Callable[[Wish], Whole | Refusal]] = {
    ("POST", "files", False, None): _make_file,
    ("GET", "files", False, None): _list,
    ("GET", "files", True, None): _show,
    ("GET", "files", True, "content"): _content,
    ("DELETE", "files", True, None): _delete,
    ("POST", _BATCHES, False, None): _make_batch,
    ("GET", _BATCHES, False, None): _list,
    ("GET", _BATCHES, True, None): _show_batch,
    ("GET", _BATCHES, True, "results"): _results,
    ("POST", _BATCHES, True, "cancel"): _cancel,
    ("DELETE", _BATCHES, True, None): _delete,
}
