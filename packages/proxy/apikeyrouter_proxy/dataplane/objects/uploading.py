"""Uploads in pieces, as Google's clients send them.

The pieces go to the address that an upload's beginning is answered with, without a key. The address
is made to lead here again; the id in it admits them, and binds them to the key of the beginning.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from apikeyrouter import Demand
from apikeyrouter.service import Answer, Owner, without_credentials
from apikeyrouter_proxy.dataplane.asgi import Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.objects.forwarder import ObjectForwarder, own_address
from apikeyrouter_proxy.dataplane.objects.uploads import Upload, UploadRegister

UPLOAD_ID = "upload_id"
#: Where an upload goes on, and where its state is asked for.
_ADDRESSES = (b"x-goog-upload-url", b"x-goog-upload-control-url")
_COMMAND, _START = b"x-goog-upload-command", b"start"


class UploadAdmission(ObjectForwarder):
    """Lets pieces of uploads in that were begun here."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._uploads = UploadRegister()

    def client_of(self, request: Request) -> Client | None:
        """Return who asks: whoever has an upload's address is taken for who began it."""
        upload = self.upload_of(request)
        return upload.client if upload is not None else super().client_of(request)

    def bind(self, demand: Demand, request: Request, body: bytes) -> None:
        """Bind a piece to the key that its upload was begun with."""
        upload = self.upload_of(request)
        if upload is not None:
            demand.key_id = upload.owner.key_id
        else:
            super().bind(demand, request, body)

    def upload_of(self, request: Request) -> Upload | None:
        """Return the upload that a request goes on with; `None` if it is anything else."""
        command = request.headers.get(_COMMAND, b"").lower()
        if not command or _START in command:
            return None
        upload_id = _id_in(request.scope["query_string"].decode("latin-1"))
        upload = self._uploads.find(upload_id, self._router.now()) if upload_id else None
        return upload if upload is not None and upload.path == request.path else None

    async def _pass_on(
        self, answer: Answer, demand: Demand, client: Client | None, request: Request, send: Send
    ) -> None:
        if answer.failure is None and _START in request.headers.get(_COMMAND, b"").lower():
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
        owner, now = owner_of(answer), self._router.now()
        if not self._uploads.begin(_id_in(query), client, owner, request.path, now):
            return address
        told = f"{request.path}?{without_credentials(query)}"
        return own_address(request) + told.encode("latin-1")


def owner_of(answer: Answer) -> Owner:
    """Return whose key an answer came by."""
    attempt = answer.attempt
    return Owner(attempt.provider.id, attempt.slot.id, attempt.account)


def _id_in(query: str) -> str:
    return parse_qs(query).get(UPLOAD_ID, [""])[-1]
