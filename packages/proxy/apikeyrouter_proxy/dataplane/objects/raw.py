"""The raw way to a provider: `/{provider}/…` goes below its base URL as it came.

Any method and any path, with a key of that provider, in both directions as it comes. A model
that the body or the path names takes part in the choice of a key. Lists leave out what other
clients have made.
"""

import re
from collections.abc import Callable

import msgspec

from apikeyrouter import Demand, NoEligibleKeysError
from apikeyrouter.service import Answer, BadBodyError, Outgoing, Peek
from apikeyrouter_proxy.dataplane.asgi import Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.bodies.reader import RefusedBodyError
from apikeyrouter_proxy.dataplane.errors import for_no_key, refusal
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.objects.forwarder import (
    NOTHING,
    MediaForwarder,
    NoPeek,
    kind_of,
    path_below,
)
from apikeyrouter_proxy.dataplane.objects.raw_lists import RawList, list_in
from apikeyrouter_proxy.dataplane.objects.uploading import UploadAdmission
from apikeyrouter_proxy.dataplane.refusals import send_refusal

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


#: Of one account, where all that it lists is of other clients.
_MOST_PAGES = 32
_UNREADABLE = refusal(
    502,
    "the provider packs its list though it was asked not to: whose the objects are cannot be seen",
    kind="server_error",
    code="upstream_error",
)


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

    async def _answer(
        self,
        demand: Demand,
        outgoing: Outgoing,
        client: Client | None,
        request: Request,
        send: Send,
    ) -> None:
        kind = kind_of(request.path)
        if client is None or request.method != "GET" or not kind:
            await super()._answer(demand, outgoing, client, request, send)
            return
        try:
            answer = await self._own_page(kind, demand, outgoing, client, request)
        except NoEligibleKeysError as error:
            await send_refusal(send, request, for_no_key(error))
            return
        # What it tells of is noted already.
        await Forwarder._pass_on(self, answer, demand, client, request, send)

    async def _own_page(
        self, kind: str, demand: Demand, outgoing: Outgoing, client: Client, request: Request
    ) -> Answer:
        """Return a list without what other clients have made; whatever else as it is."""
        answer, page = await self._find_page(kind, demand, outgoing, client, request)
        if page is None or page.is_empty or not page.has_token:
            return answer
        # Clients of Google fail at a token that leads to an empty page.
        ahead = _bound(demand, answer)
        outgoing.query = page.query_on(outgoing.query) or ""
        _, following = await self._find_page(kind, ahead, outgoing, client, request)
        if following is not None and following.is_empty:
            answer.body = page.body(is_last=True)
        return answer

    async def _find_page(
        self, kind: str, demand: Demand, outgoing: Outgoing, client: Client, request: Request
    ) -> tuple[Answer, RawList | None]:
        """Return the next page that has something, or the last; none where an answer is no list."""

        def is_others(name: str) -> bool:
            return self._objects.is_others(client.name, kind, name)

        for _ in range(_MOST_PAGES):
            answer = await self._router.forward(
                demand, outgoing.request_for, accounts=client.accounts
            )
            if answer.failure is not None or answer.stream is not None:
                return answer, None
            if _is_packed(answer):
                raise RefusedBodyError(_UNREADABLE, is_unread=False)
            self.remember(answer, demand, request)
            page = list_in(answer.body, kind)
            if page is None:
                return answer, None
            query = page.query_on(outgoing.query)
            if page.hide(is_others):
                answer.body = page.body()
            if query is None or not page.is_empty:
                break
            outgoing.query, demand = query, _bound(demand, answer)
        return answer, page

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


def _bound(demand: Demand, answer: Answer) -> Demand:
    """Return what asks the same account again."""
    key_id = answer.attempt.slot.id
    return msgspec.structs.replace(demand, key_id=key_id, may_leave_key=False)


def _is_packed(answer: Answer) -> bool:
    """Tell whether an answer cannot be read."""
    return any(name.lower() == b"content-encoding" for name, _ in answer.raw_headers)


def _shows_model(path: str) -> bool:
    """Tell whether nothing but the model that can be seen is used by what is at *path*."""
    parts = path.split("/")
    named = sum(part in _NAMING for part in parts)
    if named:
        return named == 1 and _ENDS_WITH_MODEL.search(path) is not None
    return parts[-1] in _BY_BODY
