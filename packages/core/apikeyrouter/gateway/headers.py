"""Which headers pass, in both directions.

Credentials, hop-by-hop headers, cookies and what belongs to one of our keys
(its limits, its organisation) stay here; all others pass as they are.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from apikeyrouter.dialects.streams.unpacking import readable_of
from apikeyrouter.domain.key_material import masked_in
from apikeyrouter.request.exchange import Answer

_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
}  # fmt: skip
_NOT_TO_PROVIDERS = frozenset(
    _HOP_BY_HOP
    | {
        b"host", b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key", b"cookie",
        b"content-length", b"expect", b"forwarded", b"x-forwarded-for",
        b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"openai-organization",
        b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"openai-project", b"x-request-timeout", b"x-provider", b"x-request-id",
        b"origin", b"referer",
    }
)  # fmt: skip
_NOT_TO_CLIENTS = frozenset(
    _HOP_BY_HOP
    | {
        # For a browser that asks the provider itself.
        b"x-content-type-options", b"x-frame-options", b"strict-transport-security",
        b"content-length", b"set-cookie", b"date", b"server", b"alt-svc", b"x-request-id",
        b"request-id", b"anthropic-organization-id", b"anthropic-workspace-id",
        b"openai-organization", b"openai-project", b"retry-after", b"retry-after-ms",
        b"x-should-retry", b"x-key-used", b"x-provider-used",
    }
)  # fmt: skip
_ACCEPTED = "accept-encoding"
_ORDINARY_CONNECTIONS = (b"", b"keep-alive", b"Keep-Alive", b"close")
_N = TypeVar("_N")
_NAMES_KEPT = 1024
#: Limits of our key, and which pages may read the answer: that is for our operator to say.
_NOT_PASSED = (
    b"x-ratelimit-", b"anthropic-ratelimit-", b"anthropic-priority-", b"anthropic-fast-",
    b"access-control-",
)  # fmt: skip


def request_headers(
    headers: Iterable[tuple[bytes, bytes]], connection: bytes = b""
) -> dict[str, str]:
    """Return what of the client's headers goes to a provider; a repeated one as a list.

    Of `Accept-Encoding` only what can be read here, so that a compressed answer still tells
    what it cost.

    Args:
        connection: The `Connection` header; headers that it names end here.
    """
    name_of = _TO_PROVIDER
    pairs = [(known, value) for name, value in headers if (known := name_of[name])]
    if connection not in _ORDINARY_CONNECTIONS:
        named = {part.strip().lower() for part in connection.decode("latin-1").split(",")}
        pairs = [(name, value) for name, value in pairs if name not in named]
    try:
        passed = {name: value.decode() for name, value in pairs}
    except UnicodeDecodeError:
        passed = {name: _text_of(value) for name, value in pairs}
    if len(passed) != len(pairs):
        passed = _joined(pairs)
    if _ACCEPTED in passed:
        passed[_ACCEPTED] = readable_of(passed[_ACCEPTED])
    return passed


def response_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return what of a provider's headers goes to the client, and who served it."""
    name_of = _TO_CLIENT
    passed = [(known, value) for name, value in answer.raw_headers if (known := name_of[name])]
    secret = answer.attempt.slot.secret.encode()
    if secret in b"\n".join([value for _, value in passed]):
        passed = [(name, masked_in(value, secret)) for name, value in passed]
    if answer.is_opaque:
        passed += [pair for pair in answer.raw_headers if pair[0].lower() == b"content-length"]
    passed.append((b"x-key-used", answer.attempt.slot.record.id.encode()))
    passed.append((b"x-provider-used", answer.attempt.provider.id.encode()))
    if answer.left_out:
        passed.append((b"x-translation-dropped", ", ".join(answer.left_out).encode()))
    return passed


def _text_of(value: bytes) -> str:
    """Read a value as what is sent as the same bytes, UTF-8; what is none is taken for Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _joined(pairs: list[tuple[str, bytes]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(_text_of(value))
    return {name: ", ".join(parts) for name, parts in values.items()}


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
    return b"" if lower in _NOT_TO_CLIENTS or lower.startswith(_NOT_PASSED) else lower


_TO_PROVIDER = _Names(_to_provider)
_TO_CLIENT = _Names(_to_client)
