"""The raw way to a provider: `/{provider}/…` goes below its base URL as it came.

Any method and any path, with a key of that provider, in both directions as it comes. A model
that the body or the path names takes part in the choice of a key.
"""

import re
from collections.abc import Callable

from apikeyrouter import Demand
from apikeyrouter.service import BadBodyError, Peek
from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.objects.forwarder import (
    NOTHING,
    MediaForwarder,
    NoPeek,
    path_below,
)
from apikeyrouter_proxy.dataplane.objects.uploading import UploadAdmission

#: Google's paths name their model.
_MODEL_IN_PATH = re.compile(r"/models/([^/:]+):")
_ENDS_WITH_MODEL = re.compile(r"/models/[^/:]+:[^/:]+$")
#: Parts of paths that name what answers, whatever the body says.
_NAMING = frozenset({"models", "tunedModels", "model", "deployments", "endpoints", "engines"})
#: Ends of paths at which what a body names as its model is what answers.
_BY_BODY = frozenset(
    {
        "completions", "embeddings", "responses", "compact", "input_tokens", "messages",
        "count_tokens", "moderations", "generations", "edits", "variations", "speech",
        "transcriptions", "translations", "rerank", "chat", "generate", "embed", "ocr",
    }
)  # fmt: skip


class RawForwarder(UploadAdmission):
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
        """Tell whether *client* may ask for it: whose models are named must be seen to use one."""
        if client.models is None:
            return True
        return _shows_model(request.path) and MediaForwarder.may_ask(self, client, seen, request)

    def path_for(self, request: Request) -> Callable[[str], str]:
        """Return the path below the provider's base URL."""
        path = path_below(request, f"/{request.params['provider']}/")
        return lambda _: path

    def _demand_of(
        self, seen: Peek, body: bytes, request: Request, client: Client | None
    ) -> Demand:
        demand = super()._demand_of(seen, body, request, client)
        demand.provider_id = provider_id = request.params["provider"]
        if demand.model and self._router.owner_of(f"{provider_id}/{demand.model}") is None:
            # The provider may have it all the same.
            demand.model = ""
        return demand


def _shows_model(path: str) -> bool:
    """Tell whether nothing but the model that can be seen is used by what is at *path*."""
    parts = path.split("/")
    named = sum(part in _NAMING for part in parts)
    if named:
        return named == 1 and _ENDS_WITH_MODEL.search(path) is not None
    return parts[-1] in _BY_BODY
