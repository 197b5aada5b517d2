"""What a tongue is: it reads requests, and writes answers, errors and headers in its own manner.

Law: a dialect decides nothing. Who is let in, how long an answer is and what befalls it comes from
the application; a dialect says it the way its provider would.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Headers
from apikeyrouter_simulator.dialects.store import ScopeId, Store
from apikeyrouter_simulator.quotas.limits import Reading, Shortfall

#: Why a call is refused otherwise than by limits. `status` is a condition's; the rest the client's.
Reason = Literal[
    "no_key", "unknown_key", "two_keys", "invalid_key", "revoked_key", "insufficient_quota",
    "unknown_url", "bad_request", "unknown_model", "unknown_object", "coding", "too_large",
    "status",
]  # fmt: skip
Told = Literal["full", "wait", "seconds", "bare"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is refused; *message* in place of the usual words, *status* of `status`."""

    reason: Reason
    message: str = ""
    status: int = 500
    code: str | None = None


class Whole(NamedTuple):
    """A whole HTTP answer."""

    status: int
    headers: Headers
    body: bytes


@dataclass(slots=True)
class Incoming:
    """One HTTP request.

    Attributes:
        path: After the provider, without a slash at the beginning: `v1/messages`.
        headers: By lower-case name; of several alike the last.
        body: Unpacked.
        prefix: What stands before *path* where it was asked.
        session: Of a request over a WebSocket, what its connection remembers.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    session: dict[str, list[dict[str, Any]]] | None = None
    prefix: str = "/"

    @property
    def base(self) -> str:
        """Where the client reached its provider."""
        host = self.headers.get(b"host", b"").decode("latin-1")
        return f"http://{host}{self.prefix}".rstrip("/")

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer`."""
        value = self.headers.get(b"authorization", b"")
        return value[7:].decode("latin-1") if value[:7] == b"Bearer " else None


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a request up to some block, by its digest; its tokens."""

    digest: str
    tokens: int
    is_marked: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was decided of an answer.

    Attributes:
        name: Of this answer alone.
        given: Input tokens in all, with those of the cache.
        echo: What it begins with.
        finishes: Whether a stream comes to its end as it should.
        cache_read: Of the input tokens, those that were known.
        cache_written: Of the input tokens, those that are known from now on.
    """

    name: str
    given: int
    made: int
    is_cut_short: bool = False
    echo: str = ""
    finishes: bool = True
    cache_read: int = 0
    cache_written: int = 0


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a free call is answered: whose it is, what is kept, and what is served.

    Attributes:
        key: The name of the key that it is made with.
    """

    name: str
    scope: ScopeId
    store: Store
    models: Sequence[str]
    now: float
    key: str = ""


class Asked(ABC):
    """A call that draws on limits, as its dialect read it."""

    model: str
    cap: int | None = None
    streams = False
    makes_tokens = True
    names_model = True
    prefixes: Sequence[Prefix] = ()

    @property
    def whole_type(self) -> tuple[bytes, bytes]:
        """The content type of a plain answer."""
        return asgi.JSON

    @property
    def stream_type(self) -> tuple[bytes, bytes]:
        """The content type of a stream."""
        return asgi.STREAM

    @abstractmethod
    def text_tokens(self) -> int:
        """Return the input tokens of the text alone."""

    def last_word(self) -> str:
        """Return the last word of a chat; nothing if there is none."""
        return ""

    def check(self, desk: Desk) -> Refusal | None:  # noqa: ARG002 - others need it
        """Say what is wrong with it beside what is kept."""
        return None

    def keep(self, drawn: Drawn, desk: Desk) -> None:  # noqa: B027 - most keep nothing
        """Keep what is to be kept of an answer that was given."""

    @abstractmethod
    def whole(self, drawn: Drawn) -> bytes:
        """Write a plain answer."""

    def events(self, drawn: Drawn) -> list[bytes]:
        """Write all pieces of a stream."""
        return [self.whole(drawn)]

    def error_event(self, status: int) -> bytes:  # noqa: ARG002 - others need it
        """Write the piece of a stream that says that it failed."""
        return b""


#: A call that costs nothing: its answer.
Free = Callable[[Desk], "Whole | Refusal"]


@dataclass(frozen=True, slots=True)
class FreeCall:
    """A call that draws on no limit."""

    answer: Free
    lists_models: bool = False


@dataclass(frozen=True, slots=True)
class Manners:
    """How an answer tells of limits.

    Attributes:
        family: Of a scenario's `headers`.
        hidden: Limits that are not told.
        account: Whose limits they are.
        account_told: Whether that is told.
        name: Of the answer.
        refusals: What a refusal tells.
    """

    family: str
    hidden: Sequence[str]
    account: str
    account_told: bool
    name: str
    refusals: Told


class Dialect(ABC):
    """One tongue."""

    name: ClassVar[str]

    @abstractmethod
    def is_meant(self, incoming: Incoming) -> bool:
        """Tell whether a request of a shared path bears this tongue's signs."""

    @abstractmethod
    def knows(self, incoming: Incoming) -> bool:
        """Tell whether it has this path."""

    @abstractmethod
    def secret(self, incoming: Incoming) -> str | Refusal:
        """Return the key that a request is made with."""

    def key_name(self, incoming: Incoming) -> str | None:  # noqa: ARG002 - others need it
        """Return the name of the key that an address was made for, which then needs no key."""
        return None

    @abstractmethod
    def read(self, incoming: Incoming) -> Asked | FreeCall | Refusal:
        """Read a request."""

    @abstractmethod
    def refuse(self, refusal: Refusal, name: str) -> Whole:
        """Write the answer that refuses a call."""

    @abstractmethod
    def over_limit(self, lack: Shortfall, model: str, manners: Manners) -> Whole:
        """Write the answer that refuses a call by a limit, but for the headers of all answers."""

    @abstractmethod
    def headers(self, readings: Iterator[Reading], manners: Manners, now: float) -> Headers:
        """Write the headers that every answer has which draws on limits."""
