"""Small answers of our own: is it alive, is it ready, which models are there."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches

import msgspec

from apikeyrouter import ApiKeyRouter, UnknownModelError
from apikeyrouter.service import BadBodyError, ModelLists, card_of
from apikeyrouter_proxy.dataplane.asgi import Receive, Request, Send
from apikeyrouter_proxy.dataplane.auth import Client, ClientRegister
from apikeyrouter_proxy.dataplane.errors import NOT_KNOWN, for_no_key, refusal
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Route
from apikeyrouter_proxy.dataplane.refusals import send_refusal
from apikeyrouter_proxy.middleware.security_headers import HeaderList

#: Looking for similar names takes long: so much of them is compared.
_LONGEST_NAME, _MOST_COMPARED = 100, 1000
#: Tells the store of a service from those of others.
STORE_HEADER = b"x-store-id"


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    info = Info(parts.router, parts.clients, parts.models)
    info.config_trouble = lambda: parts.config_trouble()
    info.spreading_trouble = lambda: parts.spreading_trouble()
    info.store_id = lambda: parts.store_id
    return [
        Route(READ, "/health", info.health),
        Route(READ, "/ready", info.ready),
        Route(READ, "/v1/models", info.list_models),
        Route(READ, "/v1/models/{model...}", info.show_model),
    ]


class Info:
    """Answers about the service itself; other dialects show models in shapes of their own."""

    def __init__(self, router: ApiKeyRouter, clients: ClientRegister, models: ModelLists) -> None:
        self._router = router
        self._clients = clients
        self._models = models
        self.config_trouble: Callable[[], str | None] = lambda: None
        self.spreading_trouble: Callable[[], str | None] = lambda: None
        self.store_id: Callable[[], str] = lambda: ""

    async def health(self, request: Request, receive: Receive, send: Send) -> None:
        """Say that the process answers."""
        del receive
        await _send_json(request, send, 200, {"status": "ok"})

    async def ready(self, request: Request, receive: Receive, send: Send) -> None:
        """Say whether requests can be served: there is a key that may be used.

        Without its store the service goes on: what it notes waits until the store is back. So it
        does where its file has changed and cannot be used, and without the shared ledger: by its
        part of every limit, knowing only what it learns itself.
        """
        del receive
        keys, usable = self._router.count_keys()
        backend = self._router.ledger_backend
        lost = (backend.trouble() if backend is not None else "") or self.spreading_trouble()
        trouble, mistake = self._router.store_trouble(), self.config_trouble()
        is_degraded = trouble or mistake or lost
        status = ("degraded" if is_degraded else "ready") if usable else "no usable key"
        facts: dict[str, object] = {"status": status, "keys": keys, "usable": usable}
        if trouble:
            facts["store"] = trouble
        if lost:
            facts["ledger"] = lost
        if mistake:
            facts["config"] = mistake
        # Commands see by it whether this is the service that they look for.
        more = [(STORE_HEADER, self.store_id().encode())]
        await _send_json(request, send, 200 if usable else 503, facts, more=more)

    async def list_models(self, request: Request, receive: Receive, send: Send) -> None:
        """List the models known by name, the operator's own names first."""
        del receive
        client = await self._admit(request, send)
        if isinstance(client, bool):
            return
        await self._models.settle()
        try:
            listed = self.listing(request, self._owners(client))
        except BadBodyError as error:
            await send_refusal(send, request, refusal(400, str(error), param=error.param))
            return
        await _send_json(request, send, 200, listed)

    async def show_model(self, request: Request, receive: Receive, send: Send) -> None:
        """Show one model, by any name under which it may be asked for."""
        del receive
        client = await self._admit(request, send)
        if isinstance(client, bool):
            return
        await self._models.settle()
        name = self.name_in(request)
        owners = self._owners(client)
        owner = owners.get(name) or self._owner_of(name, client)
        if owner is not None:
            await _send_json(request, send, 200, self.card(name, owner))
            return
        self._models.refresh()
        nearest = get_close_matches(name[:_LONGEST_NAME], sorted(owners)[:_MOST_COMPARED], 3)
        await send_refusal(send, request, for_no_key(UnknownModelError(name, tuple(nearest))))

    def name_in(self, request: Request) -> str:
        """Return the name of the model that is to be shown."""
        return request.params["model"]

    def listing(self, request: Request, owners: Mapping[str, str]) -> object:
        """Describe all models of *owners*, which has them by name.

        Raises:
            BadBodyError: The list cannot be had as it is asked for.
        """
        del request
        return {"object": "list", "data": [self.card(*pair) for pair in owners.items()]}

    def card(self, model: str, owner: str) -> dict[str, object]:
        """Describe one model."""
        return card_of("openai", model, owner)

    def _owners(self, client: Client | None) -> dict[str, str]:
        owners: dict[str, str] = {}
        for model, provider_id in self._router.known_models():
            if client is None or client.may_use(model):
                owners.setdefault(model, provider_id or "apikeyrouter")
        return owners

    def _owner_of(self, name: str, client: Client | None) -> str | None:
        """Return whose model nobody lists under *name* though a request would be served by it."""
        if client is not None and not client.may_use(name):
            return None
        return self._router.owner_of(name)

    async def _admit(self, request: Request, send: Send) -> Client | bool | None:
        """Find who asks; False when that was refused."""
        if not len(self._clients):
            return None
        client = self._clients.find(request.headers)
        if client is None:
            await send_refusal(send, request, NOT_KNOWN)
            return False
        return client


async def _send_json(
    request: Request, send: Send, status: int, data: object, *, more: HeaderList | None = None
) -> None:
    headers = [(b"content-type", b"application/json"), *(more or [])]
    await request.answer(send, status, headers, msgspec.json.encode(data))
