"""Files that clients keep with Gemini, sent in one piece or piece by piece.

An upload begins with an address; whoever has it may send the pieces, without a key.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.dialects.dialect import FreeCall, Incoming, Refusal, Whole
from apikeyrouter_simulator.dialects.gemini.pages import page
from apikeyrouter_simulator.dialects.store import Kept
from apikeyrouter_simulator.dialects.wish import Json, Wish

_PATH = re.compile(r"(upload/)?v1(?:beta)?/files(?:/([^/:]+)(:download)?)?")
_CREATED = "2026-01-01T00:00:00Z"
_EXPIRES = "2026-01-03T00:00:00Z"


def knows(path: str) -> bool:
    """Tell whether a path is of a file."""
    return _PATH.fullmatch(path) is not None


def key_name(incoming: Incoming) -> str | None:
    """Return the name of the key that an upload was begun with."""
    begun = incoming.query.get("upload_id")
    return begun.partition(".")[2] if begun and incoming.path.startswith("upload/") else None


def read(incoming: Incoming) -> FreeCall | Refusal:
    """Find out what is to be done."""
    match = _PATH.fullmatch(incoming.path)
    uploads, name, loads = match.groups() if match else (None, None, None)
    does = _DEEDS.get((incoming.method, bool(uploads), name is not None, bool(loads)))
    if does is None:
        return Refusal("unknown_url", f"{incoming.method} /{incoming.path}")
    return FreeCall(lambda desk: does(Wish(incoming, desk, "files", f"files/{name}")))


def _answer(data: object, *headers: tuple[bytes, bytes]) -> Whole:
    return Whole(200, [asgi.JSON, *headers], msgspec.json.encode(data))


def _list(wish: Wish) -> Whole | Refusal:
    return page("files", [kept.data for kept in wish.all()], wish.incoming)


def _show(wish: Wish) -> Whole | Refusal:
    kept = wish.find("files", wish.name)
    return _answer(kept.data) if kept else Refusal("unknown_object", wish.name)


def _download(wish: Wish) -> Whole | Refusal:
    kept = wish.find("files", wish.name)
    if kept is None:
        return Refusal("unknown_object", wish.name)
    return Whole(200, [(b"content-type", b"application/octet-stream")], kept.content)


def _delete(wish: Wish) -> Whole | Refusal:
    kept = wish.desk.store.pop(wish.desk.scope, "files", wish.name)
    return _answer({}) if kept else Refusal("unknown_object", wish.name)


def _upload(wish: Wish) -> Whole | Refusal:
    """Begin an upload, go on with one, or take a file whole."""
    command = wish.incoming.headers.get(b"x-goog-upload-command", b"").decode("latin-1")
    if command == "start":
        return _begin(wish)
    if "upload_id" in wish.incoming.query:
        return _go_on(wish, command)
    parts = wish.parts()
    if len(parts) == 2:
        return _answer(
            {"file": _keep(wish, _about(parts[0].content), parts[1].content, parts[1].type)}
        )
    return Refusal("bad_request", "neither a start, nor a piece, nor two parts")


def _about(body: bytes) -> Json:
    """Return what a client says of its file."""
    try:
        file = msgspec.json.decode(body, type=Json).get("file")
    except (msgspec.DecodeError, UnicodeDecodeError):
        file = None
    return file if isinstance(file, dict) else {}


def _begin(wish: Wish) -> Whole:
    incoming, begun = wish.incoming, f"{wish.desk.name}.{wish.desk.key}"
    kind = incoming.headers.get(b"x-goog-upload-header-content-type", b"").decode("latin-1")
    upload = Kept({"id": begun, "about": _about(incoming.body), "type": kind})
    wish.desk.store.put(wish.desk.scope, "gemini_uploads", begun, upload)
    url = f"{incoming.base}/{incoming.path}?upload_id={begun}&upload_protocol=resumable"
    return _answer({}, (b"x-goog-upload-url", url.encode()), (b"x-goog-upload-status", b"active"))


def _go_on(wish: Wish, command: str) -> Whole | Refusal:
    name = wish.incoming.query["upload_id"]
    upload = wish.find("gemini_uploads", name)
    offset = wish.incoming.headers.get(b"x-goog-upload-offset", b"0")
    if upload is None:
        return Refusal("unknown_object", f"upload {name}")
    if offset != b"%d" % len(upload.content):
        return Refusal("bad_request", f"the offset should be {len(upload.content)}")
    content = upload.content + wish.incoming.body
    wish.desk.store.put(wish.desk.scope, "gemini_uploads", name, Kept(upload.data, content))
    if "finalize" not in command:
        return _answer({}, (b"x-goog-upload-status", b"active"))
    wish.desk.store.pop(wish.desk.scope, "gemini_uploads", name)
    about = upload.data["about"]
    file = _keep(wish, about if isinstance(about, dict) else {}, content, str(upload.data["type"]))
    return _answer({"file": file}, (b"x-goog-upload-status", b"final"))


def _keep(wish: Wish, about: Json, content: bytes, kind: str) -> Json:
    name = str(about.get("name") or f"files/{wish.desk.name}")
    digest = base64.b64encode(hashlib.sha256(content).hexdigest().encode()).decode()
    data: Json = {
        "name": name, "displayName": about.get("displayName", about.get("display_name", "")),
        "mimeType": about.get("mimeType", about.get("mime_type")) or kind,
        "sizeBytes": str(len(content)), "createTime": _CREATED, "updateTime": _CREATED,
        "expirationTime": _EXPIRES, "sha256Hash": digest, "state": "ACTIVE", "source": "UPLOADED",
        "uri": f"{wish.incoming.base}/v1beta/{name}",
    }  # fmt: skip
    wish.desk.store.put(wish.desk.scope, "files", name, Kept(data, content))
    return data


#: By method, whether it is an upload, whether a file is named, and whether its content is wanted.
_DEEDS: Mapping[tuple[str, bool, bool, bool], Callable[[Wish], Whole | Refusal]] = {
    ("POST", True, False, False): _upload,
    ("GET", False, False, False): _list,
    ("GET", False, True, False): _show,
    ("GET", False, True, True): _download,
    ("DELETE", False, True, False): _delete,
}
