"""A provider of responses for tests, as an ASGI application: it answers, streams and stores."""

import gzip
import json
from typing import Any

Sent = list[dict[str, Any]]
JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]
USAGE = {
    "input_tokens": 11, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 14,
}  # fmt: skip


class ResponsesProvider:
    """Answers `hello` to everything; a request with tools gets its first one called.

    Args:
        paths: Of what there is; anything else is answered 404 as a router does.
        refusal: Status and body of what every request to make a response gets instead.
        first_events: What a stream begins and ends with instead.
    """

    def __init__(
        self,
        paths: tuple[str, ...] = ("responses",),
        *,
        refusal: tuple[int, bytes] | None = None,
        first_events: list[dict[str, Any]] | None = None,
    ) -> None:
        self.paths = paths
        self.refusal = refusal
        self.first_events = first_events
        #: (method, path with its query, bearer, body) of each request but for models.
        self.asked: list[tuple[str, str, str, Any]] = []
        #: Bearer by id of what it stores.
        self.stored: dict[str, tuple[str, dict[str, Any]]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await read_body(receive)
        headers = dict(scope["headers"])
        bearer = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        path = scope["path"].removeprefix("/v1/")
        query = scope["query_string"].decode()
        if path == "models":
            await answer(send, 404, b"{}")
            return
        if headers.get(b"content-encoding") == b"gzip":
            body = gzip.decompress(body)
        seen = json.loads(body) if body else None
        self.asked.append((scope["method"], path + ("?" + query if query else ""), bearer, seen))
        first, _, rest = path.partition("/")
        if first not in self.paths:
            await answer(send, 404, b'{"detail":"Not Found"}')
        elif first != "responses":
            await answer(send, 200, CHAT)
        elif rest == "input_tokens":
            await answer(send, 200, b'{"object":"response.input_tokens","input_tokens":12}')
        elif rest:
            await self._serve_object(scope["method"], rest, query, bearer, send)
        elif self.refusal is not None:
            await answer(send, *self.refusal)
        else:
            await self._create(seen, bearer, send)

    def made(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the response to *request*, complete."""
        item: dict[str, Any] = {
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        }  # fmt: skip
        if request.get("tools"):
            item = {
                "id": "fc_1", "type": "function_call", "call_id": "call_1", "status": "completed",
                "name": request["tools"][0]["name"], "arguments": "{}",
            }  # fmt: skip
        return {
            "id": f"resp_{len(self.asked)}", "object": "response", "created_at": 1,
            "status": "completed", "model": request.get("model", "small"), "output": [item],
            "usage": USAGE, "error": None, "incomplete_details": None, "instructions": None,
            "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0, "tools": [],
            "tool_choice": "auto", "top_p": 1.0,
        }  # fmt: skip

    async def _create(self, request: dict[str, Any], bearer: str, send: Any) -> None:
        made = self.made(request)
        self.stored[made["id"]] = bearer, made
        if not request.get("stream"):
            await answer(send, 200, json.dumps(made).encode())
            return
        events = self.first_events or events_of(made)
        await answer(send, 200, b"".join(map(event, events)), EVENTS)

    async def _serve_object(
        self, method: str, rest: str, query: str, bearer: str, send: Any
    ) -> None:
        name, _, what = rest.partition("/")
        owner, found = self.stored.get(name, ("", {}))
        if not found or owner != bearer:
            text = f"Response with id '{name}' not found."
            await answer(send, 404, json.dumps({"error": {"message": text}}).encode())
        elif method == "DELETE":
            del self.stored[name]
            deleted = {"id": name, "object": "response", "deleted": True}
            await answer(send, 200, json.dumps(deleted).encode())
        elif what == "input_items":
            items = {"object": "list", "data": [], "has_more": False}
            await answer(send, 200, json.dumps(items).encode())
        elif "stream=true" in query:
            await answer(send, 200, b"".join(map(event, events_of(found))), EVENTS)
        else:
            status = {"status": "cancelled"} if what == "cancel" else {}
            await answer(send, 200, json.dumps(found | status).encode())


CHAT = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"small","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}'
)


def events_of(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the typed events of a response, as OpenAI sends them."""
    bare = made | {"status": "in_progress", "output": [], "usage": None}
    item, (at, key) = made["output"][0], (0, "item_id")
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": bare},
        {"type": "response.in_progress", "response": bare},
    ]
    if item["type"] == "message":
        begun = item | {"status": "in_progress", "content": []}
        part, place = item["content"][0], {key: item["id"], "output_index": at, "content_index": 0}
        events += [
            {"type": "response.output_item.added", "output_index": at, "item": begun},
            {"type": "response.content_part.added", "part": part | {"text": ""}, **place},
            {"type": "response.output_text.delta", "delta": "hel", "logprobs": [], **place},
            {"type": "response.output_text.delta", "delta": "lo", "logprobs": [], **place},
            {"type": "response.output_text.done", "text": "hello", "logprobs": [], **place},
            {"type": "response.content_part.done", "part": part, **place},
        ]
    else:
        begun = item | {"status": "in_progress", "arguments": ""}
        place = {key: item["id"], "output_index": at}
        events += [
            {"type": "response.output_item.added", "output_index": at, "item": begun},
            {"type": "response.function_call_arguments.delta", "delta": "{}", **place},
            {
                "type": "response.function_call_arguments.done", "arguments": "{}",
                "name": item["name"], **place,
            },
        ]  # fmt: skip
    events += [
        {"type": "response.output_item.done", "output_index": at, "item": item},
        {"type": "response.completed", "response": made},
    ]
    return [found | {"sequence_number": number} for number, found in enumerate(events)]


def event(data: dict[str, Any]) -> bytes:
    """Return *data* as an event."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


async def read_body(receive: Any) -> bytes:
    """Return all of a request's body."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def answer(send: Any, status: int, body: bytes, headers: Any = None) -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers or JSON})
    await send({"type": "http.response.body", "body": body})
