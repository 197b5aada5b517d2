"""uvicorn's HTTP/1.1 protocol, with bounds for what nobody has been asked about yet.

A request's head is limited in size, in lines and in time, and so is everything
beside a body's own bytes. Offers of other protocols (h2c) are declined, and
their requests served over HTTP/1.1. Answers that nobody reads end with their
connection. Bodies are the application's concern.
"""

import asyncio
import re
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from apikeyrouter.service import OPENAI_CHAT
from apikeyrouter_proxy.dataplane.asgi import ABORT, SOCKET_PATHS, Message, new_id
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer, refusal
from apikeyrouter_proxy.gathering_transport import GatheringTransport
from apikeyrouter_proxy.middleware.security_headers import HeaderList

MAX_HEAD_BYTES = 2**16
MAX_HEADER_LINES = 200
HEAD_TIMEOUT_S = 15.0
_MAX_PIPELINED = 16
#: A client that is refused while it sends may go on so long, lest a reset takes the answer.
_LINGER_S = 2.0
#: An answer of which nothing was read for so long is given up. The system's own buffers come
#: before ours, so that a slow client's reading may show only now and then.
_UNREAD_S = 120.0
_MUCH_UNSENT_BYTES = 2**16
#: What no head contains, but for the ends of its lines.
_UNFIT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OFFERS = frozenset({b"upgrade", b"connection", b"http2-settings"})


class FrontProtocol(HttpToolsProtocol):
    """One connection of a client.

    `_unclaimed_bytes` counts what came since the last head was complete or the
    last bytes of a body came: the beginning of a head, or the wrapping of a body.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._unclaimed_bytes = 0
        self._claim_timer: asyncio.TimerHandle | None = None
        self._is_refused = False
        self._is_offer_declined = False
        self._is_unread_watched = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; whoever says nothing leaves like an idle connection."""
        gathering = GatheringTransport(transport, self.loop)
        super().connection_made(gathering)  # type: ignore[arg-type] # it does all that one does
        self._extensions = {ABORT: transport.abort}
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """End whatever runs."""
        self._unset_keepalive_if_required()
        self._stop_claim_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse when it grows without becoming a request."""
        if self._is_refused:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._unclaimed_bytes += len(data)
        self._feed(data)
        if self._unclaimed_bytes and not self._is_refused:
            self._bound_unclaimed()

    def on_headers_complete(self) -> None:
        """Start serving a request."""
        if (
            len(self.headers) > MAX_HEADER_LINES
            or self._unclaimed_bytes > MAX_HEAD_BYTES
            or self.pipeline
        ) and self._is_head_too_large():
            self._refuse(_HEAD_TOO_LARGE)
            return
        self._claim()
        if self.parser.should_upgrade() and not self._offers_websocket():
            self._is_offer_declined = True
            return
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        super().on_headers_complete()
        if self.cycle is not None:
            # uvicorn has made it and lets nobody choose its class; nothing of it has run yet.
            self.cycle.__class__ = AnswerCycle

    def on_body(self, body: bytes) -> None:
        """Take some of a body."""
        if self._unclaimed_bytes:
            self._claim()
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request's body."""
        if not (self._is_offer_declined or self._is_refused):
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """End a request; see to it that its answer is read."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size() > _MUCH_UNSENT_BYTES:
            self._watch_unread()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; what it still has to send has some time left."""
        super().timeout_keep_alive_handler()
        self._watch_unread()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._is_offer_declined:
                self._serve_without_offer(data[offer.args[0] :])
            elif self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            if not self._is_refused:
                # The parser may reach the end of what is too large before it is looked at.
                is_large = self._unclaimed_bytes > MAX_HEAD_BYTES
                self._refuse(_HEAD_TOO_LARGE if is_large else _NOT_HTTP)

    def _serve_without_offer(self, rest: bytes) -> None:
        """Read the head again without its offer: the parser stopped, and left the body unread."""
        self._is_offer_declined = False
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(_NO_TUNNEL)
            return
        kept = [line for line in self.headers if line[0] not in _OFFERS]
        if not self.parser.should_keep_alive():
            kept.append((b"connection", b"close"))
        lines = [method + b" " + self.url + b" HTTP/1.1", *(b"%s: %s" % line for line in kept)]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join((*lines, b"", rest)))

    def _should_upgrade(self) -> bool:
        """Tell whether a WebSocket may be had for what is asked, and is asked for as it should."""
        if not super()._should_upgrade() or self.url.partition(b"?")[0] not in SOCKET_PATHS:
            return False
        is_idle = self.cycle is None or self.cycle.response_complete
        named = dict(self.headers)
        is_sound = named.get(b"sec-websocket-version") == b"13" and b"sec-websocket-key" in named
        return is_idle and is_sound and self.parser.get_method() == b"GET"

    def _offers_websocket(self) -> bool:
        return any(name == b"upgrade" and b"websocket" in value.lower()
                   for name, value in self.headers)  # fmt: skip

    def _bound_unclaimed(self) -> None:
        if self._unclaimed_bytes > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
        elif self._claim_timer is None:
            self._claim_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._refuse, _HEAD_TOO_LATE)

    def _is_head_too_large(self) -> bool:
        """Look closely, where a look at the sums has raised a doubt."""
        if len(self.headers) > MAX_HEADER_LINES or len(self.pipeline) >= _MAX_PIPELINED:
            return True
        # The beginning of a body may be counted in.
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > MAX_HEAD_BYTES

    def _claim(self) -> None:
        self._unclaimed_bytes = 0
        if self._claim_timer is not None:
            self._stop_claim_timer()

    def _stop_claim_timer(self) -> None:
        if self._claim_timer is not None:
            self._claim_timer.cancel()
            self._claim_timer = None

    def _refuse(self, error: ErrorAnswer) -> None:
        """Answer without the application; nothing that comes after is looked at."""
        self._is_refused = True
        self._stop_claim_timer()
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.pipeline.clear()
        self.transport.write(_on_the_wire(error))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)

    def _watch_unread(self) -> None:
        if not self._is_unread_watched:
            self._is_unread_watched = True
            self._abort_if_unread(-1)

    def _abort_if_unread(self, left_before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left == left_before:
            self.transport.abort()
        elif left:
            self.loop.call_later(_UNREAD_S, self._abort_if_unread, left)
        else:
            self._is_unread_watched = False


class AnswerCycle(RequestResponseCycle):
    """One request and its answer. An answer that is there as a whole is looked at once.

    A head that tells the length of its body is kept until the body comes: whoever knows the
    length has the body. Whatever is unusual about an answer is uvicorn's concern.
    """

    _head: Message | None = None

    async def send(self, message: Message) -> None:  # type: ignore[override] # of any kind
        """Take a message of the application's."""
        head, self._head = self._head, None
        if head is None and not self.response_started and _tells_length(message):
            self._head = message
            return
        if head is not None:
            if self._answer_whole(head, message):
                return
            await super().send(head)  # type: ignore[arg-type] # uvicorn looks at it
        await super().send(message)  # type: ignore[arg-type] # uvicorn looks at it

    def _answer_whole(self, head: Message, rest: Message) -> bool:
        """Write an answer if *rest* is all of its body, and end it; tell whether that was so."""
        if rest.get("more_body") or self.disconnected or self.flow.write_paused or self.access_log:
            return False
        body = rest.get("body", b"")
        length = len(body) if self.scope["method"] != "HEAD" else None
        lines = _lines_of([*self.default_headers, *head["headers"]], length)
        if lines is None:
            return False
        close = b"" if self.keep_alive else b"connection: close\r\n"
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.writelines(
            (STATUS_LINE[head["status"]] + lines + close + b"\r\n", b"" if length is None else body)
        )
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


def _tells_length(message: Message) -> bool:
    if message["type"] != "http.response.start":
        return False
    return b"content-length" in dict(message.get("headers", ()))


def _lines_of(headers: HeaderList, length: int | None) -> bytes | None:
    """Return the lines of a head; `None` where uvicorn has to look closer.

    Args:
        length: Of the body; `None` where none is sent.
    """
    named = dict(headers)
    if length is not None and named[b"content-length"] != b"%d" % length:
        return None
    if b"connection" in named or b"transfer-encoding" in named:
        return None
    lines, count = b"".join([b"%b: %b\r\n" % header for header in headers]), len(headers)
    is_fit = lines.count(b"\n") == lines.count(b"\r") == count and not _UNFIT.search(lines)
    return lines if is_fit else None


def _on_the_wire(error: ErrorAnswer) -> bytes:
    name = new_id()
    body = OPENAI_CHAT.error_body(error.told, name)
    lines = [
        b"content-type: application/json", b"content-length: %d" % len(body),
        b"x-request-id: " + name.encode(), b"x-content-type-options: nosniff",
        b"connection: close",
    ]  # fmt: skip
    return STATUS_LINE[error.told.status] + b"\r\n".join((*lines, b"", body))


_HEAD_TOO_LARGE = refusal(
    431,
    f"the request has more than {MAX_HEADER_LINES} headers or {MAX_HEAD_BYTES:,} bytes of them",
    code="headers_too_large",
)
_HEAD_TOO_LATE = refusal(
    408, f"the headers were not complete within {HEAD_TIMEOUT_S:.0f} s", code="request_timeout"
)
_NOT_HTTP = refusal(400, "the request is not valid HTTP/1.1", code="invalid_http")
_NO_TUNNEL = refusal(405, "CONNECT is not possible here", code="method_not_allowed")
