"""Who sent a request, where proxies stand in front of the service.

Each proxy writes the address that it was called from at the end of `X-Forwarded-For`. So it is
read from its end, as long as who wrote an entry is trusted; what stands further ahead anybody
may have made up.
"""

import ipaddress
from collections.abc import Iterable

from apikeyrouter_proxy.middleware.security_headers import HeaderList

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HEADER = b"x-forwarded-for"
#: More proxies than anybody puts one behind the other; what is ahead of them is not looked at.
_MOST_HOPS = 32


class TrustedProxies:
    """Tells the address of who sent a request.

    Args:
        networks: Of the proxies that are believed; without any, nobody is.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: tuple[_Network, ...] = tuple(map(ipaddress.ip_network, networks))

    def sender(self, peer: str, headers: HeaderList) -> str:
        """Return the nearest address that is none of a trusted proxy.

        Args:
            peer: Who is at the other end of the connection.
            headers: As they came; a list that was sent in several headers is one.
        """
        address = _address_of(peer)
        if address is None or not self._trusts(address):
            return peer
        listed = b",".join(value for name, value in headers if name == _HEADER)
        for hop in reversed(listed.decode("latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
            before = _address_of(_without_port(hop.strip().strip('"')))
            if before is None:
                # Whoever wrote this is the last that is known.
                break
            address = before
            if not self._trusts(address):
                break
        return str(address)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _address_of(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows IPv4 addresses as ::ffff:10.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(text: str) -> str:
    """Return the address in `1.2.3.4:56` or `[::1]:56`; of any other text, all of it."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
