"""Headers that tell browsers to be careful with an answer."""

from collections.abc import Mapping

HeaderList = list[tuple[bytes, bytes]]

_ALWAYS: HeaderList = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
_HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


class SecurityHeaders:
    """The security headers of an answer.

    Args:
        hsts: Tell browsers that came by https to stay with it.
    """

    def __init__(self, *, hsts: bool) -> None:
        self._hsts = hsts
        self._over_tls = [*_ALWAYS, _HSTS]

    def for_request(self, scheme: str, headers: Mapping[bytes, bytes]) -> HeaderList:
        """Return them; the caller must not change the list.

        A proxy in front that ends TLS tells so by `X-Forwarded-Proto`. Browsers
        ignore HSTS over plain HTTP, so nothing is lost if a client makes that up.
        """
        if not self._hsts:
            return _ALWAYS
        is_tls = scheme == "https" or headers.get(b"x-forwarded-proto") == b"https"
        return self._over_tls if is_tls else _ALWAYS
