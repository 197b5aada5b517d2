"""Cross-origin resource sharing: which web pages may read our answers.

An origin that the operator names may call every path with any header; browsers
are told nothing of all others, and keep the answers from their pages.
"""

from collections.abc import Iterable, Mapping

from apikeyrouter_proxy.middleware.security_headers import HeaderList

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
#: What a page may read beside the body.
_EXPOSED = (
    b"etag, location, x-request-id, x-key-used, x-provider-used, x-cost-estimated, x-should-retry, "
    b"retry-after, retry-after-ms"
)
_PREFLIGHT_HOLDS_S = b"600"
_DEFAULT_REQUEST_HEADERS = b"authorization, content-type"


class Cors:
    """The origins that may call from a browser.

    Args:
        origins: Such as `https://console.example.com`; `*` names all.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self.origins = frozenset(origin.rstrip("/").lower().encode() for origin in origins)
        self._names_all = b"*" in self.origins

    def allows(self, origin: bytes) -> bool:
        """Tell whether the operator named *origin*."""
        return self._names_all or origin.lower() in self.origins

    def headers_for(self, origin: bytes) -> HeaderList:
        """Return what an answer to a page of *origin* needs; nothing if it is not named."""
        if not self.allows(origin):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]

    def preflight_headers(self, headers: Mapping[bytes, bytes]) -> HeaderList | None:
        """Return what a preflight adds to `headers_for`; `None` if *headers* make none."""
        if b"origin" not in headers or b"access-control-request-method" not in headers:
            return None
        wanted = headers.get(b"access-control-request-headers", _DEFAULT_REQUEST_HEADERS)
        answer = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", _PREFLIGHT_HOLDS_S),
        ]
        if headers.get(b"access-control-request-private-network") == b"true":
            answer.append((b"access-control-allow-private-network", b"true"))
        return answer
