"""A provider of Gemini's cached contents and interactions, by account."""

import json
from typing import Any

SECRETS = {"AQ.sim-1": "one", "AQ.sim-2": "two"}
_USAGE = {"total_input_tokens": 7, "total_output_tokens": 5, "total_thought_tokens": 2,
          "total_tokens": 14}  # fmt: skip


class GeminiKeeper:
    """Keeps by account what is made; another account is told that it may not exist.

    Attributes:
        asked: Account, method, path, query and body of every request.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str, Any]] = []
        self._kept: dict[str, dict[str, Any]] = {"one": {}, "two": {}}
        self._number = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        secret = dict(scope["headers"]).get(b"x-goog-api-key", b"").decode()
        query = scope["query_string"].decode()
        path, said = scope["path"].lstrip("/"), json.loads(body) if body else {}
        account = SECRETS[secret]
        self.asked.append((account, scope["method"], path, query, said))
        own = self._kept[account]
        kind, _, rest = path.partition("/")[2].partition("/")
        method, name = scope["method"], f"{kind}/{rest.partition('/')[0]}"
        if ":generateContent" in path:
            cached = said.get("cachedContent")
            if cached is not None and cached not in own:
                await self._refuse(send, "CachedContent not found (or permission denied)")
                return
            part = {"content": {"parts": [{"text": "Hi."}]}, "finishReason": "STOP"}
            await _tell(send, {"candidates": [part]})
        elif not rest and method == "GET":
            mine = [kept for kept in own.values() if kept.get("name", "").startswith(kind)]
            await _tell(send, {kind: mine} if mine else {})
        elif not rest and method == "POST":
            await self._make(kind, own, said, send)
        elif name not in own:
            await self._refuse(send, f"You do not have permission to access {name} or it may not "
                                     "exist.")  # fmt: skip
        elif method == "DELETE":
            del own[name]
            await _tell(send, {})
        else:
            own[name] |= said if method == "PATCH" else {}
            own[name] |= {"status": "cancelled"} if path.endswith("/cancel") else {}
            await _tell(send, own[name])

    async def _make(self, kind: str, own: Any, said: Any, send: Any) -> None:
        self._number += 1
        name = f"made{self._number:08}"
        made: dict[str, Any] = {"name": f"{kind}/{name}", "model": said.get("model", "")}
        if kind == "interactions":
            before = said.get("previous_interaction_id")
            if before and f"{kind}/{before}" not in own:
                await self._refuse(send, f"You do not have permission to access {before} or it "
                                         "may not exist.")  # fmt: skip
                return
            made = {"id": name, "object": "interaction", "status": "completed", "steps": [],
                    "model": said.get("model"), "usage": _USAGE, "created": "2026-01-01T00:00:00Z",
                    "updated": "2026-01-01T00:00:00Z"}  # fmt: skip
        own[f"{kind}/{name}"] = made
        if said.get("stream"):
            created = {**made, "status": "in_progress"}
            del created["usage"]
            events = [
                {"event_type": "interaction.created", "interaction": created},
                {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
                {"event_type": "interaction.completed", "interaction": made},
            ]
            await _stream(send, events)
            return
        await _tell(send, made)

    async def _refuse(self, send: Any, message: str) -> None:
        error = {"code": 403, "message": message, "status": "PERMISSION_DENIED"}
        await _tell(send, {"error": error}, 403)


async def _tell(send: Any, told: Any, status: int = 200) -> None:
    headers = [(b"content-type", b"application/json; charset=UTF-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


async def _stream(send: Any, events: list[Any]) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for event in events:
        body = f"event: {event['event_type']}\ndata: {json.dumps(event)}\n\n".encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
