"""What a failure is: an answer that is not 2xx, an error inside a stream, no answer at all.

The rows of `error_signals` say what signals mean, `error_bodies` knows the
shapes they come in, `error_figures` reads waits and limits out of words. Any
bytes and any status give a class; nothing here raises, and no message keeps a
credential.
"""

import asyncio
import re
import socket
from collections.abc import Mapping

import aiohttp

from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.limits.calendars import next_month_utc
from apikeyrouter.domain.limits.observation import DAY_S, HOUR_S, ObservedLimit
from apikeyrouter.infrastructure.adapters.errors.error_bodies import (
    ErrorBody,
    decode,
    masked,
    read_error,
    title_in,
)
from apikeyrouter.infrastructure.adapters.errors.error_figures import (
    DAY_ENDS,
    Figures,
    instant_in,
    limit_of,
    owner_in,
    read_figures,
    retry_delay_in,
    violations_in,
    wait_in,
)
from apikeyrouter.infrastructure.adapters.errors.error_signals import (
    NATURAL_STATUS,
    blames_size,
    class_by_code,
    class_by_status,
    class_by_vague_code,
    class_by_words,
)
from apikeyrouter.infrastructure.adapters.rate_limit_headers import (
    read_account,
    read_limits,
    read_retry_after,
)

_F = FailureClass
#: Words beyond these are not searched.
_READ_CHARS = 8192
#: What a message repeats of the request tells nothing: `Invalid value: 'invalid api key'`.
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`")
_PAGE = re.compile(r"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
#: A wait that is told with a day's limit and is shorter than this is not the day's.
_SHORTEST_DAY_S = HOUR_S
#: Spending caps that end with the calendar month.
_MONTHLY = frozenset({"enforced_spend_limit_reached"})
#: Code of a failure whose certificate is signed by no authority that is trusted here.
UNTRUSTED = "untrusted_certificate"
#: Whatever a provider says: after so long it is asked again.
_LONGEST_WAIT_S = DAY_S
#: What an operating system says when no connection came about.
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    ConnectionRefusedError,
    socket.gaierror,
)


def classify(
    kind: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    dialect: str | None = None,
) -> Failure:
    """Say what an answer that is not 2xx means.

    Args:
        kind: Dialect of the body.
        headers: With lower-case names, or without regard to case.
        now: The wall clock's epoch second: what is told as an instant becomes a span.
        dialect: Of the rate-limit headers; the body's if `None`.

    Returns:
        The failure with everything that headers and body reveal. A limit of 0
        is told by its class and is no capacity, so it is not among its limits.
    """
    return _classify(kind, status, headers, read_error(body), now, dialect or kind)


def classify_exception(exc: BaseException) -> Failure:
    """Say what it means that no answer came.

    Unreachable is only what was never sent: a name without address, a refused
    or overdue connection. Reset, broken off and overdue answers may have been
    served.
    """
    text = masked(f"{type(exc).__name__}: {exc}")
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return Failure(_F.UNREACHABLE, text, code=UNTRUSTED)
    if isinstance(exc, _NEVER_SENT):
        return Failure(_F.UNREACHABLE, text)
    if isinstance(exc, asyncio.TimeoutError):
        return Failure(_F.TIMEOUT, "the provider did not answer in time")
    return Failure(_F.NETWORK, text)


def classify_embedded(kind: str, event: bytes, now: float) -> Failure | None:
    """Find an error that a provider put into a 200: a whole body, or events of a stream.

    Returns:
        The failure, with the status that it would have had by itself; `None`
        when there is no error.
    """
    whole = event.strip()
    candidates = [whole] if whole.startswith((b"{", b"[")) else _data_of(whole)
    for data in candidates:
        if (b"error" in data or b"choices" in data) and decode(data) is not None:
            error = read_error(data)
            if error.is_error:
                return _classify(kind, error.http_code, {}, error, now, kind)
    return None


def _classify(
    kind: str,
    status: int | None,
    headers: Mapping[str, str],
    error: ErrorBody,
    now: float,
    dialect: str,
) -> Failure:
    message = error.message[:_READ_CHARS]
    figures = read_figures(message)
    limits = _limits_of(error, figures, headers, now, dialect)
    failed = _class_of(kind, status, headers, error, figures, limits, dialect)
    wait_s = _wait_told(error, figures, headers, now, dialect)
    opens_in_s = _wait_until_told(failed, error, wait_s, now, (dialect, kind))
    return Failure(
        kind=failed,
        message=masked(title_in(error.message) if _is_page(headers, error) else error.message),
        status=status if status is not None else NATURAL_STATUS.get(failed, 500),
        code=masked(error.code) if error.code else None,
        retry_after_s=wait_s,
        opens_in_s=opens_in_s,
        limits=tuple(limit for limit in limits if limit.limit != 0.0),
        account=read_account(dialect, headers) or owner_in(message),
    )


def _class_of(
    kind: str,
    status: int | None,
    headers: Mapping[str, str],
    error: ErrorBody,
    figures: Figures,
    limits: tuple[ObservedLimit, ...],
    dialect: str,
) -> FailureClass:
    codes, words = (*error.codes, *_exception_name(headers)), _words_of(error)
    failed = (
        class_by_code(codes, status, dialect, kind)
        or class_by_words(words, status)
        or class_by_vague_code(codes, status)
        or class_by_status(status, dialect, kind)
    )
    if failed in (_F.QUOTA_BILLING, _F.UNEXPLAINED) and status == 402 and blames_size(words):
        return _F.TOO_BIG_FOR_LIMIT
    if failed in (_F.RATE_LIMITED, _F.RATE_LIMITED_DAY):
        return _refined(failed, status, figures, limits)
    return failed


def _refined(
    failed: FailureClass,
    status: int | None,
    figures: Figures,
    limits: tuple[ObservedLimit, ...],
) -> FailureClass:
    """Tell the limits apart that are told with the same code."""
    if any(limit.limit == 0.0 for limit in limits):
        return _F.ZERO_ALLOWANCE
    if figures.asks_too_much or status == 413:
        return _F.TOO_BIG_FOR_LIMIT
    return _F.RATE_LIMITED_DAY if any(map(_is_day_spent, limits)) else failed


def _is_day_spent(limit: ObservedLimit) -> bool:
    period_s = limit.period_s or limit.inferred_period()
    return limit.remaining == 0.0 and period_s is not None and period_s >= DAY_S


def _words_of(error: ErrorBody) -> str:
    """Return what may be searched: the message without quotations, names of quotas, codes."""
    quotas = " ".join(violation["quotaId"] for violation in violations_in(error.details))
    message = _QUOTED.sub(" ", error.message[:_READ_CHARS])
    return f"{message} {quotas} {' '.join(error.codes)}"


def _exception_name(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the name of an AWS exception: `ThrottlingException:http://…`."""
    found = headers.get("x-amzn-errortype")
    return (found.partition(":")[0].lower(),) if found else ()


def _is_page(headers: Mapping[str, str], error: ErrorBody) -> bool:
    """Tell a page of a guard in front of the provider from the provider's own answer."""
    is_html = (headers.get("content-type") or "").lower().startswith("text/html")
    return is_html or _PAGE.match(error.message) is not None


def _limits_of(
    error: ErrorBody, figures: Figures, headers: Mapping[str, str], now: float, dialect: str
) -> tuple[ObservedLimit, ...]:
    told = [limit_of(violation, now) for violation in violations_in(error.details)]
    told.append(figures.observed())
    reported = (*read_limits(dialect, headers, now), *read_limits(dialect, error.headers, now))
    return (*map(figures.dated, reported), *(limit for limit in told if limit is not None))


def _wait_told(
    error: ErrorBody, figures: Figures, headers: Mapping[str, str], now: float, dialect: str
) -> float | None:
    """Return the longest of the waits that the answer tells, or else what its figures imply."""
    told = (
        read_retry_after(headers, now, dialect),
        read_retry_after(error.headers, now, dialect),
        wait_in(error.message[:_READ_CHARS]),
        retry_delay_in(error.details),
    )
    wait_s = max((wait for wait in told if wait is not None), default=figures.wait_s())
    return min(wait_s, _LONGEST_WAIT_S) if wait_s is not None else None


def _wait_until_told(
    failed: FailureClass,
    error: ErrorBody,
    wait_s: float | None,
    now: float,
    dialects: tuple[str, ...],
) -> float | None:
    """Return the seconds until the instant of which words or the calendar tell."""
    if failed is _F.QUOTA_BILLING:
        if not _MONTHLY.isdisjoint(error.codes):
            return next_month_utc(now) - now
        opens_at = instant_in(error.message[:_READ_CHARS])
        return None if opens_at is None else max(0.0, opens_at - now)
    if failed is not _F.RATE_LIMITED_DAY or (wait_s is not None and wait_s >= _SHORTEST_DAY_S):
        return None
    # A short wait beside a fixed day is the minute's; a rolling day's own wait may be short.
    if violations_in(error.details):
        dialects = ("gemini",)
    ends = next((DAY_ENDS[name] for name in dialects if name in DAY_ENDS), None)
    return ends.next_after(now) - now if ends is not None else None


def _data_of(event: bytes) -> list[bytes]:
    """Return the data of every event; a piece that was cut off in the middle is no JSON."""
    lines = event.replace(b"\r", b"\n").split(b"\n")
    return [line[5:].strip() for line in lines if line.startswith(b"data:")]
