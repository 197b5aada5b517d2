"""Which headers pass, in both directions.

Credentials, hop-by-hop headers, cookies and what belongs to one of our keys
(its limits, its organisation) stay here; all others pass as they are.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from apikeyrouter.request.exchange import Answer

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
_N = TypeVar("_N")
_NAMES_KEPT = 1024
_OWN_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-")


def request_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return what of the client's headers goes to a provider."""
    name_of = _TO_PROVIDER
    return {known: value.decode("latin-1") for name, value in headers if (known := name_of[name])}


def response_headers(answer: Answer, request_id: str) -> list[tuple[bytes, bytes]]:
    """Return what of a provider's headers goes to the client, and who served it."""
    name_of = _TO_CLIENT
    passed = [(known, value) for name, value in answer.raw_headers if (known := name_of[name])]
    passed.append((b"x-request-id", request_id.encode()))
    passed.append((b"x-key-used", answer.attempt.slot.record.id.encode()))
    passed.append((b"x-provider-used", answer.attempt.provider.id.encode()))
    return passed


class _Names(dict[bytes, _N]):
    """What becomes of a header's name; looked up once for each spelling, bounded."""

    def __init__(self, translate: Callable[[bytes], _N]) -> None:
        super().__init__()
        self._translate = translate

    def __missing__(self, name: bytes) -> _N:
        if len(self) >= _NAMES_KEPT:
            self.clear()
        self[name] = found = self._translate(name)
        return found


def _to_provider(name: bytes) -> str:
    """Return the name as it goes out, empty if it stays here."""
    return "" if name in _NOT_TO_PROVIDERS else name.decode("latin-1")


def _to_client(name: bytes) -> bytes:
    lower = name.lower()
    return b"" if lower in _NOT_TO_CLIENTS or lower.startswith(_OWN_LIMITS) else lower


_TO_PROVIDER = _Names(_to_provider)
_TO_CLIENT = _Names(_to_client)
