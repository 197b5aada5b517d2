"""The common half of every provider that is reached over HTTP.

Adds the credential, sends, and asks the tables what an answer means. A
provider with a dialect of its own subclasses this; one that speaks OpenAI is a
row of data.
"""

import asyncio
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from apikeyrouter.dialects.catalogue import DIALECTS, RAW, dialect_of, serving_of
from apikeyrouter.dialects.json_values import decoded
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import Admission, Serving, WireAdapter
from apikeyrouter.domain.interfaces.wire import Headers, WireRequest, WireResponse, WireSocket
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import ObservedLimit
from apikeyrouter.domain.models.health_state import HealthState, HealthStatus
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.adapters import rate_limit_headers
from apikeyrouter.infrastructure.adapters.catalogue.layout import Layout
from apikeyrouter.infrastructure.adapters.catalogue.places import (
    Place,
    below,
    checked,
    is_below,
    last_part_of,
)
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.errors import error_classification
from apikeyrouter.infrastructure.adapters.errors.error_bodies import masked
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS, Transport

#: Bodies pass as they are, so they come uncompressed unless the caller wants it otherwise.
_IDENTITY = {"accept-encoding": "identity"}
#: Of calls that no client asked for; some providers refuse callers without a name.
OWN_HEADERS: Mapping[str, str] = {"user-agent": "apikeyrouter", "accept": "application/json"}
#: Longest wait for an answer that nobody is waiting for, such as a probe's.
_PATIENCE_S = 15.0
#: With these the same request is to be sent again; others would make it another one.
_REDIRECTS = (307, 308)
_MOST_REDIRECTS = 3
_MOST_TELLING_NONE = 64
_LONGEST_LOCATION = 200
#: Who takes no WebSockets is not asked for one again within this.
_NO_SOCKETS_S = 600.0
_F = FailureClass
_E = ErrorCategory
#: What callers of the library are told, and whether asking again later can help.
CATEGORIES: Mapping[FailureClass, tuple[ErrorCategory, bool]] = {
    _F.RATE_LIMITED: (_E.RateLimitError, True),
    _F.RATE_LIMITED_DAY: (_E.RateLimitError, True),
    _F.TOO_BIG_FOR_LIMIT: (_E.RateLimitError, False),
    _F.SLOW_DOWN: (_E.RateLimitError, True),
    _F.ZERO_ALLOWANCE: (_E.QuotaExceededError, False),
    _F.QUOTA_BILLING: (_E.QuotaExceededError, False),
    _F.IN_FLIGHT_BUDGET: (_E.RateLimitError, True),
    _F.KEY_BUDGET: (_E.QuotaExceededError, False),
    _F.KEY_INVALID: (_E.AuthenticationError, False),
    _F.ACCOUNT_DISABLED: (_E.AuthenticationError, False),
    _F.MODEL_UNAVAILABLE: (_E.ValidationError, False),
    _F.UNFIT_MODEL: (_E.ValidationError, False),
    _F.UNTRANSLATABLE: (_E.ValidationError, False),
    _F.UNEXPLAINED: (_E.ProviderError, False),
    _F.REGION_BLOCKED: (_E.ProviderError, False),
    _F.IP_NOT_AUTHORIZED: (_E.AuthenticationError, False),
    _F.OVERLOADED: (_E.ProviderError, True),
    _F.SERVER_ERROR: (_E.ProviderError, True),
    _F.UNREACHABLE: (_E.NetworkError, True),
    _F.NETWORK: (_E.NetworkError, True),
    _F.TIMEOUT: (_E.TimeoutError, True),
    _F.OUT_OF_TIME: (_E.TimeoutError, True),
    _F.CONTEXT_LENGTH: (_E.ValidationError, False),
    _F.CONTENT_FILTER: (_E.ValidationError, False),
    _F.BAD_REQUEST: (_E.ValidationError, False),
    _F.NOT_FOUND: (_E.ValidationError, False),
    _F.CONFLICT: (_E.ProviderError, True),
    _F.MID_STREAM: (_E.ProviderError, True),
}


def system_error_of(failure: Failure) -> SystemError:
    """Turn a classified failure into the error that callers catch."""
    category, retryable = CATEGORIES[failure.kind]
    details: dict[str, Any] = {"class": failure.kind.value}
    if failure.status is not None:
        details["status"] = failure.status
    return SystemError(
        category,
        failure.message,
        provider_code=failure.code,
        retryable=retryable,
        details=details,
        retry_after=failure.retry_after_s,
    )


class HttpAdapter(WireAdapter):
    """A provider behind a base URL and a credential header.

    Args:
        base_url: Everything before the endpoint's path, such as `https://api.openai.com/v1`.
        credential_header: The header that carries the key.
        credential_prefix: What stands before it there.
        headers: Further headers of every call; they win over the caller's.
        dialects: What it speaks, by name, preferred first; see `apikeyrouter.dialects`.
        tried_dialects: What it may speak besides: the first request in one of them shows it.
        dialect: Of the rate-limit headers.
        admission: How the provider charges tokens when it lets a request in.
        calendars: Period in seconds -> what limits of that period end with.
        per_model: Limits are per model, not for the account as a whole.
        stream_options: It understands `stream_options.include_usage`.
        models: Patterns of the models it serves; `None` when that is not known.
        layout: What is where below the base URL; as is usual for the kind if `None`.
        connection: How it is reached, and how long it may be silent.
        transport: Shared with others, and closed by whoever made it; its own if `None`.

    Attributes:
        usual_layout: Of its kind.
        told_groups: Model -> the group that its provider says it shares limits with.

    Raises:
        ConfigurationError: The base URL is none, or its proxy or authorities are.
    """

    usual_layout: ClassVar[Layout] = Layout()

    def __init__(
        self,
        base_url: str,
        *,
        credential_header: str = "Authorization",
        credential_prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
        dialects: tuple[str, ...] = ("openai",),
        tried_dialects: tuple[str, ...] = (),
        dialect: str = "openai",
        admission: Admission | None = None,
        calendars: Mapping[float, Calendar] | None = None,
        per_model: bool = False,
        stream_options: bool = True,
        models: tuple[str, ...] | None = None,
        layout: Layout | None = None,
        connection: ConnectionOptions | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.base_url = checked(base_url)
        self.layout = self.usual_layout if layout is None else layout
        unknown = [name for name in dialects if name not in DIALECTS]
        if unknown or not dialects:
            raise ConfigurationError(
                f"dialects: {', '.join(unknown) or 'none'} cannot be spoken; "
                f"known are {', '.join(DIALECTS)}"
            )
        self.dialects = dialects
        self._tried_dialects = tuple(name for name in tried_dialects if name not in dialects)
        self._serving: dict[str, Serving] = {}
        self.dialect = dialect
        self.admission = admission or Admission()
        self.calendars = calendars or {}
        self.per_model = per_model
        self.stream_options = stream_options
        self.models = models
        # Lower-case like a caller's, so that none of them can be sent beside ours.
        self._place = Place(
            self.base_url, last_part_of(self.base_url), credential_header.lower(),
            credential_prefix,
        )  # fmt: skip
        self._headers = {k.lower(): v for k, v in (headers or {}).items()}
        self._places = {
            name: self._place.at(surface) for name, surface in self.layout.surfaces.items()
        }
        connection = connection or ConnectionOptions()
        self.first_token_timeout_s = connection.first_token_timeout_s
        self.stall_timeout_s, self.learns_stall = connection.stall
        self.told_groups: Mapping[str, str] = {}
        #: Models whose streams refused to tell usage.
        self._telling_none: set[str] = set()
        self._no_sockets_until = 0.0
        self._transport = transport or Transport(connection)
        self._owns_transport = transport is None

    async def send(self, request: WireRequest, secret: str) -> WireResponse:
        """Send *request* with *secret*; whatever the status, the caller closes the answer.

        Names of the request's headers are lower-case. Its `accept-encoding` should name only
        what can be read here (`readable_of`); without one the answer comes uncompressed.
        """
        place = self._place_of(request) if self._places else self._place
        url = self._url_of(request) if place is self._place else place.url_of(request)
        return await self._send(url, place, request, secret)

    def _place_of(self, request: WireRequest) -> Place:
        """Return where it goes: what is forwarded as it is, below the base URL."""
        name = dialect_of(request.endpoint).name
        return self._place if request.endpoint == RAW else self._places.get(name, self._place)

    async def _send(
        self, url: str, place: Place, request: WireRequest, secret: str
    ) -> WireResponse:
        headers = {
            **_IDENTITY,
            **request.headers,
            **self._headers,
            place.header: place.prefix + secret,
        }
        for _ in range(_MOST_REDIRECTS):
            response = await self._transport.request(request.method, url, headers, request.body)
            if response.status not in _REDIRECTS:
                return response
            moved = _moved_to(url, response.headers)
            if moved is None:
                return response
            response.close()
            url = moved
        return await self._transport.request(request.method, url, headers, request.body)

    @property
    def takes_sockets(self) -> bool:
        """Whether a WebSocket is worth trying: it has not refused one for what it is lately."""
        return time.monotonic() >= self._no_sockets_until

    def note_no_sockets(self) -> None:
        """Remember for a while that it takes none."""
        self._no_sockets_until = time.monotonic() + _NO_SOCKETS_S

    async def connect(self, request: WireRequest, secret: str) -> WireSocket:
        """Open a WebSocket with *secret* as its credential; the caller closes it."""
        place = self._place_of(request)
        url = self._url_of(request) if place is self._place else place.url_of(request)
        headers = {**request.headers, **self._headers, place.header: place.prefix + secret}
        return await self._transport.connect(url, headers, secret)

    def serving(self, endpoint: str) -> Serving:
        """Say how requests for *endpoint* are served."""
        known = self._serving.get(endpoint)
        if known is None:
            spoken = (*self.dialects, *self._tried_dialects)
            is_lacking = any(fnmatchcase(endpoint, name) for name in self.layout.lacks)
            known = Serving.NONE if is_lacking else serving_of(endpoint, spoken)
            self._serving[endpoint] = known
        return known

    def limit_group(self, model: str, endpoint: str) -> str:
        """Return the group whose limits are shared, as the provider or its layout says."""
        told = self.told_groups.get(model)
        if told is not None:
            return told
        for pattern, group in self.layout.groups.items():
            if fnmatchcase(model, pattern):
                return group
        return super().limit_group(model, endpoint)

    def is_trying(self, endpoint: str) -> bool:
        """Tell whether nobody knows yet if it speaks the dialect of *endpoint*."""
        dialect = dialect_of(endpoint)
        return endpoint == dialect.endpoint and dialect.name in self._tried_dialects

    def note_tried(self, endpoint: str, *, is_spoken: bool) -> None:
        """Remember whether it speaks the dialect of *endpoint*."""
        name = dialect_of(endpoint).name
        self._tried_dialects = tuple(tried for tried in self._tried_dialects if tried != name)
        if is_spoken:
            self.dialects += (name,)
        self._serving.clear()

    def asks_usage(self, model: str) -> bool:
        """Tell whether usage is to be asked for in a stream of *model*."""
        return self.stream_options and model not in self._telling_none

    def stop_asking_usage(self, model: str) -> None:
        """Remember that usage in a stream of *model* was refused; of many models: of all."""
        self._telling_none.add(model)
        if len(self._telling_none) > _MOST_TELLING_NONE:
            self.stream_options = False
            self._telling_none.clear()

    def classify(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        """Say what an answer that is not 2xx means."""
        if 300 <= status < 400:
            return _redirected(status, headers)
        return error_classification.classify(
            self.kind, status, headers, body, now, dialect=self.dialect
        )

    def classify_exception(self, exc: BaseException) -> Failure:
        """Say what it means that no answer came."""
        return error_classification.classify_exception(exc)

    def read_limits(self, headers: Headers, now: float) -> tuple[ObservedLimit, ...]:
        """Read every limit that an answer's headers report."""
        return rate_limit_headers.read_limits(self.dialect, headers, now)

    def read_account(self, headers: Headers) -> str:
        """Read who owns the limits, if the answer says; else an empty text."""
        return rate_limit_headers.read_account(self.dialect, headers)

    def map_error(self, exc: Exception) -> SystemError:
        """Turn any exception into a `SystemError`."""
        if isinstance(exc, SystemError):
            return exc
        if isinstance(exc, TRANSPORT_ERRORS):
            return system_error_of(self.classify_exception(exc))
        return super().map_error(exc)

    async def probe(self, secret: str) -> bool | None:
        """Make the provider's call that costs nothing and proves a key.

        It says nothing of quota, nor of which models the key may use.

        Returns:
            True when the key was accepted, False when it was refused as one,
            `None` when nothing can be said, such as where there is no such call.
        """
        probe = self.layout.probe
        if probe is None:
            return None
        answer = await self.ask(probe.path, secret, method=probe.method)
        if answer is None:
            return None
        response, body = answer
        if 200 <= response.status < 300:
            told = decoded(body) if probe.denials else {}
            return not any(told.get(name) is value for name, value in probe.denials.items())
        # A 403 may be a restricted key that lacks this one right: only plain words deny it.
        failure = self.classify(response.status, response.headers, body, time.time())
        return False if failure.kind is FailureClass.KEY_INVALID else None

    async def ask(
        self, path: str, secret: str, *, method: str = "GET"
    ) -> tuple[WireResponse, bytes] | None:
        """Ask *path* on our own account; return the answer and its body, or `None` if none came.

        Args:
            path: From the base URL, such as `../user/balance`.
        """
        # With the credential of the dialect that it speaks first.
        endpoint = DIALECTS[self.dialects[0]].endpoint
        request = WireRequest(path, headers=dict(OWN_HEADERS), method=method, endpoint=endpoint)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if is_below(path):
                    response = await self.send(request, secret)
                else:
                    url = below(self.base_url, path)
                    response = await self._send(url, self._place, request, secret)
                return response, await response.read()
        except TRANSPORT_ERRORS:
            return None

    async def get_health(self) -> HealthState:
        """Say whether the provider answers at all; no key is shown, and a refusal is an answer."""
        headers = {**_IDENTITY, **OWN_HEADERS, **self._headers}
        url = self._url_of(WireRequest(self.layout.models))
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                response = await self._transport.request("GET", url, headers)
        except TRANSPORT_ERRORS as error:
            return HealthState(status=HealthStatus.DOWN, details=type(error).__name__)
        latency_ms = (time.perf_counter() - started) * 1000.0
        response.close()
        status = HealthStatus.HEALTHY if response.status < 500 else HealthStatus.DEGRADED
        return HealthState(
            status=status, latency_ms=latency_ms, details=f"status {response.status}"
        )

    async def close(self) -> None:
        """Close what is pooled, unless the transport is shared."""
        if self._owns_transport:
            await self._transport.close()

    def _url_of(self, request: WireRequest) -> str:
        return self._place.url_of(request)


def _moved_to(url: str, headers: Headers) -> str | None:
    """Return where *url* has moved to on its own host; `None` elsewhere: no other gets the key."""
    location = headers.get("location")
    if not location:
        return None
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        is_same = (here.scheme, here.hostname, here.port) == (
            there.scheme, there.hostname, there.port,
        )  # fmt: skip
    except ValueError:
        return None
    return there.geturl() if is_same and "@" not in there.netloc else None


def _redirected(status: int, headers: Headers) -> Failure:
    location = masked(headers.get("location") or "nowhere")[:_LONGEST_LOCATION]
    message = f"the provider redirects to {location}: set its base_url to where it is now"
    return Failure(FailureClass.SERVER_ERROR, message, status, code="redirected")
