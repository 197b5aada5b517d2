"""Anthropic's endpoints."""

from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec

from apikeyrouter import Demand
from apikeyrouter.service import ESTIMATED, BadBodyError, Outgoing, card_of, estimated_count
from apikeyrouter_proxy.dataplane.asgi import Receive, Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.front_doors.info import Info
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Route

_MESSAGES, _COUNT = "messages", "messages/count_tokens"
_USUAL_PAGE, _LONGEST_PAGE = 20, 1000


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    models = AnthropicModels(parts.router, parts.clients, parts.models)
    messages = parts.forwarder(_MESSAGES, f"v1/{_MESSAGES}")
    count = parts.forwarder(_COUNT, f"v1/{_COUNT}", kind=TokenCounter)
    return [
        Route(("POST",), f"/v1/{_MESSAGES}", messages, "anthropic"),
        Route(("POST",), f"/v1/{_COUNT}", count, "anthropic"),
        Route(READ, "/v1/models", models.list_models, "anthropic", is_anthropic),
        Route(READ, "/v1/models/{model...}", models.show_model, "anthropic", is_anthropic),
        # Agents ask whether anybody is there before they send anything.
        Route(READ, "/", answer_root),
    ]


def is_anthropic(request: Request, params: Mapping[str, str] | None = None) -> bool:
    """Tell whether a request that may be of several dialects comes from a client of Anthropic's."""
    del params
    headers = request.headers
    if b"anthropic-version" in headers:
        return True
    return b"x-api-key" in headers and b"authorization" not in headers


async def answer_root(request: Request, receive: Receive, send: Send) -> None:
    """Say that somebody is there."""
    del receive
    body = msgspec.json.encode({"service": "apikeyrouter"})
    await request.answer(send, 200, [(b"content-type", b"application/json")], body)


class TokenCounter(Forwarder):
    """Forwards what asks for a count; where a model is served by translation, it is estimated."""

    async def _answer(
        self,
        demand: Demand,
        outgoing: Outgoing,
        client: Client | None,
        request: Request,
        send: Send,
    ) -> None:
        body = estimated_count(demand, self._router.routes)
        if body is None:
            await super()._answer(demand, outgoing, client, request, send)
        else:
            await request.answer(send, 200, [*ESTIMATED], body)


class AnthropicModels(Info):
    """Shows models as Anthropic does, in pages."""

    def listing(self, request: Request, owners: Mapping[str, str]) -> object:
        """Describe a page of the models.

        Raises:
            BadBodyError: There is no such page.
        """
        asked = parse_qs(request.scope["query_string"].decode("latin-1"))
        size, names = _size_of(asked), list(owners)
        after, before = _place_of("after_id", asked, names), _place_of("before_id", asked, names)
        start = 0 if after is None else after + 1
        end = len(names) if before is None else before
        if before is not None and after is None:
            start = max(0, end - size)
        page = names[start : min(end, start + size)]
        is_backwards = before is not None and after is None
        return {
            "data": [self.card(name, owners[name]) for name in page],
            "has_more": start > 0 if is_backwards else start + len(page) < end,
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }

    def card(self, model: str, owner: str) -> dict[str, object]:
        """Describe one model; its limits are not known here."""
        return card_of("anthropic", model, owner)


def _size_of(asked: Mapping[str, list[str]]) -> int:
    text = asked.get("limit", [str(_USUAL_PAGE)])[-1]
    if not text.isdecimal() or not 1 <= int(text[:9]) <= _LONGEST_PAGE:
        raise BadBodyError(f"limit: should be from 1 to {_LONGEST_PAGE}", "limit")
    return int(text)


def _place_of(name: str, asked: Mapping[str, list[str]], names: list[str]) -> int | None:
    model = asked.get(name, [""])[-1]
    if not model:
        return None
    if model not in names:
        raise BadBodyError(f"{name}: is no model of this list; leave it out", name)
    return names.index(model)
