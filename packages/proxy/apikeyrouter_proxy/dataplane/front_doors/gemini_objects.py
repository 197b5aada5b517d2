"""What Gemini keeps for its clients: files, cached contents, interactions.

How uploads go is told in `objects.uploading`.
"""

from apikeyrouter import Demand
from apikeyrouter.service import (
    Answer,
    EventParser,
    Peek,
    gemini_names,
    peek_media,
    without_credentials,
)
from apikeyrouter_proxy.dataplane.asgi import Message, Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.bodies.reader import RefusedBodyError
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer, refusal
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
)
from apikeyrouter_proxy.dataplane.objects.ids import names_in_path, names_in_told
from apikeyrouter_proxy.dataplane.objects.pages import PageForwarder
from apikeyrouter_proxy.dataplane.objects.uploading import UPLOAD_ID, UploadAdmission, owner_of

_FILES, _CACHES = "generateContent/files", "generateContent/cachedContents"
_INTERACTIONS = "interactions"
_CHANGE = (*READ, "POST", "PATCH", "DELETE")
_STATUS = b"x-goog-upload-status"


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


class UploadForwarder(UploadAdmission, GeminiObjects):
    """Forwards uploads of files, in one piece or in several."""

    def bind(self, demand: Demand, request: Request, body: bytes) -> None:
        """Bind a piece to the key that its upload was begun with."""
        if UPLOAD_ID in parameters_of(request) and self.upload_of(request) is None:
            raise RefusedBodyError(_no_upload(), is_unread=False)
        super().bind(demand, request, body)


def _makes(request: Request) -> bool:
    return request.method == "POST" and not any(names_in_path(request.path))


def _no_upload() -> ErrorAnswer:
    error = refusal(404, "no such upload is under way here; begin it anew", code="not_found")
    # Clients that do not see it ask again.
    error.headers = [(_STATUS, b"final")]
    return error
