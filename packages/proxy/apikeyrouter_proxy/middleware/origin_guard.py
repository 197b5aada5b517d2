"""Keeps web pages of others away from a service that asks nobody for a token.

A browser on this machine can be made to call a loopback address: by a page
that simply posts there (`Origin` names the page's site), or by a name that
resolves to 127.0.0.1 (`Host` holds that name). Both are refused unless they are
of this machine, or the operator named them in CORS_ORIGINS.
"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from apikeyrouter.service import is_loopback
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer, refusal
from apikeyrouter_proxy.middleware.cors import Cors

_LONGEST_SHOWN = 100


class OriginGuard:
    """Refuses foreign hosts and origins.

    Args:
        cors: The origins that the operator named.
    """

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._named_hosts = frozenset(_host_of_origin(origin) for origin in cors.origins)

    def refusal_of(self, headers: Mapping[bytes, bytes]) -> ErrorAnswer | None:
        """Return why a request is refused; `None` if it is not."""
        host = headers.get(b"host")
        if host is not None and not is_own_host(host) and not self._is_named(host):
            return _refusal("Host", host, "foreign_host")
        origin = headers.get(b"origin")
        if origin is not None and not is_own_origin(origin) and not self._cors.allows(origin):
            return _refusal("Origin", origin, "foreign_origin")
        return None

    def _is_named(self, host: bytes) -> bool:
        return b"*" in self._cors.origins or _host_of(host) in self._named_hosts


@lru_cache(maxsize=256)
def is_own_host(host: bytes) -> bool:
    """Tell whether a `Host` header names this machine by a name that nobody can redirect."""
    return _is_local_name(_host_of(host))


@lru_cache(maxsize=256)
def is_own_origin(origin: bytes) -> bool:
    """Tell whether a page of *origin* was served by this machine."""
    return _is_local_name(_host_of_origin(origin))


def _is_local_name(name: str) -> bool:
    name = name.rstrip(".")
    return is_loopback(name) or name.endswith(".localhost")


def _host_of(host: bytes) -> str:
    """Return the name in `name:port`, lower-case and without brackets; empty if it is none."""
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


def _host_of_origin(origin: bytes) -> str:
    try:
        return urlsplit(origin.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


def _refusal(header: str, value: bytes, code: str) -> ErrorAnswer:
    shown = value.decode("latin-1")[:_LONGEST_SHOWN]
    return refusal(
        403,
        f"{header} '{shown}' is not of this machine, and a service without clients answers no "
        "others: name the origin in CORS_ORIGINS, or add an entry under clients and send its token",
        code=code,
    )
