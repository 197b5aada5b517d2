"""The contract of a provider: six methods for anyone, a wire for our own.

A user's adapter implements `ProviderAdapter` and nothing else. An adapter
that can pass bytes implements `WireAdapter` too, and then the proxy can use it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from apikeyrouter.domain.failures.failure import Failure
from apikeyrouter.domain.interfaces.wire import (
    Headers,
    UpgradeRefusedError,
    WireRequest,
    WireResponse,
    WireSocket,
)
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import ObservedLimit
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.cost_estimate import CostEstimate
from apikeyrouter.domain.models.health_state import HealthState, HealthStatus
from apikeyrouter.domain.models.provider_capabilities import ProviderCapabilities
from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.system_response import ResponseChunk, SystemResponse

#: Reasoning models may be silent for minutes before their first token, but not later.
FIRST_TOKEN_TIMEOUT_S = 300.0
STALL_TIMEOUT_S = 120.0


class ProviderAdapter(ABC):
    """Speaks to one provider with a key it is given.

    Only `execute_request` and `normalize_response` are abstract; the rest
    has defaults that claim nothing.
    """

    @abstractmethod
    async def execute_request(self, intent: RequestIntent, key: APIKey) -> Any:
        """Send *intent* with *key* and return the provider's answer.

        Returns:
            A `SystemResponse`, or anything that `normalize_response` turns into one.

        Raises:
            SystemError: `retryable=False` means exactly one call; anything
                else raised goes through `map_error`.
        """

    @abstractmethod
    def normalize_response(self, raw: Any) -> SystemResponse:
        """Turn the provider's answer into ours."""

    def map_error(self, exc: Exception) -> SystemError:
        """Turn any exception into a `SystemError`.

        The default lets a timeout or a broken connection be tried again; anything
        else is final and unknown.
        """
        if isinstance(exc, SystemError):
            return exc
        if isinstance(exc, TimeoutError):
            return SystemError(
                ErrorCategory.TimeoutError, f"it took too long: {exc}", retryable=True
            )
        if isinstance(exc, ConnectionError):
            text = f"{type(exc).__name__}: {exc}"
            return SystemError(ErrorCategory.NetworkError, text, retryable=True)
        return SystemError(ErrorCategory.UnknownError, f"{type(exc).__name__}: {exc}")

    def get_capabilities(self) -> ProviderCapabilities:
        """Say what this provider can do."""
        return ProviderCapabilities()

    async def estimate_cost(self, intent: RequestIntent) -> CostEstimate | None:
        """Return the expected cost, or `None` while no price is known."""
        del intent
        return None

    async def get_health(self) -> HealthState:
        """Say how the provider fares, without spending anything."""
        return HealthState(status=HealthStatus.HEALTHY, details="not checked")


@dataclass(slots=True, frozen=True)
class Admission:
    """How a provider charges tokens when it lets a request in.

    Attributes:
        counts_cap: The caller's `max_tokens` is charged up front.
        larger_of: Charge the larger of input and cap, not their sum.
        input_only: Output is not counted against the token limit at all.
        settles: The charge is corrected to what was really used.
        counts_cached: Input that came from a prompt cache counts like any other.
        by_bytes: Input is charged as a quarter of the body's bytes.
    """

    counts_cap: bool = True
    larger_of: bool = False
    input_only: bool = False
    settles: bool = True
    counts_cached: bool = True
    by_bytes: bool = False


class Serving(Enum):
    """How a provider serves an endpoint: not at all, in another dialect, or as it is."""

    NONE = 0
    TRANSLATED = 1
    NATIVE = 2


class WireAdapter(ProviderAdapter):
    """A provider reached over HTTP, bytes in and bytes out.

    Attributes:
        kind: The dialect of its errors, such as `openai`.
        dialects: What it speaks, by name, preferred first.
        dialect: The dialect of its rate-limit headers.
        admission: How it charges tokens.
        calendars: Period in seconds -> what limits of that period end with; the others
            refill continuously until reports show otherwise.
        per_model: Limits are per model, not for the account as a whole.
        stream_options: It understands `stream_options.include_usage`.
        models: Patterns (`gpt-*`) of what it serves; `None` when that is not known.
        first_token_timeout_s: A stream that carries nothing within this has failed; `None`
            goes by the latency that was seen, up to `FIRST_TOKEN_TIMEOUT_S`.
        stall_timeout_s: A stream that is silent for so long has broken off.
        learns_stall: It is cut shorter where streams of a model were never silent for long.
        unread_codings: Content codings of requests that it was seen not to read.
    """

    kind: str = "openai"
    dialects: tuple[str, ...] = ("openai",)
    dialect: str = "openai"
    admission: Admission = Admission()
    calendars: Mapping[float, Calendar] = {}
    per_model: bool = False
    stream_options: bool = True
    models: tuple[str, ...] | None = None
    first_token_timeout_s: float | None = None
    stall_timeout_s: float = STALL_TIMEOUT_S
    learns_stall: bool = True
    unread_codings: frozenset[str] = frozenset()

    def serving(self, endpoint: str) -> Serving:
        """Say how requests for *endpoint* (see `Demand.endpoint`) are served: as they are."""
        del endpoint
        return Serving.NATIVE

    def is_trying(self, endpoint: str) -> bool:
        """Tell whether nobody knows yet if it serves *endpoint* as it is."""
        del endpoint
        return False

    def note_tried(self, endpoint: str, *, is_spoken: bool) -> None:
        """Remember whether it serves *endpoint* as it is; asked only where it is trying."""
        del endpoint, is_spoken

    def limit_group(self, model: str, endpoint: str) -> str:
        """Return the group whose limits requests for *model* at *endpoint* share; empty for all."""
        del endpoint
        return model if self.per_model else ""

    def asks_usage(self, model: str) -> bool:
        """Tell whether usage is to be asked for in a stream of *model*."""
        del model
        return self.stream_options

    def stop_asking_usage(self, model: str) -> None:
        """Remember that usage in a stream of *model* was refused."""
        del model
        self.stream_options = False

    def stop_packing(self, coding: str) -> None:
        """Remember that it does not read requests of this content coding."""
        self.unread_codings |= {coding}

    @abstractmethod
    def prepare(self, intent: RequestIntent) -> WireRequest:
        """Build the outgoing request for *intent*."""

    @abstractmethod
    def normalize_chunk(self, data: bytes) -> ResponseChunk | None:
        """Turn the data of one streamed event into a piece; `None` if it has none."""

    @abstractmethod
    async def send(self, request: WireRequest, secret: str) -> WireResponse:
        """Send *request* with *secret* as its credential.

        Returns:
            The answer, whatever its status; the caller closes it.

        Raises:
            Exception: No answer came; `classify_exception` says what that means.
        """

    @property
    def takes_sockets(self) -> bool:
        """Whether a WebSocket is worth trying."""
        return False

    def note_no_sockets(self) -> None:
        """Remember for a while that it takes none."""

    async def connect(self, request: WireRequest, secret: str) -> WireSocket:
        """Open a WebSocket at the path of *request*; the caller closes it.

        Raises:
            UpgradeRefusedError: It was answered, but not opened.
            Exception: No answer came; `classify_exception` says what that means.
        """
        del request, secret
        raise UpgradeRefusedError(404, {})

    @abstractmethod
    def classify(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        """Say what an answer that is not 2xx means; *now* is the wall clock's epoch second."""

    @abstractmethod
    def classify_exception(self, exc: BaseException) -> Failure:
        """Say what it means that no answer came."""

    @abstractmethod
    def read_limits(self, headers: Headers, now: float) -> tuple[ObservedLimit, ...]:
        """Read every limit that an answer's headers report; *now* is the wall clock's."""

    @abstractmethod
    def read_account(self, headers: Headers) -> str:
        """Read who owns the limits, if the answer says; else an empty text."""

    async def list_models(self, secret: str) -> tuple[str, ...]:
        """Ask which models *secret* may use; empty when the provider does not say."""
        del secret
        return ()

    async def probe(self, secret: str) -> bool | None:
        """Check *secret* with a call that costs nothing.

        Returns:
            True when it was accepted, False when refused as a credential,
            `None` when the provider could not be asked.
        """
        del secret
        return None

    async def close(self) -> None:
        """Close what is pooled."""
        return
