"""Which headers pass, in both directions.

Credentials, hop-by-hop headers, cookies and what belongs to one of our keys
(its limits, its organisation) stay here; all others pass as they are.
"""

from collections.abc import Iterable
from functools import lru_cache

from apikeyrouter.exchange import Answer

_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
}  # fmt: skip
_NOT_TO_PROVIDERS = frozenset(
    _HOP_BY_HOP
    | {
        b"host", b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key", b"cookie",
        b"content-length", b"accept-encoding", b"expect", b"forwarded", b"x-forwarded-for",
        b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"openai-organization",
        b"openai-project", b"x-request-timeout", b"x-request-id",
    }
)  # fmt: skip
_NOT_TO_CLIENTS = frozenset(
    _HOP_BY_HOP
    | {
        b"content-length", b"set-cookie", b"date", b"server", b"alt-svc", b"x-request-id",
        b"openai-organization", b"openai-project", b"retry-after", b"retry-after-ms",
        b"x-should-retry", b"x-key-used", b"x-provider-used", b"strict-transport-security",
    }
)  # fmt: skip
_OWN_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-")


def request_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return what of the client's headers goes to a provider."""
    return {
        known: value.decode("latin-1")
        for name, value in headers
        if (known := _to_provider(name)) is not None
    }


def response_headers(answer: Answer, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return what of a provider's headers goes to the client, and who served it."""
    passed = [
        (known, value)
        for name, value in answer.raw_headers
        if (known := _to_client(name)) is not None
    ]
    passed.append((b"x-request-id", request_id.encode()))
    passed.append((b"x-key-used", answer.attempt.slot.id.encode()))
    passed.append((b"x-provider-used", answer.attempt.provider.id.encode()))
    return passed


@lru_cache(maxsize=1024)
def _to_provider(name: bytes) -> str | None:
    """Return the name as it goes out, `None` if it stays here."""
    return None if name in _NOT_TO_PROVIDERS else name.decode("latin-1")


@lru_cache(maxsize=1024)
def _to_client(name: bytes) -> bytes | None:
    lower = name.lower()
    return None if lower in _NOT_TO_CLIENTS or lower.startswith(_OWN_LIMITS) else lower
