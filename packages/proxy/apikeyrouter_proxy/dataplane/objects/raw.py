"""The raw way to a provider: `/{provider}/…` goes below its base URL as it came.

Any method and any path, with a key of that provider, in both directions as it comes. A model
that the body or the path names takes part in the choice of a key.
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

from apikeyrouter import Demand
from apikeyrouter.service import BadBodyError, Peek
from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.objects.forwarder import (
    NOTHING,
    MediaForwarder,
    NoPeek,
    ObjectForwarder,
    path_below,
)

#: Google's paths name their model.
_MODEL_IN_PATH = re.compile(r"/models/([^/:]+):")
#: Google's clients have their credential there.
_CREDENTIALS_IN_QUERY = frozenset({"key", "access_token", "api_key"})


class RawForwarder(ObjectForwarder):
    """Forwards whatever it is to the provider that the path begins with."""

    def peek(self, request: Request, body: bytes) -> Peek:
        """Read the model, where one can be seen."""
        named = _MODEL_IN_PATH.search(request.path)
        if named is not None:
            return NoPeek(named[1])
        try:
            return MediaForwarder.peek(self, request, body)
        except BadBodyError:
            # It is for the provider to say what it is.
            return NOTHING

    @property
    def reads_model(self) -> bool:  # type: ignore[override] # of every body
        """Whether bodies are looked into for a model."""
        return True

    def may_ask(self, client: Client, seen: Peek, request: Request) -> bool:
        """Tell whether *client* may ask for it."""
        return MediaForwarder.may_ask(self, client, seen, request)

    def path_for(self, request: Request) -> Callable[[str], str]:
        """Return the path below the provider's base URL."""
        path = path_below(request, f"/{request.params['provider']}/")
        return lambda _: path

    def query_of(self, request: Request) -> str:
        """Return what of the address's query goes to providers: no credential of a client."""
        query: str = super().query_of(request)
        pairs = parse_qsl(query, keep_blank_values=True)
        kept = [pair for pair in pairs if pair[0] not in _CREDENTIALS_IN_QUERY]
        return query if len(kept) == len(pairs) else urlencode(kept)

    def _demand_of(
        self, seen: Peek, body: bytes, request: Request, client: Client | None
    ) -> Demand:
        demand = super()._demand_of(seen, body, request, client)
        demand.provider_id = provider_id = request.params["provider"]
        if demand.model and self._router.owner_of(f"{provider_id}/{demand.model}") is None:
            # The provider may have it all the same.
            demand.model = ""
        return demand
