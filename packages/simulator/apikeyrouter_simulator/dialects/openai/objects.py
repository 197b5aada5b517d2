"""What clients keep with OpenAI: files, uploads, batches, vector stores and conversations.

Every kind is listed, shown and deleted alike; `MAKERS` and `DEEDS` say what is particular.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects.dialect import FreeCall, Incoming, Refusal, Whole
from apikeyrouter_simulator.dialects.store import Kept
from apikeyrouter_simulator.dialects.wish import Json, Wish

_PATH = re.compile(
    r"v1/(files|uploads|batches|vector_stores|conversations)(?:/([^/]+))?(?:/([^/]+))?"
)
_CREATED = 1760000000
#: What one of a kind is called.
_NAMES = {
    "files": "file", "uploads": "upload", "batches": "batch", "vector_stores": "vector_store",
    "conversations": "conversation",
}  # fmt: skip
_BINARY = (b"content-type", b"application/octet-stream")


def knows(path: str) -> bool:
    """Tell whether a path is of an object."""
    return _PATH.fullmatch(path) is not None


def read(incoming: Incoming) -> FreeCall | Refusal:
    """Find out what is to be done."""
    match = _PATH.fullmatch(incoming.path)
    unknown = Refusal("unknown_url", f"{incoming.method} /{incoming.path}")
    if match is None:
        return unknown
    kind, name, deed = match.groups()
    if name is None:
        does = {"POST": MAKERS[kind], "GET": _list}.get(incoming.method)
    elif deed is None:
        does = {"GET": _show, "DELETE": _delete, "POST": _update}.get(incoming.method)
    else:
        does = DEEDS.get((incoming.method, kind, deed))
    if does is None:
        return unknown
    return FreeCall(lambda desk: does(Wish(incoming, desk, kind, name or "")))


def answer(data: object) -> Whole:
    """Write an object."""
    return Whole(200, [asgi.JSON], msgspec.json.encode(data))


def page(shown: list[Json], *, more: bool = False) -> Whole:
    """Write a page of a list."""
    ids = [entry["id"] for entry in shown] or [None]
    return answer(
        {
            "object": "list", "data": shown, "has_more": more,
            "first_id": ids[0], "last_id": ids[-1],
        }
    )  # fmt: skip


def _missing(wish: Wish) -> Refusal:
    return Refusal("unknown_object", f"{_NAMES[wish.kind]} '{wish.name}'")


def _list(wish: Wish) -> Whole:
    """Write a page, newest first."""
    found = [kept.data for kept in wish.all()][::-1]
    after = wish.incoming.query.get("after")
    ids = [entry["id"] for entry in found]
    begin = ids.index(after) + 1 if after in ids else 0
    limit = wish.incoming.query.get("limit", "")
    shown = found[begin:][: int(limit) if limit.isdecimal() else 100]
    return page(shown, more=begin + len(shown) < len(found))


def _show(wish: Wish) -> Whole | Refusal:
    kept = wish.find(wish.kind, wish.name)
    if kept is None:
        return _missing(wish)
    if wish.kind == "batches":
        _finish_batch(wish, kept)
    return answer(kept.data)


def _delete(wish: Wish) -> Whole | Refusal:
    kept = wish.desk.store.pop(wish.desk.scope, wish.kind, wish.name)
    if kept is None:
        return _missing(wish)
    name = _NAMES[wish.kind]
    kind = name if name == "file" else f"{name}.deleted"
    return answer({"id": wish.name, "object": kind, "deleted": True})


def _update(wish: Wish) -> Whole | Refusal:
    kept = wish.find(wish.kind, wish.name)
    if kept is None:
        return _missing(wish)
    kept.data |= {
        name: value for name, value in wish.json().items() if name in ("name", "metadata")
    }
    return answer(kept.data)


def _file(wish: Wish, filename: str, purpose: str, content: bytes) -> Kept:
    """Keep a file."""
    number = len(wish.desk.store.all(wish.desk.scope, "files"))
    data = {
        "id": f"file-{wish.desk.name}-{number}", "object": "file", "bytes": len(content),
        "created_at": _CREATED, "filename": filename, "purpose": purpose, "status": "processed",
    }  # fmt: skip
    return wish.keep("files", data, content)


def _make_file(wish: Wish) -> Whole | Refusal:
    file, purpose = wish.part("file"), wish.part("purpose")
    if file is None or purpose is None:
        missing = "purpose" if file is not None else "file"
        return Refusal("bad_request", f"Missing required parameter: '{missing}'.")
    return answer(_file(wish, file.filename or "file", purpose.text, file.content).data)


def _content(wish: Wish) -> Whole | Refusal:
    kept = wish.find("files", wish.name)
    return Whole(200, [_BINARY], kept.content) if kept else _missing(wish)


def _make_upload(wish: Wish) -> Whole | Refusal:
    asked = wish.json()
    wanted = ("filename", "purpose", "bytes", "mime_type")
    for name in wanted:
        if name not in asked:
            return Refusal("bad_request", f"Missing required parameter: '{name}'.")
    data = {
        "id": f"upload_{wish.desk.name}", "object": "upload", "created_at": _CREATED,
        "expires_at": _CREATED + 3600, "status": "pending", "file": None,
        **{name: asked[name] for name in wanted},
    }  # fmt: skip
    return answer(wish.keep("uploads", data).data)


def _add_part(wish: Wish) -> Whole | Refusal:
    data = wish.part("data")
    if wish.find("uploads", wish.name) is None:
        return _missing(wish)
    if data is None:
        return Refusal("bad_request", "Missing required parameter: 'data'.")
    part = {
        "id": f"part_{wish.desk.name}", "object": "upload.part", "created_at": _CREATED,
        "upload_id": wish.name,
    }  # fmt: skip
    return answer(wish.keep("parts", part, data.content).data)


def _complete(wish: Wish) -> Whole | Refusal:
    upload = wish.find("uploads", wish.name)
    if upload is None:
        return _missing(wish)
    parts = [wish.find("parts", name) for name in _list_of(wish.json(), "part_ids")]
    found = [part for part in parts if part and part.data["upload_id"] == wish.name]
    content = b"".join(part.content for part in found)
    if len(found) < len(parts) or len(content) != upload.data["bytes"]:
        return Refusal("bad_request", "The parts are not those of the upload, or not all.")
    file = _file(wish, str(upload.data["filename"]), str(upload.data["purpose"]), content)
    upload.data |= {"status": "completed", "file": file.data}
    return answer(upload.data)


def _list_of(asked: Json, name: str) -> list[Any]:
    given = asked.get(name)
    return given if isinstance(given, list) else []


def _make_store(wish: Wish) -> Whole | Refusal:
    asked = wish.json()
    files = _list_of(asked, "file_ids")
    for name in files:
        if wish.find("files", name) is None:
            return Refusal("unknown_object", f"file '{name}'")
    data = {
        "id": f"vs_{wish.desk.name}", "object": "vector_store", "created_at": _CREATED,
        "name": asked.get("name"), "status": "completed", "usage_bytes": 0,
        "metadata": asked.get("metadata") or {}, "last_active_at": _CREATED,
        "file_counts": {
            "in_progress": 0, "completed": len(files), "failed": 0, "cancelled": 0,
            "total": len(files),
        },
    }  # fmt: skip
    return answer(wish.keep("vector_stores", data).data)


def _make_conversation(wish: Wish) -> Whole | Refusal:
    asked = wish.json()
    data = {
        "id": f"conv_{wish.desk.name}", "object": "conversation", "created_at": _CREATED,
        "metadata": asked.get("metadata") or {},
    }  # fmt: skip
    given = [item for item in _list_of(asked, "items") if isinstance(item, dict)]
    items = Kept({"items": given})
    wish.desk.store.put(wish.desk.scope, "conversation_items", str(data["id"]), items)
    return answer(wish.keep("conversations", data).data)


def _show_items(wish: Wish) -> Whole | Refusal:
    kept = wish.find("conversation_items", wish.name)
    if kept is None:
        return _missing(wish)
    items: Any = kept.data["items"]
    numbered = enumerate(items, 1)
    return page([{"id": f"item_{n}", "type": "message", **item} for n, item in numbered])


def _make_batch(wish: Wish) -> Whole | Refusal:
    asked = wish.json()
    file = wish.find("files", asked.get("input_file_id"))
    if file is None:
        return Refusal("bad_request", f"Invalid 'input_file_id': {asked.get('input_file_id')}.")
    total = len(file.content.splitlines())
    data = {
        "id": f"batch_{wish.desk.name}", "object": "batch", "created_at": _CREATED,
        "endpoint": asked.get("endpoint"), "input_file_id": file.id, "status": "validating",
        "completion_window": asked.get("completion_window", "24h"), "errors": None,
        "output_file_id": None, "error_file_id": None, "metadata": asked.get("metadata"),
        "request_counts": {"total": total, "completed": 0, "failed": 0},
    }  # fmt: skip
    return answer(wish.keep("batches", data).data)


def _finish_batch(wish: Wish, batch: Kept) -> None:
    """Do the work of a batch when it is looked at for the first time."""
    file = wish.find("files", batch.data["input_file_id"])
    if batch.data["status"] != "validating" or file is None:
        return
    lines = [_line(raw, number) for number, raw in enumerate(file.content.splitlines(), 1)]
    made = _file(wish, "output.jsonl", "batch_output", b"\n".join(lines))
    counts = {"total": len(lines), "completed": len(lines), "failed": 0}
    batch.data |= {"status": "completed", "output_file_id": made.id, "request_counts": counts}


def _line(raw: bytes, number: int) -> bytes:
    """Answer one line of a batch."""
    try:
        asked = msgspec.json.decode(raw, type=Json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        asked = {}
    body = {"object": "chat.completion", "choices": [], "model": "batch"}
    response = {"status_code": 200, "request_id": f"req_{number}", "body": body}
    return msgspec.json.encode(
        {
            "id": f"batch_req_{number}", "custom_id": asked.get("custom_id"),
            "response": response, "error": None,
        }
    )  # fmt: skip


def _cancel(wish: Wish) -> Whole | Refusal:
    kept = wish.find(wish.kind, wish.name)
    if kept is None:
        return _missing(wish)
    kept.data["status"] = "cancelling" if wish.kind == "batches" else "cancelled"
    return answer(kept.data)


Does = Callable[[Wish], Whole | Refusal]
MAKERS: Mapping[str, Does] = {
    "files": _make_file, "uploads": _make_upload, "batches": _make_batch,
    "vector_stores": _make_store, "conversations": _make_conversation,
}  # fmt: skip
DEEDS: Mapping[tuple[str, str, str], Does] = {
    ("GET", "files", "content"): _content,
    ("POST", "uploads", "parts"): _add_part,
    ("POST", "uploads", "complete"): _complete,
    ("POST", "uploads", "cancel"): _cancel,
    ("POST", "batches", "cancel"): _cancel,
    ("GET", "conversations", "items"): _show_items,
}
