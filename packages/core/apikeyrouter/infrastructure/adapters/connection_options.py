"""How a provider is reached: through which proxy, by which authorities, with how much patience."""

import ipaddress
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import getproxies_environment

from yarl import URL

from apikeyrouter.domain.interfaces.provider_adapter import (
    STALL_TIMEOUT_S,
)
from apikeyrouter.errors import ConfigurationError

#: In the place of a proxy's URL: none, whatever the environment says.
DIRECT = "direct"
_SCHEMES = ("http", "https")


@dataclass(slots=True, frozen=True, kw_only=True)
class ConnectionOptions:
    """How one provider is reached.

    Attributes:
        proxy: URL of an HTTP proxy, or `direct`; `None` takes what `HTTP_PROXY`,
            `HTTPS_PROXY` and `NO_PROXY` say.
        ca_file: PEM file of authorities that are trusted besides the system's.
        first_token_timeout_s: A stream that carries nothing within this has failed; `None`
            takes what was learned of each model there, 300 s at first.
        stall_timeout_s: A stream that is silent for so long has broken off.
        learns_stall: The usual time is cut shorter (30 s at least) where streams of a model were
            never silent for long; another one holds as it is.
    """

    proxy: str | None = None
    ca_file: str | None = None
    first_token_timeout_s: float | None = None
    stall_timeout_s: float = STALL_TIMEOUT_S
    learns_stall: bool = True

    @property
    def stall(self) -> tuple[float, bool]:
        """How long a stream may be silent, and whether that is cut shorter."""
        return self.stall_timeout_s, self.learns_stall and self.stall_timeout_s == STALL_TIMEOUT_S


class ProxyChoice:
    """Which proxy a URL is reached through, by a setting or else the environment.

    Raises:
        ConfigurationError: A proxy is no HTTP URL.
    """

    def __init__(self, setting: str | None) -> None:
        self._direct: tuple[str, ...] = ()
        self._proxies: dict[str, Proxy] = {}
        if setting is None:
            told = getproxies_environment()
            self._direct = tuple(told.get("no", "").lower().replace(",", " ").split())
            self._proxies = {
                scheme: _proxy_at(told[scheme], f"{scheme.upper()}_PROXY")
                for scheme in _SCHEMES
                if told.get(scheme)
            }
        elif setting != DIRECT:
            self._proxies = dict.fromkeys(_SCHEMES, _proxy_at(setting, "proxy"))

    def __bool__(self) -> bool:
        return bool(self._proxies)

    def for_url(self, url: URL) -> "Proxy | None":
        """Return the proxy and its credentials, `None` where the way is direct."""
        proxy = self._proxies.get(url.scheme)
        if proxy is None or any(_covers(entry, url) for entry in self._direct):
            return None
        return proxy


@dataclass(slots=True, frozen=True)
class Proxy:
    """A proxy, and what it wants to know of whoever uses it.

    Attributes:
        headers: For the proxy alone: of the tunnel, or of the request where there is none.
    """

    url: URL
    headers: dict[str, str] = field(default_factory=dict, repr=False)


def trusted_context(ca_file: str | None) -> ssl.SSLContext | None:
    """Return a context that trusts *ca_file* besides the system's authorities.

    Raises:
        ConfigurationError: The file cannot be read, or holds no certificate.
    """
    if ca_file is None:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=Path(ca_file).expanduser())
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"ca_file '{ca_file}' should be a readable file of PEM certificates: {error}"
        ) from None
    return context


def _covers(entry: str, url: URL) -> bool:
    """Tell whether an entry of `NO_PROXY` is *url*'s host, a domain or a network above it."""
    host = (url.host or "").lower()
    if "/" in entry:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and ":" not in name:
        if int(port) != url.port:
            return False
        entry = name
    domain = entry.removeprefix("*").removeprefix(".").strip("[]")
    return not domain or host == domain or host.endswith("." + domain)


def _proxy_at(text: str, name: str) -> Proxy:
    try:
        url = URL(text if "://" in text else f"http://{text}")
    except ValueError:
        url = URL()
    if url.scheme not in _SCHEMES or not url.host:
        # It may hold a password: it is not repeated.
        raise ConfigurationError(f"{name} should be the URL of an HTTP proxy: http://host:port")
    if not url.user:
        return Proxy(url)
    credentials = b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    return Proxy(url.with_user(None), {"proxy-authorization": f"Basic {credentials}"})
