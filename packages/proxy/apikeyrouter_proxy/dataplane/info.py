"""Small answers of our own: is it alive, is it ready, which models are there."""

import msgspec

from apikeyrouter import ApiKeyRouter, UnknownModelError
from apikeyrouter.domain.models.api_key import USABLE
from apikeyrouter_proxy.dataplane.asgi import Receive, Scope, Send
from apikeyrouter_proxy.dataplane.auth import Client, ClientRegister
from apikeyrouter_proxy.dataplane.errors import NOT_KNOWN, for_no_key
from apikeyrouter_proxy.dataplane.refusals import send_refusal
from apikeyrouter_proxy.model_lists import ModelLists


class Info:
    """Answers about the service itself."""

    def __init__(self, router: ApiKeyRouter, clients: ClientRegister, models: ModelLists) -> None:
        self._router = router
        self._clients = clients
        self._models = models

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say that the process answers."""
        del scope, receive
        await _send_json(send, 200, {"status": "ok"})

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say whether requests can be served: there is a key that may be used."""
        del scope, receive
        slots = self._router.key_manager.slot_by_id.values()
        usable = sum(1 for slot in slots if slot.record.state in USABLE)
        status = "ready" if usable else "no usable key"
        await _send_json(
            send, 200 if usable else 503, {"status": status, "keys": len(slots), "usable": usable}
        )

    async def list_models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """List the models known by name, the operator's own names first."""
        del receive
        client = await self._admit(scope, send)
        if isinstance(client, bool):
            return
        await self._models.settle()
        await _send_json(send, 200, {"object": "list", "data": self._cards(client)})

    async def show_model(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Show one model."""
        del receive
        client = await self._admit(scope, send)
        if isinstance(client, bool):
            return
        await self._models.settle()
        name = scope["path"].removeprefix("/v1/models/")
        card = next((card for card in self._cards(client) if card["id"] == name), None)
        if card is not None:
            await _send_json(send, 200, card)
        else:
            await send_refusal(send, "", for_no_key(UnknownModelError(name)))

    def _cards(self, client: Client | None) -> list[dict[str, object]]:
        cards: dict[str, dict[str, object]] = {}
        for model, provider_id in self._router.routing_engine.known_models():
            if client is None or client.may_use(model):
                owner = provider_id or "apikeyrouter"
                card = {"id": model, "object": "model", "created": 0, "owned_by": owner}
                cards.setdefault(model, card)
        return list(cards.values())

    async def _admit(self, scope: Scope, send: Send) -> Client | bool | None:
        """Find who asks; False when that was refused."""
        if not len(self._clients):
            return None
        client = self._clients.find(dict(scope["headers"]))
        if client is None:
            await send_refusal(send, "", NOT_KNOWN)
            return False
        return client


async def _send_json(send: Send, status: int, data: object) -> None:
    body = msgspec.json.encode(data)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
