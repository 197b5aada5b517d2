"""Endpoints beside conversations: media, and objects that stay where they were made.

The path goes to the provider as it came. What a request names is looked up, so that it reaches
the account that has it; what an answer tells of is remembered. An id that nobody knows is looked
for: where one account does not have it, the next is asked.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import ClassVar
from urllib.parse import parse_qsl, quote

import msgspec

from apikeyrouter import Demand
from apikeyrouter.service import Answer, Attempt, Outgoing, Owner, Peek, WireRequest, peek_media
from apikeyrouter_proxy.dataplane.asgi import Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.bodies.reader import Body, RefusedBodyError
from apikeyrouter_proxy.dataplane.errors import refusal
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.objects import forms
from apikeyrouter_proxy.dataplane.objects.binding import owner_of_all
from apikeyrouter_proxy.dataplane.objects.ids import (
    KINDS,
    ObjectName,
    names_in_answer,
    names_in_body,
    names_in_path,
)

_SAFE_IN_PATH = "/:@!$&'()*+,;=~"
#: Ends of paths of files, and of the results of a batch.
_CONTENTS = ("/content", "/results", ":download")
_IS_HOST = re.compile(rb"[\w.:\[\]-]{1,255}")
_STEPS = frozenset({".", ".."})
#: Of a list: the object after or before which it goes on.
CURSORS = frozenset({"after", "before", "after_id", "before_id"})


class NoPeek(msgspec.Struct, frozen=True):
    """What is known of a body that is not looked into, or of a form.

    Attributes:
        place: Where a form names its model.
    """

    model: str = ""
    is_stream: bool = False
    output_cap: int | None = 0
    place: tuple[int, int] | None = None


NOTHING = NoPeek()


class MediaForwarder(Forwarder):
    """Forwards requests with a model in JSON or in a form, or with none.

    Attributes:
        beginning: Of a path, which providers' base URLs have already.
        reads_model: Whether bodies are looked into for a model.
    """

    beginning: ClassVar[str] = "/v1/"
    reads_model = True

    def peek(self, request: Request, body: bytes) -> Peek:
        """Read the model, where there is one.

        Raises:
            BadBodyError: It is none of what it says that it is.
        """
        kind = request.headers.get(b"content-type", b"")
        if not body or not self.reads_model:
            return NOTHING
        if forms.is_form(kind):
            places = forms.places_in(body, kind)
            place = places.get("model")
            is_stream = forms.text_at(body, places.get("stream")).lower() == "true"
            return NoPeek(forms.text_at(body, place), is_stream, 0, place)
        return peek_media(body)

    def may_ask(self, client: Client, seen: Peek, request: Request) -> bool:
        """Tell whether *client* may ask for it: whose models are named must name one."""
        del request
        return client.models is None or (bool(seen.model) and client.may_use(seen.model))

    def path_for(self, request: Request) -> Callable[[str], str]:
        """Return where providers have it: where the client asked."""
        path = path_below(request, self.beginning)
        return lambda _: path

    def outgoing(self, request: Request, body: Body, seen: Peek) -> Outgoing:
        """Return what builds the requests to providers."""
        return self.outgoing_as(PlainOutgoing, request, body, seen)

    def _demand_of(
        self, seen: Peek, body: bytes, request: Request, client: Client | None
    ) -> Demand:
        demand = super()._demand_of(seen, body, request, client)
        demand.output_cap = 0
        wanted = request.headers.get(b"x-provider")
        if wanted is not None:
            demand.provider_id = self._provider_named(wanted.decode("latin-1"))
        if not seen.model or isinstance(seen, NoPeek):
            # Bytes of files are no tokens.
            demand.input_tokens = demand.body_bytes = 0
        return demand

    def _provider_named(self, name: str) -> str:
        known = self._router.routes.providers
        if name in known:
            return name
        message = f"X-Provider names '{name[:100]}'; known are {', '.join(known)}"
        raise RefusedBodyError(refusal(400, message, param="X-Provider"), is_unread=False)


class ObjectForwarder(MediaForwarder):
    """Forwards what makes, shows, lists, changes and deletes objects."""

    #: Kinds that make use of a model which cannot be seen.
    _uses_unseen_models = frozenset(
        {"batches", "messages/batches", "fine_tuning", "videos", "interactions"}
    )

    @property
    def reads_model(self) -> bool:  # type: ignore[override] # by endpoint here
        """Whether bodies are looked into for a model."""
        return self._endpoint in ("videos", "fine_tuning", "interactions")

    def may_ask(self, client: Client, seen: Peek, request: Request) -> bool:
        """Tell whether *client* may ask for it."""
        if request.method != "POST":
            return True
        if self._endpoint in self._uses_unseen_models or (
            # Whatever else is below responses may make one.
            self._endpoint == "responses/objects" and not request.path.endswith("/cancel")
        ):
            return super().may_ask(client, seen, request)
        return True

    def _demand_of(
        self, seen: Peek, body: bytes, request: Request, client: Client | None
    ) -> Demand:
        demand = super()._demand_of(seen, body, request, client)
        demand.is_opaque = _is_content(request)
        self.bind(demand, request, body)
        return demand

    def outgoing(self, request: Request, body: Body, seen: Peek) -> Outgoing:
        """Return what builds the requests to providers: answers that are read come unpacked."""
        outgoing = super().outgoing(request, body, seen)
        if not _is_content(request):
            outgoing.accept_plain()
        return outgoing

    def bind(self, demand: Demand, request: Request, body: bytes) -> None:
        """Bind *demand* to the key that has what it names.

        Raises:
            RefusedBodyError: What it names is not all in one account, or is of other clients.
        """
        names, words = self.names_in(request, body), self.words_in(request, body)
        owner = owner_of_all(self._objects, demand.client, names, words)
        if owner is not None:
            demand.key_id = owner.key_id
        elif request.method == "POST" and not any(names_in_path(request.path)):
            home = self._objects.home_of(demand.client)
            if home is not None:
                demand.key_id, demand.may_leave_key = home.key_id, True

    def names_in(self, request: Request, body: bytes) -> Iterator[ObjectName]:
        """Yield what a request names for sure."""
        del body
        kind = kind_of(request.path)
        query = parse_qsl(request.scope["query_string"].decode("latin-1"))
        cursors = ((kind, value) for name, value in query if name in CURSORS)
        return chain(names_in_path(request.path), cursors)

    def words_in(self, request: Request, body: bytes) -> Iterator[ObjectName]:
        """Yield what may be names in a body."""
        is_json = b"json" in request.headers.get(b"content-type", b"")
        return names_in_body(body) if is_json else iter(())

    async def _pass_on(
        self, answer: Answer, demand: Demand, client: Client | None, request: Request, send: Send
    ) -> None:
        if answer.failure is None and answer.stream is None:
            self.remember(answer, demand, request)
            answer.body = self.retold(answer.body, request)
        await super()._pass_on(answer, demand, client, request, send)

    def retold(self, body: bytes, request: Request) -> bytes:
        """Return what a client is told, as far as that is not what the provider tells."""
        del request
        return body

    def remember(self, answer: Answer, demand: Demand, request: Request) -> None:
        """Note what an answer tells of objects."""
        attempt, named = answer.attempt, list(names_in_path(request.path))
        if request.method == "DELETE":
            if named and request.path.endswith(f"{named[0][0]}/{named[0][1]}"):
                self._objects.forget(demand.client, *named[0])
            return
        owner = Owner(attempt.provider.id, attempt.slot.id, attempt.account)
        is_new = request.method == "POST" and not named
        # Files that a batch has written are of whoever made the batch.
        is_made = is_new or (bool(named) and self._objects.has_made(demand.client, *named[0]))
        kind = "" if named else kind_of(request.path)
        for name in names_in_answer(answer.body, kind):
            self._objects.note(demand.client, *name, owner, is_new=is_new, is_made=is_made)
            # What is told beside the first belongs to it, or was there before.
            is_new = False


class PlainOutgoing(Outgoing):
    """Builds requests of any method, of bytes that need not be a conversation."""

    __slots__ = ()

    def request_for(self, attempt: Attempt) -> WireRequest:
        """Return the same bytes, with another name of the model where the provider has one."""
        body, seen, headers = self._body.content, self._seen, self._headers
        if attempt.model and attempt.model != seen.model:
            if isinstance(seen, NoPeek) and seen.place is not None:
                start, end = seen.place
                body = b"".join((body[:start], attempt.model.encode(), body[end:]))
            else:
                body = self._dialect.with_model(body, attempt.model)
        if self._body.is_packed:
            body, headers = self._packed(body, attempt)
        return WireRequest(
            self._path_for(attempt.model), body, headers,
            method=self._method, query=self.query, endpoint=self._endpoint,
        )  # fmt: skip


def _is_content(request: Request) -> bool:
    """Tell whether the answer is what somebody has put there, which is not looked at."""
    return request.method == "GET" and request.path.endswith(_CONTENTS)


def path_below(request: Request, beginning: str) -> str:
    """Return the path of *request* without its *beginning*, encoded.

    Raises:
        RefusedBodyError: It leads elsewhere.
    """
    path = request.path.removeprefix(beginning)
    if not _STEPS.isdisjoint(path.split("/")) or "\\" in path:
        raise RefusedBodyError(_LEADS_ELSEWHERE, is_unread=False)
    return quote(path, safe=_SAFE_IN_PATH)


def own_address(request: Request) -> bytes:
    """Return where the client has reached this service, such as `https://host:8000`."""
    headers = request.headers
    scheme = headers.get(b"x-forwarded-proto") or request.scope.get("scheme", "http").encode()
    host = headers.get(b"host", b"")
    if not _IS_HOST.fullmatch(host) or scheme not in (b"http", b"https"):
        return b"http://127.0.0.1"
    return b"%s://%s" % (scheme, host)


def kind_of(path: str) -> str:
    """Return which objects a path is about that ends with their kind; empty if none."""
    last = path.rstrip("/").rpartition("/")[2]
    return last if last in KINDS else ""


_LEADS_ELSEWHERE = refusal(
    400, "the path has '.' or '..' as a part; send the path that is meant", code="invalid_path"
)
