"""What Gemini keeps for its clients: files, cached contents, interactions.

An upload's pieces go to the address that its beginning is answered with, without a key: it is made
to lead here again, and the id in it admits and binds them.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.service import (
    Answer,
    EventParser,
    Owner,
    Peek,
    gemini_names,
    peek_media,
    without_credentials,
)
from apikeyrouter_proxy.dataplane.asgi import Message, Request, Send
from apikeyrouter_proxy.dataplane.auth import Client, ClientRegister
from apikeyrouter_proxy.dataplane.bodies.reader import RefusedBodyError
from apikeyrouter_proxy.dataplane.errors import refusal
from apikeyrouter_proxy.dataplane.front_doors.gemini import (
    bears_a_key,
    keyed,
    parameters_of,
)
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Condition, Route
from apikeyrouter_proxy.dataplane.objects.forwarder import (
    NOTHING,
    MediaForwarder,
    NoPeek,
    ObjectForwarder,
    own_address,
)
from apikeyrouter_proxy.dataplane.objects.ids import names_in_path, names_in_told
from apikeyrouter_proxy.dataplane.objects.pages import PageForwarder
from apikeyrouter_proxy.dataplane.objects.uploads import Upload, UploadRegister

_FILES, _CACHES = "generateContent/files", "generateContent/cachedContents"
_INTERACTIONS = "interactions"
_CHANGE = (*READ, "POST", "PATCH", "DELETE")
_UPLOAD_ID, _STATUS = "upload_id", b"x-goog-upload-status"
#: Where an upload goes on, and where its state is asked for.
_ADDRESSES = (b"x-goog-upload-url", b"x-goog-upload-control-url")


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    uploads = parts.forwarder(_FILES, kind=UploadForwarder)
    interactions = parts.forwarder(_INTERACTIONS, kind=InteractionForwarder)
    found = []
    # OpenAI has files of its own below /v1.
    for version, when in (("v1beta", None), ("v1", bears_a_key)):
        found += [
            Route(("POST", "PUT"), f"/upload/{version}/files", keyed(uploads), "gemini"),
            *_object_routes(parts, _FILES, f"/{version}/files", when),
            *_object_routes(parts, _CACHES, f"/{version}/cachedContents", None),
            Route(("POST",), f"/{version}/interactions", keyed(interactions), "gemini"),
            Route(_CHANGE, f"/{version}/interactions/{{rest...}}", keyed(interactions), "gemini"),
        ]
    return found


def _object_routes(
    parts: ServiceParts, endpoint: str, path: str, when: Condition | None
) -> list[Route]:
    forwarder = keyed(parts.forwarder(endpoint, kind=GeminiObjects))
    lists = keyed(parts.forwarder(endpoint, kind=GeminiLists))
    return [
        Route(("GET",), path, lists, "gemini", when),
        Route(("HEAD", "POST"), path, forwarder, "gemini", when),
        Route(_CHANGE, path + "/{rest...}", forwarder, "gemini", when),
    ]


class GeminiObjects(ObjectForwarder):
    """Forwards what is about files and cached contents."""

    beginning = "/"

    @property
    def reads_model(self) -> bool:  # type: ignore[override] # by endpoint here
        """Whether bodies are looked into for a model."""
        return self._endpoint == _CACHES

    def peek(self, request: Request, body: bytes) -> Peek:
        """Read the model of what is to be cached."""
        if not self.reads_model or not body or not _makes(request):
            return NOTHING
        return NoPeek(gemini_names.bare(peek_media(body).model))

    def may_ask(self, client: Client, seen: Peek, request: Request) -> bool:
        """Tell whether *client* may ask for it."""
        if not self.reads_model or not _makes(request):
            return True
        return MediaForwarder.may_ask(self, client, seen, request)

    def query_of(self, request: Request) -> str:
        """Return the address's query without credentials."""
        return without_credentials(super().query_of(request))


class GeminiLists(PageForwarder, GeminiObjects):
    """Lists files and cached contents."""


class InteractionForwarder(GeminiObjects):
    """Forwards what makes, shows, cancels and deletes interactions."""

    reads_model = True

    def peek(self, request: Request, body: bytes) -> Peek:
        """Read the model of a new interaction."""
        return self._dialect.peek(body) if body and _makes(request) else NOTHING

    async def _pass_on(
        self, answer: Answer, demand: Demand, client: Client | None, request: Request, send: Send
    ) -> None:
        if answer.stream is not None and _makes(request):
            send = self._noting(send, answer, demand)
        await super()._pass_on(answer, demand, client, request, send)

    def _noting(self, send: Send, answer: Answer, demand: Demand) -> Send:
        """Return what sends a stream, and remembers whose the interaction is once it is named."""
        parser: EventParser | None = EventParser()

        async def pass_on(message: Message) -> None:
            nonlocal parser
            if parser is not None and message.get("body"):
                for _, data in parser.feed(message["body"]):
                    for name in names_in_told(data, "interaction", _INTERACTIONS):
                        owner = owner_of(answer)
                        self._objects.note(demand.client, *name, owner, is_new=False, is_made=True)
                        parser = None
                    if parser is None:
                        break
            await send(message)

        return pass_on


class UploadForwarder(GeminiObjects):
    """Forwards uploads of files, in one piece or in several."""

    def __init__(self, router: ApiKeyRouter, clients: ClientRegister, **more: Any) -> None:
        super().__init__(router, clients, **more)
        self._uploads = UploadRegister()

    def client_of(self, request: Request) -> Client | None:
        """Return who asks: whoever has an upload's address is taken for who began it."""
        upload = self._upload_of(request)
        return upload.client if upload is not None else super().client_of(request)

    def bind(self, demand: Demand, request: Request, body: bytes) -> None:
        """Bind a piece to the key that its upload was begun with."""
        upload = self._upload_of(request)
        if upload is not None:
            demand.key_id = upload.owner.key_id
        elif _UPLOAD_ID in parameters_of(request):
            raise RefusedBodyError(_no_upload(), is_unread=False)
        else:
            super().bind(demand, request, body)

    async def _pass_on(
        self, answer: Answer, demand: Demand, client: Client | None, request: Request, send: Send
    ) -> None:
        if answer.failure is None and _UPLOAD_ID not in parameters_of(request):
            answer.raw_headers = tuple(
                (name, self._leading_here(value, answer, client, request))
                if name.lower() in _ADDRESSES
                else (name, value)
                for name, value in answer.raw_headers
            )
        await super()._pass_on(answer, demand, client, request, send)

    def _leading_here(
        self, address: bytes, answer: Answer, client: Client | None, request: Request
    ) -> bytes:
        """Return where the pieces are sent, and remember that they may be."""
        query = urlsplit(address.decode("latin-1")).query
        upload_id = parse_qs(query).get(_UPLOAD_ID, [""])[-1]
        if not self._uploads.begin(upload_id, client, owner_of(answer), self._router.now()):
            return address
        told = f"{request.path}?{without_credentials(query)}"
        return own_address(request) + told.encode("latin-1")

    def _upload_of(self, request: Request) -> Upload | None:
        upload_id = parameters_of(request).get(_UPLOAD_ID, [""])[-1]
        return self._uploads.find(upload_id, self._router.now()) if upload_id else None


def owner_of(answer: Answer) -> Owner:
    """Return whose key an answer came by."""
    attempt = answer.attempt
    return Owner(attempt.provider.id, attempt.slot.id, attempt.account)


def _makes(request: Request) -> bool:
    return request.method == "POST" and not any(names_in_path(request.path))


def _no_upload() -> Any:
    error = refusal(404, "no such upload is under way here; begin it anew", code="not_found")
    # Clients that do not see it ask again.
    error.headers = [(_STATUS, b"final")]
    return error
