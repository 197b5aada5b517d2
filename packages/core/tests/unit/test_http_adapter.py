"""What every HTTP provider shares: address, credential, and what answers mean."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.health_state import HealthStatus
from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.system_response import ResponseChunk, SystemResponse
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.adapters.http_adapter import (
    CATEGORIES,
    HttpAdapter,
    system_error_of,
)
from apikeyrouter.infrastructure.adapters.transport import Transport

pytestmark = pytest.mark.unit


class ScriptedTransport(Transport):
    """Answers as it was told and notes what it was asked."""

    def __init__(self, *answers: tuple[int, bytes] | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.closed = 0

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WireResponse:
        self.asked.append((method, url, dict(headers), body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, content = answer

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        async def read() -> bytes:
            return content

        return WireResponse(status, {}, chunks(), read, lambda: None)

    async def close(self) -> None:
        self.closed += 1


class PlainAdapter(HttpAdapter):
    """The common half with the least of another half."""

    def prepare(self, intent: RequestIntent) -> WireRequest:
        return WireRequest("chat", intent.encoded())

    def normalize_chunk(self, data: bytes) -> ResponseChunk | None:
        return None

    async def execute_request(self, intent: RequestIntent, key: APIKey) -> Any:
        raise NotImplementedError

    def normalize_response(self, raw: Any) -> SystemResponse:
        raise NotImplementedError


def _adapter(*answers: tuple[int, bytes] | Exception, **options: Any) -> PlainAdapter:
    return PlainAdapter("https://host/v1/", transport=ScriptedTransport(*answers), **options)


def _asked(adapter: HttpAdapter) -> list[tuple[str, str, dict[str, str], bytes]]:
    assert isinstance(adapter._transport, ScriptedTransport)
    return adapter._transport.asked


REFUSED = aiohttp.ClientConnectionError("refused")


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://host/v1", "https://host/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_base_url_loses_its_last_slash(base_url: str, kept: str) -> None:
    assert kept == PlainAdapter(base_url).base_url


@pytest.mark.parametrize(
    "base_url",
    ["", "host/v1", "ftp://host", "https://", "https://[::1", "http://host:port/", "//host"],
)
def test_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url should be like https://host/v1"):
        PlainAdapter(base_url)


@pytest.mark.parametrize(
    "base_url", ["https://u:secret@host/v1", "https://host/v1?key=secret", "https://host/#secret"]
)
def test_base_url_with_more_than_a_path_is_refused_without_being_shown(base_url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        PlainAdapter(base_url)
    assert "secret" not in str(refusal.value)


async def test_request_goes_to_the_provider_with_its_credential() -> None:
    adapter = _adapter((200, b""), headers={"X-Title": "mine"})
    request = WireRequest("chat", b"{}", {"content-type": "application/json"}, query="a=1")
    await adapter.send(request, "sk-1")
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-title": "mine",
        "authorization": "Bearer sk-1",
    }
    assert [("POST", "https://host/v1/chat?a=1", headers, b"{}")] == _asked(adapter)
    assert request.headers == {"content-type": "application/json"}


async def test_callers_headers_never_displace_ours() -> None:
    adapter = _adapter((200, b""), credential_header="api-key", credential_prefix="")
    await adapter.send(WireRequest("chat", headers={"api-key": "stolen"}), "sk-1")
    [(_, url, headers, _)] = _asked(adapter)
    assert (
        url,
        headers,
    ) == ("https://host/v1/chat", {"api-key": "sk-1", "accept-encoding": "identity"})


@pytest.mark.parametrize(
    ("theirs", "ours", "asked"),
    [
        ({}, {}, "identity"),
        ({"accept-encoding": "br"}, {}, "br"),
        ({"accept-encoding": "br"}, {"Accept-Encoding": "gzip"}, "gzip"),
    ],
    ids=["nobody asks", "the caller asks", "the adapter is told"],
)
async def test_answer_is_compressed_only_for_who_asks(
    theirs: dict[str, str], ours: dict[str, str], asked: str
) -> None:
    adapter = _adapter((200, b""), headers=ours)
    await adapter.send(WireRequest("chat", headers=theirs), "sk-1")
    [(_, _, headers, _)] = _asked(adapter)
    assert headers["accept-encoding"] == asked


def test_no_answer_is_classified() -> None:
    assert FailureClass.TIMEOUT is _adapter().classify_exception(TimeoutError()).kind


def test_refusal_is_classified_with_the_adapters_dialect() -> None:
    headers = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "0"}
    failure = _adapter(dialect="groq").classify(429, headers, b"{}", 0.0)
    assert (failure.kind, failure.limits[0].period_s) == (FailureClass.RATE_LIMITED_DAY, 86400.0)


def test_limits_and_account_are_read_in_the_adapters_dialect() -> None:
    adapter = _adapter(dialect="openai")
    headers = {"x-ratelimit-limit-tokens": "100", "openai-organization": "org-1"}
    [limit] = adapter.read_limits(headers, 0.0)
    assert (limit.dimension, limit.limit) == (Dimension.TOKENS, 100.0)
    assert adapter.read_account(headers) == "org-1"
    assert _adapter(dialect="none").read_limits(headers, 0.0) == ()


def test_facts_of_the_provider_are_kept() -> None:
    admission = Admission(counts_cap=False)
    adapter = _adapter(admission=admission, per_model=True, stream_options=False, models=("a-*",))
    assert (admission, True, False, ("a-*",)) == (
        adapter.admission,
        adapter.per_model,
        adapter.stream_options,
        adapter.models,
    )


INVALID_KEY = b'{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}'


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ((200, b'{"data":[]}'), True),
        ((401, INVALID_KEY), False),
        ((401, b""), False),
        ((400, INVALID_KEY), False),
        ((401, b'{"error":{"code":"ip_not_authorized"}}'), None),
        ((403, b"{}"), None),
        ((429, b"{}"), None),
        ((500, INVALID_KEY), None),
        ((301, b""), None),
        (REFUSED, None),
        (TimeoutError(), None),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_probe_tells_a_refused_key_from_a_call_that_failed(
    answer: tuple[int, bytes] | Exception, accepted: bool | None
) -> None:
    adapter = _adapter(answer)
    assert accepted is await adapter.probe("sk-1")
    [(method, url, headers, body)] = _asked(adapter)
    assert (method, url, body) == ("GET", "https://host/v1/models", b"")
    assert headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((200, b""), HealthStatus.HEALTHY),
        ((401, b""), HealthStatus.HEALTHY),
        ((503, b""), HealthStatus.DEGRADED),
        (REFUSED, HealthStatus.DOWN),
    ],
    ids=["answer", "refusal", "server error", "no answer"],
)
async def test_health_is_told_without_showing_a_key(
    answer: tuple[int, bytes] | Exception, status: HealthStatus
) -> None:
    adapter = _adapter(answer)
    health = await adapter.get_health()
    assert (status, status is HealthStatus.DOWN) == (health.status, health.latency_ms is None)
    assert "authorization" not in _asked(adapter)[0][2]


async def test_shared_transport_is_left_open() -> None:
    adapter = _adapter()
    await adapter.close()
    assert isinstance(adapter._transport, ScriptedTransport)
    assert adapter._transport.closed == 0


async def test_own_transport_is_closed() -> None:
    await PlainAdapter("https://host").close()


def test_every_failure_class_has_its_category() -> None:
    assert set(CATEGORIES) == set(FailureClass)


@pytest.mark.parametrize(
    ("kind", "category", "retryable"),
    [
        (FailureClass.RATE_LIMITED, ErrorCategory.RateLimitError, True),
        (FailureClass.QUOTA_BILLING, ErrorCategory.QuotaExceededError, False),
        (FailureClass.KEY_INVALID, ErrorCategory.AuthenticationError, False),
        (FailureClass.CONTEXT_LENGTH, ErrorCategory.ValidationError, False),
        (FailureClass.OVERLOADED, ErrorCategory.ProviderError, True),
        (FailureClass.TIMEOUT, ErrorCategory.TimeoutError, True),
        (FailureClass.UNREACHABLE, ErrorCategory.NetworkError, True),
    ],
)
def test_failure_becomes_the_error_that_callers_catch(
    kind: FailureClass, category: ErrorCategory, retryable: bool
) -> None:
    error = system_error_of(Failure(kind, "words", status=418, code="c", retry_after_s=2.5))
    assert (category, retryable, "words", "c", 2.5, {"status": 418, "class": kind.value}) == (
        error.category,
        error.retryable,
        error.message,
        error.provider_code,
        error.retry_after,
        error.details,
    )


def test_failure_without_an_answer_has_no_status() -> None:
    assert system_error_of(Failure(FailureClass.NETWORK, "cut")).details == {"class": "network"}


@pytest.mark.parametrize(
    ("raised", "category"),
    [
        (TimeoutError(), ErrorCategory.TimeoutError),
        (aiohttp.ServerDisconnectedError(), ErrorCategory.NetworkError),
        (ConnectionResetError(), ErrorCategory.NetworkError),
        (ValueError("odd"), ErrorCategory.UnknownError),
        (SystemError(ErrorCategory.RateLimitError, "slow"), ErrorCategory.RateLimitError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exceptions_are_mapped(raised: Exception, category: ErrorCategory) -> None:
    assert category is _adapter().map_error(raised).category
