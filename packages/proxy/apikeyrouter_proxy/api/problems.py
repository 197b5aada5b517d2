"""Errors of the management API: problem details (RFC 9457), whatever found them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus

from apikeyrouter_proxy.dataplane.asgi import Receive, Request, Send
from apikeyrouter_proxy.dataplane.refusals import drain
from apikeyrouter_proxy.middleware.security_headers import HeaderList

MEDIA_TYPE = "application/problem+json"


@dataclass(slots=True, frozen=True)
class FieldError:
    """What is wrong with one field; its path has dots, such as `limits.rpm`."""

    field: str
    message: str


class ProblemError(Exception):
    """A request is refused.

    Attributes:
        detail: A sentence that says what to do.
        errors: One for each field that is wrong.
        headers: Such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: HeaderList | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or []

    @classmethod
    def of_field(cls, field: str, message: str, status: int = 422) -> "ProblemError":
        """Return the problem that one field is wrong."""
        return cls(status, f"{field}: {message}", errors=[FieldError(field, message)])

    def body(self, request_id: str) -> bytes:
        """Return the answer's body."""
        data = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": [asdict(error) for error in self.errors],
            "request_id": request_id,
        }
        return json.dumps(data).encode()


async def send_problem(
    send: Send, receive: Receive, request: Request, problem: ProblemError, *, most_bytes: int
) -> None:
    """Send *problem*, then read up to *most_bytes* of a body that is still coming."""
    body = problem.body(request.id)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *problem.headers,
    ]
    await request.begin(send, problem.status, headers)
    await send({"type": "http.response.body", "body": request.body_of(body), "more_body": True})
    await drain(receive, most_bytes)
    await send({"type": "http.response.body", "body": b""})
