"""A provider of files, batches and media for tests: what an account makes, no other one has."""

import gzip
import json
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

_PART = re.compile(rb'name="(\w+)"(?:; filename="([^"]*)")?.*?\r\n\r\n(.*?)\r\n--', re.DOTALL)
_KINDS = {
    "files": "file", "batches": "batch", "vector_stores": "vector_store", "uploads": "upload",
    "conversations": "conversation", "videos": "video", "containers": "container",
    "fine_tuning/jobs": "fine_tuning.job", "messages/batches": "message_batch",
}  # fmt: skip
#: Whether answers are compressed: where the request lets them be.
PACKS: ContextVar[bool] = ContextVar("packs", default=False)
#: 300 kB that are no text.
SOUND = bytes(range(256)) * 1200


class ObjectProvider:
    """An ASGI application.

    Args:
        accounts: Key -> its account.

    Attributes:
        calls: What was asked: method, path with query, key, headers, body.
        breaks_at: Answers of bytes end there as if the machine had died.
    """

    def __init__(self, accounts: dict[str, str]) -> None:
        self._accounts = accounts
        self._objects: dict[str, dict[str, dict[str, Any]]] = {}
        self._contents: dict[str, bytes] = {}
        self._number = 0
        self.calls: list[tuple[str, str, str, dict[str, str], bytes]] = []
        self.breaks_at: int | None = None
        self.lacks: tuple[str, ...] = ()

    def keys_of(self, part: str) -> list[str]:
        """Return the keys that asked for paths with *part*, but for lists of models."""
        return [key for _, path, key, _, _ in self.calls if part in path and path != "models"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        PACKS.set("gzip" in headers.get("accept-encoding", ""))
        query = scope["query_string"].decode()
        path = scope["path"].removeprefix("/v1/")
        whole = path + (f"?{query}" if query else "")
        self.calls.append((scope["method"], whole, key, headers, body))
        account = self._accounts.get(key)
        if account is None:
            await _answer(send, 401, _error("Incorrect API key provided", "invalid_api_key"))
        elif path.startswith(self.lacks) if self.lacks else False:
            await _answer(send, 404, _error(f"Unknown request URL: /v1/{path}", "unknown_url"))
        elif path == "models":
            await _answer(send, 200, {"object": "list", "data": [{"id": "tiny"}]})
        elif path == "chat/completions":
            choice = {"index": 0, "finish_reason": "stop", "message": {"content": account}}
            await _answer(send, 200, {"id": "c", "choices": [choice]})
        elif path.startswith(("images/", "audio/", "moderations", "echo")):
            await self._media(path, headers, body, send)
        else:
            await self._object(scope["method"], path, query, account, body, send)

    async def _media(self, path: str, headers: dict[str, str], body: bytes, send: Any) -> None:
        form = {m[1].decode(): m[3] for m in _PART.finditer(body)}
        if path == "audio/speech":
            await self._bytes(send, b"audio/mpeg")
        elif path.startswith("audio/"):
            told = {"text": f"{form['model'].decode()}: {len(form['file'])} bytes"}
            await _answer(send, 200, {**told, "usage": {"type": "duration", "seconds": 3}})
        elif path == "moderations":
            model = json.loads(body).get("model", "default")
            await _answer(send, 200, {"id": "modr-1", "model": model, "results": []})
        elif path.startswith("images/"):
            model = form["model"].decode() if form else json.loads(body)["model"]
            told = {"created": 1, "data": [{"b64_json": "AAAA", "revised_prompt": model}]}
            await _answer(send, 200, {**told, "usage": {"input_tokens": 5, "output_tokens": 7}})
        else:
            await _answer(send, 200, {"echo": body.decode("latin-1")})

    async def _bytes(self, send: Any, kind: bytes, body: bytes = SOUND) -> None:
        await send({
            "type": "http.response.start", "status": 200,
            "headers": [(b"content-type", kind), (b"content-length", b"%d" % len(body))],
        })  # fmt: skip
        for at in range(0, len(body), 50_000):
            if self.breaks_at is not None and at >= self.breaks_at:
                raise ConnectionError("died")
            piece = body[at : at + 50_000]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _object(
        self, method: str, path: str, query: str, account: str, body: bytes, send: Any
    ) -> None:
        kind = next((kind for kind in _KINDS if path == kind or path.startswith(f"{kind}/")), "")
        own = self._objects.setdefault(account, {})
        rest = path[len(kind) + 1 :].split("/")
        if not kind:
            await _answer(send, 404, _error(f"Unknown request URL: /v1/{path}", "unknown_url"))
        elif path == kind and method == "POST":
            await _answer(send, 200, self._make(kind, own, body))
        elif path == kind:
            await _answer(send, 200, _listed(kind, own, query))
        elif rest[0] not in own:
            await _answer(send, 404, _error(f"No such {_KINDS[kind]}: {rest[0]}", None))
        elif rest[1:] == ["results"]:
            await self._bytes(send, b"application/x-jsonl", b'{"custom_id":"a","error":{}}\n' * 3)
        elif rest[1:] == ["content"]:
            await self._bytes(send, b"application/octet-stream", self._contents[rest[0]])
        elif rest[1:]:
            shown = {"object": ".".join(rest[1:]), "id": "sub-1", "of": rest[0]}
            await _answer(send, 200, shown)
        elif method == "DELETE":
            del own[rest[0]]
            await _answer(send, 200, {"id": rest[0], "object": _KINDS[kind], "deleted": True})
        else:
            await _answer(send, 200, own[rest[0]])

    def _make(self, kind: str, own: dict[str, Any], body: bytes) -> dict[str, Any]:
        self._number += 1
        name = f"{_KINDS[kind].split('.')[0]}-{self._number:06}"
        made = {"id": name, "object": _KINDS[kind], "created_at": self._number, "error": None}
        if kind == "messages/batches":
            results = f"https://api.example.com/v1/{kind}/{name}/results"
            made |= {"type": "message_batch", "processing_status": "ended", "results_url": results}
        if kind == "files":
            form = {m[1].decode(): m[3] for m in _PART.finditer(body)}
            self._contents[name] = form["file"]
            made |= {"bytes": len(form["file"]), "filename": "f", "purpose": "batch"}
            made |= {"status": "processed"}
        elif body:
            asked = json.loads(body)
            if "input_file_id" in asked and asked["input_file_id"] not in own:
                made["errors"] = {"data": [{"code": "invalid_file"}]}
            made |= {"output_file_id": f"file-out-{self._number}"} if kind == "batches" else {}
            own[f"file-out-{self._number}"] = {"id": f"file-out-{self._number}", "object": "file"}
            self._contents[f"file-out-{self._number}"] = b'{"error": {"message": "a line"}}\n'
        own[name] = made
        return made


def _listed(kind: str, own: dict[str, Any], query: str) -> dict[str, Any]:
    asked = dict(pair.split("=") for pair in query.split("&") if pair)
    found = [each for each in own.values() if each["object"] == _KINDS[kind]]
    names = [each["id"] for each in found]
    after = asked.get("after") or asked.get("after_id")
    if after is not None:
        found = found[names.index(after) + 1 :] if after in names else []
    limit = int(asked.get("limit", 100))
    return {"object": "list", "data": found[:limit], "has_more": len(found) > limit,
            "first_id": None, "last_id": None}  # fmt: skip


def _error(message: str, code: str | None) -> dict[str, Any]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return {"error": error}


async def _answer(send: Callable[[Any], Awaitable[None]], status: int, told: Any) -> None:
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json")]
    if PACKS.get():
        body = gzip.compress(body)
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
