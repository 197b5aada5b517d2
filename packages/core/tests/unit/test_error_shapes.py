"""Whatever its shape, a failure has a class, and its message no secret."""

import json
import socket
from types import SimpleNamespace

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_errors import (
    NOW,
    F,
    anthropic,
    classify_at,
    openai,
    openrouter,
)

from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.infrastructure.adapters.errors.error_classification import (
    classify,
    classify_embedded,
    classify_exception,
)
from apikeyrouter.infrastructure.adapters.errors.error_signals import (
    BY_CODE,
    BY_VAGUE_CODE,
    NATURAL_STATUS,
)
from apikeyrouter.infrastructure.adapters.rate_limit_headers import DIALECTS

pytestmark = pytest.mark.unit

SECRETS = [
    "sk-proj-abcDEF123", "sk-ant-api03-abc_DEF-123", "sk-abc***xyz", "gsk_abcDEF123",
    "xai-abcDEF123", "AIzaSyAbcDEF123", "AQ.Ab8RN6abc", "pplx-abcdef", "csk-abcdef", "fw_abcdef",
    "hf_abcdef", "Bearer abc/def+ghi==", "0123456789abcdef0123456789abcdef",
    "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2", "eyJhbGciOi.eyJzdWIi.c2ln",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("wrap", ["Incorrect key: {}.", "{}", "({})", '"{}"', "x={}&y"])
def test_no_message_keeps_a_credential(secret, wrap):
    for body in (openai(wrap.format(secret)), wrap.format(secret).encode()):
        failure = classify_at("openai", 401, body)
        assert secret.rstrip("=") not in repr(failure)
        assert "masked" in failure.message


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: ab12***yz.",
        "Incorrect API key provided: hunter2!",
        "GET /v1beta/models?key=hunter2!&alt=sse",
        "x-api-key: hunter2!",
    ],
)
def test_what_stands_where_a_key_stands_is_masked(text):
    message = classify_at("openai", 401, openai(text)).message
    assert "[masked]" in message
    assert "hunter2" not in message
    assert "ab12" not in message


def test_a_message_is_one_short_line():
    message = classify_at("openai", 500, openai("a\n\x1b[31mb\t" + "é" * 5000)).message
    assert len(message) == 500
    assert message.startswith("a [31mb é")


def test_a_message_keeps_no_input_that_a_validation_echoes():
    body = {"detail": [{"loc": ["body", "n"], "msg": "too big", "input": "my diary"}]}
    assert classify_at("mistral", 422, body).message == "body.n: too big"


def test_the_most_telling_code_is_told():
    body = anthropic("x", "rate_limit_error", "ramp_limit_exceeded")
    assert classify_at("anthropic", 429, body).code == "ramp_limit_exceeded"
    assert classify_at("openrouter", 402, openrouter(402)).code == "402"


@pytest.mark.parametrize("code", [*BY_CODE, *BY_VAGUE_CODE])
def test_every_code_is_understood_with_the_status_it_comes_with(code):
    expected = BY_CODE.get(code) or BY_VAGUE_CODE[code]
    status = NATURAL_STATUS.get(expected, 500)
    assert classify_at("openai", status, openai("", None, code.upper())).kind is expected


EMBEDDED = {
    "openrouter": (
        "openai", b'data: {"error":{"code":502,"message":"down"},"choices":[]}\n\n',
        F.SERVER_ERROR, 502,
    ),
    "openrouter in a whole body": (
        "openai", b'{\n  "error": {\n    "code": 429, "message": "x"}\n}', F.RATE_LIMITED, 429,
    ),
    "anthropic": (
        "anthropic",
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}',
        F.OVERLOADED, 503,
    ),
    "anthropic's limit": (
        "anthropic", b'data: {"type":"error","error":{"type":"rate_limit_error","message":"x"}}',
        F.RATE_LIMITED, 429,
    ),
    "responses": (
        "openai",
        b'data: {"type":"error","code":"rate_limit_exceeded","message":"x","sequence_number":1}',
        F.RATE_LIMITED, 429,
    ),
    "responses failed": (
        "openai",
        b'data: {"type":"response.failed","response":{"error":{"code":"server_error"}}}',
        F.SERVER_ERROR, 500,
    ),
    "responses prompt": (
        "openai",
        b'data: {"type":"response.failed","response":{"error":{"code":"invalid_prompt"}}}',
        F.BAD_REQUEST, 400,
    ),
    "after a comment, with CRLF": (
        "openai", b': PROCESSING\r\n\r\ndata: {"error":"busy"}\r\n\r\n', F.SERVER_ERROR, 500,
    ),
    "mistral's minute": (
        "openai", b'data: {"error":{"message":"x","code":"1300"}}\n\n', F.RATE_LIMITED, 429,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "event", "expected", "status"), EMBEDDED.values(), ids=EMBEDDED)
def test_an_error_inside_of_a_200_is_found(kind, event, expected, status):
    failure = classify_embedded(kind, event, NOW)
    assert failure is not None
    assert (failure.kind, failure.status) == (expected, status)


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"data: [DONE]\n\n",
        b": keep-alive\n\n",
        b'data: {"choices":[{"delta":{"content":"\\"error\\": {\\"code\\": 500}"}}]}\n\n',
        b'data: {"type":"response.created","response":{"error":null}}\n\n',
        b'data: {"error":null,"choices":[]}\n\n',
        b'data: {"error":{},"choices":[]}\n\n',
        b'data: {"error":{"message":"cut off',
        b'data: {"message":"error","code":500}\n\n',
        b'data: ["error"]\n\n',
    ],
)
def test_what_is_no_error_is_none(event):
    assert classify_embedded("openai", event, NOW) is None


_ADDRESS = SimpleNamespace(host="h", port=443, ssl=True, is_ssl=True)
EXCEPTIONS = {
    "refused": (ConnectionRefusedError(111, "refused"), F.UNREACHABLE),
    "no route": (aiohttp.ClientConnectorError(_ADDRESS, OSError(113, "no route")), F.UNREACHABLE),
    "no such name": (
        aiohttp.ClientConnectorDNSError(_ADDRESS, OSError(-2, "unknown")), F.UNREACHABLE,
    ),
    "resolver": (socket.gaierror(-2, "unknown"), F.UNREACHABLE),
    "certificate": (
        aiohttp.ClientConnectorCertificateError(_ADDRESS, ValueError("bad")), F.UNREACHABLE,
    ),
    "connecting took too long": (aiohttp.ConnectionTimeoutError("slow"), F.UNREACHABLE),
    "reading took too long": (aiohttp.SocketTimeoutError("slow"), F.TIMEOUT),
    "server timeout": (aiohttp.ServerTimeoutError("slow"), F.TIMEOUT),
    "deadline": (TimeoutError(), F.TIMEOUT),
    "reset": (ConnectionResetError(104, "reset"), F.NETWORK),
    "client reset": (aiohttp.ClientConnectionResetError("closing"), F.NETWORK),
    "system": (aiohttp.ClientOSError(104, "reset"), F.NETWORK),
    "disconnected": (aiohttp.ServerDisconnectedError(), F.NETWORK),
    "broken payload": (aiohttp.ClientPayloadError("short"), F.NETWORK),
    "anything": (RuntimeError("odd"), F.NETWORK),
}  # fmt: skip


@pytest.mark.parametrize(("error", "expected"), EXCEPTIONS.values(), ids=EXCEPTIONS)
def test_no_answer_has_its_class(error, expected):
    failure = classify_exception(error)
    assert (failure.kind, failure.status) == (expected, None)


def test_an_exception_tells_no_credential():
    failure = classify_exception(aiohttp.ClientPayloadError("Bearer abcdef123"))
    assert failure == Failure(F.NETWORK, "ClientPayloadError: [masked]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "details", "code", "type", "status", "reason",
                 "metadata", "headers", "innererror", "violations", "quotaId", "quotaValue",
                 "retryDelay", "response", "error_type", "limit_source", "__type", "x-y"]
            ),
            inner, max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip
BODIES = st.binary(max_size=300) | JSON.map(lambda data: json.dumps(data).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "content-type",
                     "x-amzn-errortype", "openai-organization"]),
    st.text(max_size=30),
)  # fmt: skip


@given(
    kind=st.sampled_from(list(DIALECTS)), status=st.integers(-1, 10**6), headers=HEADERS,
    body=BODIES,
)  # fmt: skip
def test_any_answer_has_a_class(kind, status, headers, body):
    failure = classify(kind, status, headers, body, NOW)
    assert isinstance(failure.kind, FailureClass)
    assert failure.status == status
    assert len(failure.message) <= 500
    failure.message.encode()
    assert failure.retry_after_s is None or failure.retry_after_s >= 0.0


@given(kind=st.sampled_from(list(DIALECTS)), event=BODIES, prefix=st.sampled_from([b"", b"data: "]))
def test_any_event_is_an_error_or_none(kind, event, prefix):
    failure = classify_embedded(kind, prefix + event, NOW)
    assert failure is None or 400 <= (failure.status or 0) < 600


@given(text=st.text(alphabet="Limit Used: 0123456789,.RequestdTPMry againin(s)org-", max_size=200))
def test_any_words_are_read(text):
    assert classify_at("openai", 429, openai(text)).status == 429


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"error":' * 900 + b"1" + b"}" * 900,
        b'{"message":' * 900 + b"1" + b"}" * 900,
        b'{"error":{"code":' + b"9" * 5000 + b"}}",
        b'{"error":{"message":"\\ud800"}}',
        b"\xff" * 3_000_000,
        json.dumps(openai("limit " * 20_000)).encode(),
        json.dumps(openai("try again in " + "1" * 100_000)).encode(),
        json.dumps(openai("-a" * 50_000)).encode(),
    ],
    ids=range(9),
)
def test_a_monstrous_body_is_classified(body):
    failure = classify_at("openai", 400, body)
    assert failure.kind is F.BAD_REQUEST
    assert len(failure.message) <= 500


def test_page_is_told_by_its_title():
    page = b"<html><head><title>403 Forbidden</title></head><body>secret of nginx</body></html>"
    assert classify_at("openai", 403, page).message == "403 Forbidden"
    assert classify_at("openai", 502, b"<!DOCTYPE html><p>x").message == ""
