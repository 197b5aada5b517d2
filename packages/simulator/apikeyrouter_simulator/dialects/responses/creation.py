"""A response that is made: its output, whole and as the events of a stream."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.dialect import Asked, Desk, Drawn, Refusal
from apikeyrouter_simulator.dialects.responses import items
from apikeyrouter_simulator.dialects.responses.items import Item, ResponseRequest
from apikeyrouter_simulator.dialects.store import Kept, ScopeId
from apikeyrouter_simulator.dialects.wording import event

_SEALED = "reasoning.encrypted_content"
#: What a connection remembers: by id of a response, the items up to its end.
Session = dict[str, list[Item]]


@dataclass(slots=True)
class Creation(Asked):
    """A response that is asked for.

    Attributes:
        session: What is remembered of this connection, whether it is kept or not.
        before: Items of the responses that this one follows.
    """

    request: ResponseRequest
    body: bytes
    model: str
    cap: int | None
    streams: bool
    makes_tokens: bool = True
    session: Session | None = None
    scope: ScopeId = ("", "")
    before: list[Item] = field(default_factory=list)

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone, with what went before."""
        texts = [items.text_of(item) for item in [*self.before, *self.request.items()]]
        letters = len(self.request.instructions or "") + sum(len(text) for text in texts)
        return max(1, letters // 4 + 4 * len(texts))

    def last_word(self) -> str:
        """Return the last word of the input."""
        given = self.request.items()
        return wording.last_word(items.text_of(given[-1])) if given else ""

    def check(self, desk: Desk) -> Refusal | None:
        """Find what it follows; say what is wrong with it in this scope."""
        self.scope = desk.scope
        before = self._find_before(desk)
        if isinstance(before, Refusal):
            return before
        self.before = before
        return items.wrong(self.request.items(), before, desk.scope)

    def _find_before(self, desk: Desk) -> list[Item] | Refusal:
        previous, conversation = self.request.previous_response_id, self.request.conversation_id
        if previous is not None:
            if self.session is not None and previous in self.session:
                return self.session[previous]
            kept = desk.store.get(desk.scope, "history", previous)
            if kept is None:
                message = f"Previous response with id '{previous}' not found."
                return Refusal("bad_request", message, code="previous_response_not_found")
            return _items_of(kept)
        if conversation is not None:
            kept = desk.store.get(desk.scope, "conversation_items", conversation)
            if kept is None:
                return Refusal("unknown_object", f"Conversation with id '{conversation}'")
            return _items_of(kept)
        return []

    def keep(self, drawn: Drawn, desk: Desk) -> None:
        """Keep the response and what led to it, unless that is not wanted."""
        output = self._output(drawn)
        history = [*self.before, *self.request.items(), *output]
        name = f"resp_{drawn.name}"
        if self.session is not None:
            self.session[name] = history
        conversation = self.request.conversation_id
        if conversation is not None:
            kept = Kept({"items": history})
            desk.store.put(desk.scope, "conversation_items", conversation, kept)
        if self.request.keeps:
            said = enumerate(self.request.items(), 1)
            given = [{"id": f"in_{drawn.name}_{number}", **item} for number, item in said]
            desk.store.put(desk.scope, "response", name, Kept(self._response(drawn, output)))
            desk.store.put(desk.scope, "history", name, Kept({"items": history}))
            desk.store.put(desk.scope, "input", name, Kept({"items": given}))

    def whole(self, drawn: Drawn) -> bytes:
        """Write a plain answer; in the background nothing is done yet."""
        if self.request.background:
            return msgspec.json.encode(self._response(drawn, [], "queued"))
        return msgspec.json.encode(self._response(drawn, self._output(drawn)))

    def events(self, drawn: Drawn) -> list[bytes]:
        """Write all events of a stream."""
        events = list(self._events(drawn))
        if not drawn.finishes:
            events.pop()
        return [event({**e, "sequence_number": n}, e["type"]) for n, e in enumerate(events)]

    def error_event(self, status: int) -> bytes:
        """Write the event of a stream that says that it failed."""
        code = "rate_limit_exceeded" if status == 429 else "server_error"
        message = f"The simulated provider answers {status}."
        data = {"type": "error", "code": code, "message": message, "param": None}
        return event({**data, "sequence_number": 0}, "error")

    def _events(self, drawn: Drawn) -> Iterator[dict[str, Any]]:
        begun = self._response(drawn, [], "in_progress")
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        output = self._output(drawn)
        for index, item in enumerate(output):
            at = {"output_index": index, "item_id": item["id"]}
            yield from self._item_events(item, at, drawn)
        done = self._response(drawn, output)
        yield {"type": f"response.{done['status']}", "response": done}

    def _item_events(self, item: Item, at: Item, drawn: Drawn) -> Iterator[dict[str, Any]]:
        index = at["output_index"]
        empty = {**item, **_EMPTY[item["type"]]}
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}
        if item["type"] == "message":
            yield from _text_events(item["content"][0], at, self._words(drawn))
        elif item["type"] == "function_call":
            yield from _call_events(item, at)
        elif item["summary"]:
            yield from _summary_events(item["summary"][0], at)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}

    def _words(self, drawn: Drawn) -> list[str]:
        return wording.words_of(drawn.made - self._thoughts(drawn), drawn.echo)

    def _thoughts(self, drawn: Drawn) -> int:
        return wording.thoughts_among(drawn.made) if self.request.thinks(self.body) else 0

    def _output(self, drawn: Drawn) -> list[Item]:
        """Return the items of the answer: a thought, then calls or a message, or nothing."""
        output: list[Item] = []
        if not self.makes_tokens:
            return output
        if self.request.thinks(self.body):
            output.append(self._thought(drawn))
        calls = self.request.tools_called(self.body)
        for number, name in enumerate(calls, 1):
            output.append(
                {
                    "id": f"fc_{drawn.name}_{number}", "type": "function_call", "name": name,
                    "call_id": f"call_{drawn.name}_{number}", "status": "completed",
                    "arguments": wording.arguments_json(self.body),
                }
            )  # fmt: skip
        if not calls:
            text = "".join(self._words(drawn))
            part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            status = "incomplete" if drawn.is_cut_short else "completed"
            output.append(
                {
                    "id": f"msg_{drawn.name}", "type": "message", "role": "assistant",
                    "status": status, "content": [part],
                }
            )  # fmt: skip
        return output

    def _thought(self, drawn: Drawn) -> Item:
        thought: Item = {"id": f"rs_{drawn.name}", "type": "reasoning", "summary": []}
        if self.request.reasoning and self.request.reasoning.summary:
            text = wording.text_of(self._thoughts(drawn))
            thought["summary"] = [{"type": "summary_text", "text": text}]
        if _SEALED in (self.request.include or ()):
            thought["encrypted_content"] = items.encrypted(self.scope, items.THOUGHT)
        return thought

    def _response(self, drawn: Drawn, output: list[Item], status: str = "") -> dict[str, Any]:
        request = self.request
        cut = drawn.is_cut_short and not request.tools_called(self.body)
        status = status or ("incomplete" if cut else "completed")
        is_over = status in ("completed", "incomplete")
        choice = request.tool_choice
        return {
            "id": f"resp_{drawn.name}", "object": "response", "created_at": 1760000000,
            "status": status, "background": bool(request.background), "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut and is_over else None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens, "model": self.model,
            "output": output, "parallel_tool_calls": True,
            "previous_response_id": request.previous_response_id,
            "store": request.keeps, "temperature": 1.0, "top_p": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": choice if isinstance(choice, str) else msgspec.to_builtins(choice),
            "tools": [], "truncation": "disabled", "metadata": request.metadata or {},
            "usage": usage(drawn, self._thoughts(drawn)) if is_over else None,
        }  # fmt: skip


_EMPTY: dict[str, Item] = {
    "message": {"content": [], "status": "in_progress"},
    "function_call": {"arguments": "", "status": "in_progress"},
    "reasoning": {"summary": []},
}


def usage(drawn: Drawn, thoughts: int) -> dict[str, Any]:
    """Return the usage object."""
    return {
        "input_tokens": drawn.given,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": drawn.made,
        "output_tokens_details": {"reasoning_tokens": thoughts},
        "total_tokens": drawn.given + drawn.made,
    }


def _text_events(part: Item, at: Item, words: list[str]) -> Iterator[Item]:
    at = {**at, "content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for word in words:
        yield {"type": "response.output_text.delta", **at, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}


def _call_events(item: Item, at: Item) -> Iterator[Item]:
    arguments = item["arguments"]
    for delta in (arguments[:6], arguments[6:]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": delta}
    name = item["name"]
    yield {
        "type": "response.function_call_arguments.done", **at, "name": name,
        "arguments": arguments,
    }  # fmt: skip


def _summary_events(part: Item, at: Item) -> Iterator[Item]:
    at = {**at, "summary_index": 0}
    kind = "response.reasoning_summary"
    yield {"type": f"{kind}_part.added", **at, "part": {**part, "text": ""}}
    yield {"type": f"{kind}_text.delta", **at, "delta": part["text"]}
    yield {"type": f"{kind}_text.done", **at, "text": part["text"]}
    yield {"type": f"{kind}_part.done", **at, "part": part}


def _items_of(kept: Kept) -> list[Item]:
    found = kept.data["items"]
    return list(found) if isinstance(found, list) else []


@dataclass(slots=True)
class Compaction(Asked):
    """A history that is to be made short."""

    request: ResponseRequest
    model: str
    scope: ScopeId = ("", "")

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone."""
        return max(1, sum(len(items.text_of(item)) for item in self.request.items()) // 4)

    def check(self, desk: Desk) -> Refusal | None:
        """Learn whose it is."""
        self.scope = desk.scope
        return items.wrong(self.request.items(), [], desk.scope)

    def whole(self, drawn: Drawn) -> bytes:
        """Write what is left: what users said, and one sealed item."""
        sealed = items.encrypted(self.scope, items.COMPACTED)
        said = [
            {"id": f"msg_{drawn.name}_{n}", "status": "completed", **item}
            for n, item in enumerate(self.request.items(), 1)
            if item.get("role") == "user"
        ]
        item = {"id": f"cmp_{drawn.name}", "type": "compaction", "encrypted_content": sealed}
        return msgspec.json.encode(
            {
                "id": f"resp_{drawn.name}", "object": "response.compaction",
                "created_at": 1760000000, "output": [*said, item], "usage": usage(drawn, 0),
            }
        )  # fmt: skip
