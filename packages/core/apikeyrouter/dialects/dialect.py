"""The contract of a dialect: what has to be known of one to receive it, read it and speak it.

A dialect is a folder with one subclass of `Dialect` and a row in `catalogue`. Nothing
in it waits, and nothing outside of it knows how the dialect looks.
"""

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar, Protocol

import msgspec

from apikeyrouter.dialects.rendering import Rendering
from apikeyrouter.domain.models.token_usage import Usage


class BadBodyError(Exception):
    """The body is not a request; `param` names the field at fault, if one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Peek(Protocol):
    """What a decision needs of a request's body; nothing else of it is looked at."""

    @property
    def model(self) -> str:
        """The model as asked for; empty where the address names it."""
        ...

    @property
    def is_stream(self) -> bool:
        """Whether the answer is wanted in pieces."""
        ...

    @property
    def output_cap(self) -> int | None:
        """The most output tokens that the caller allows, over all answers."""
        ...


class ToldError(msgspec.Struct):
    """A refusal to a client, before it is put into the client's dialect.

    Attributes:
        kind: OpenAI's type, such as `rate_limit_error`; other dialects go by status.
        wait_s: When to come back; `None` when coming back does not help or nobody knows.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    wait_s: float | None = None


class Verdict(Enum):
    """What is known of a stream's beginning so far."""

    NOTHING = 0
    CARRIES = 1
    FAILED = 2


class Tap(Protocol):
    """Reads a stream as it passes, and says what may pass on."""

    @property
    def usage(self) -> Usage | None:
        """The last usage that was told so far."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the stream has said that it is complete."""
        ...

    @property
    def error(self) -> bytes | None:
        """The first error that the provider put into the stream, as JSON."""
        ...

    @property
    def output_chunks(self) -> int:
        """About how many pieces of output came: about their tokens, when no usage is told."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return what may pass on now."""
        ...

    def finish(self) -> bytes:
        """End the stream; return bytes that were still kept back."""
        ...


class Dialect(ABC):
    """One way to speak to a provider.

    Attributes:
        name: As configuration files and documents call it.
        endpoint: Of its conversations; see `Demand.endpoint`.
        chunked: Endpoints whose streams are judged by `judge`, of others any event
            that is no error carries something.
        json_endpoints: Endpoints whose whole answers are JSON objects.
        stream_type: Of its streams, as `Content-Type` names it.
        streams_arrays: Its streams may be JSON arrays: their items are judged like the data of
            events.
        keep_alive: Keeps a silent stream of events alive, between two of them.
        pings_after_s: Its clients count on that after so much silence, because its providers
            see to it; 0 where they do not.
        rendering: Reads its conversations into the neutral form and writes them from it.
    """

    name: ClassVar[str]
    endpoint: ClassVar[str]
    chunked: ClassVar[frozenset[str]]
    json_endpoints: ClassVar[frozenset[str]]
    stream_type: ClassVar[str] = "text/event-stream"
    streams_arrays: ClassVar[bool] = False
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"
    pings_after_s: ClassVar[float] = 0.0
    rendering: ClassVar[Rendering | None] = None

    # -- requests of clients ---------------------------------------------------

    @abstractmethod
    def peek(self, body: bytes) -> Peek:
        """Read what a decision needs.

        Raises:
            BadBodyError: It is no request, or names no model where it has to.
        """

    @abstractmethod
    def with_model(self, body: bytes, model: str) -> bytes:
        """Return *body* asking for *model*; every other byte stays as it is."""

    def wants_usage_spliced(self, seen: Peek) -> bool:
        """Tell whether a stream tells no usage unless the request is made to ask for it."""
        del seen
        return False

    def session_of(self, seen: Peek) -> str:
        """Return what names requests that share a prompt cache; empty if nothing in the body."""
        del seen
        return ""

    def with_usage(self, body: bytes, seen: Peek) -> bytes:
        """Return *body* asking for usage in its stream."""
        del seen
        return body

    # -- answers of providers --------------------------------------------------

    @abstractmethod
    def read_body(self, body: bytes) -> tuple[Usage | None, bool]:
        """Return the usage that a whole body tells, and whether it looks like a success."""

    @abstractmethod
    def tap(self, *, withhold_usage: bool = False) -> Tap:
        """Return what reads a stream.

        Args:
            withhold_usage: Keep back the event that carries nothing but usage.
        """

    @abstractmethod
    def judge(self, data: bytes) -> Verdict:
        """Tell what the data of one event of a stream carries."""

    # -- errors to clients -----------------------------------------------------

    @abstractmethod
    def error_body(self, told: ToldError, request_id: str) -> bytes:
        """Return the body of a refusal."""

    def error_status(self, told: ToldError) -> int:
        """Return the status of a refusal: some dialects have statuses of their own."""
        return told.status

    @abstractmethod
    def error_event(self, told: ToldError, request_id: str) -> bytes:
        """Return the event that ends a stream whose head is out; no terminal marker follows."""

    def answer_headers(self, request_id: str) -> list[tuple[bytes, bytes]]:
        """Return headers that clients of the dialect expect of every answer of ours."""
        del request_id
        return []
