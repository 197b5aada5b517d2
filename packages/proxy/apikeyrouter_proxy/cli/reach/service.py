"""The running service, reached over HTTP."""

from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import yarl

from apikeyrouter.service import is_loopback
from apikeyrouter_proxy.api.problems import MEDIA_TYPE
from apikeyrouter_proxy.cli.reach.credentials import ManagementKey
from apikeyrouter_proxy.cli.reach.management import (
    CommandError,
    Management,
    Order,
    UnreachableError,
)
from apikeyrouter_proxy.dataplane.front_doors.info import STORE_HEADER

_PATIENCE = aiohttp.ClientTimeout(total=300, sock_connect=10)
_LOOK = aiohttp.ClientTimeout(total=5, sock_connect=2)


class RunningService(Management):
    """A service at a base URL.

    Args:
        key: Its management key; `None` if there is none to send.

    Raises:
        CommandError: The URL is none.
    """

    def __init__(self, url: str, key: ManagementKey | None) -> None:
        self._url = base_of(url)
        self._key = key
        self.place = f"the service at {str(self._url).rstrip('/')}"
        # What is on this machine is not asked for by way of a proxy.
        is_here = is_loopback(self._url.host or "")
        self._session = aiohttp.ClientSession(trust_env=not is_here)

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close its connections."""
        await self._session.close()

    async def store_id(self) -> str | None:
        """Return what its store is told from others by; `None` if no service of ours answers."""
        try:
            async with self._session.get(
                self._url / "ready", timeout=_LOOK, allow_redirects=False
            ) as answer:
                return answer.headers.get(STORE_HEADER.decode())
        except (OSError, ValueError, aiohttp.ClientError):
            return None

    async def carry_out(self, order: Order) -> tuple[int, bytes]:
        """Send an order; a redirection is not followed, so that the key stays here."""
        if self._key is None:
            raise CommandError(
                f"{self.place} wants its management key: set APIKEYROUTER_MANAGEMENT_API_KEY, "
                "or name a file that has it by --key-file"
            )
        base = str(self._url).rstrip("/")
        query = f"?{order.query}" if order.query else ""
        url = yarl.URL(f"{base}/api/v1{order.path}{query}", encoded=True)
        try:
            async with self._session.request(
                order.method, url, data=order.body or None,
                headers={"X-API-Key": self._key.text, "Content-Type": order.kind},
                timeout=_PATIENCE, allow_redirects=False,
            ) as answer:  # fmt: skip
                status, body = answer.status, await answer.read()
                is_ours = answer.content_type == MEDIA_TYPE
        except (OSError, aiohttp.ClientError) as error:
            raise UnreachableError(f"{self.place} does not answer: {_reason(error)}") from error
        except ValueError as error:
            # Of a key that cannot stand in a header.
            raise CommandError(
                f"the management key of {self._key.source} cannot be sent: copy it again"
            ) from error
        if status == 401 and is_ours:
            raise CommandError(
                f"{self.place} does not take the management key of {self._key.source}: give the "
                "one that the service was started with"
            )
        return status, body


def base_of(url: str) -> yarl.URL:
    """Return *url* without a slash at its end.

    Raises:
        CommandError: It is no base URL.
    """
    try:
        parts = urlsplit(url)
        is_base = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
        if is_base and "@" not in parts.netloc and parts.port != 0:
            return yarl.URL(url.rstrip("/"))
    except ValueError:
        pass
    raise CommandError(
        "the address of the service should be like http://127.0.0.1:8000, without credentials"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name cannot be resolved"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    # The event loop words it its own way, with the address once more.
    if isinstance(cause, ConnectionRefusedError):
        return "nobody listens there"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
