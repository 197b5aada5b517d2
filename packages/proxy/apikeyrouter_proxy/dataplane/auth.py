"""Who calls: a token's hash looked up, compared in constant time."""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from apikeyrouter.infrastructure.config.model import ClientConfig
from apikeyrouter.service import LedgerAccount, is_loopback, matches

#: Where clients of the dialects put their key, unless it is a Bearer token.
_TOKEN_HEADERS = (b"api-key", b"x-api-key", b"x-goog-api-key")


@dataclass(slots=True, eq=False)
class Client:
    """Someone who may call, and what of.

    Attributes:
        accounts: The client's own limits, as windows of the same kind as a provider's.
    """

    name: str
    models: tuple[str, ...] | None
    weight: float
    priority: int
    accounts: tuple[LedgerAccount, ...]

    def may_use(self, model: str) -> bool:
        """Tell whether the client may ask for *model*."""
        return matches(self.models, model)


class ClientRegister:
    """Clients by the hash of their token; tokens themselves are not kept."""

    def __init__(self, clients: Iterable[tuple[ClientConfig, tuple[LedgerAccount, ...]]]) -> None:
        self._by_hash = [
            (
                _hash(config.token.get_secret_value().encode()),
                Client(
                    config.name,
                    tuple(config.models) if config.models is not None else None,
                    config.weight,
                    config.priority,
                    accounts,
                ),
            )
            for config, accounts in clients
        ]

    def __len__(self) -> int:
        return len(self._by_hash)

    def find(self, headers: dict[bytes, bytes]) -> Client | None:
        """Return who has the token in one of the headers for it; `None` if nobody."""
        token = headers.get(b"authorization", b"")
        if token[:7].lower() == b"bearer ":
            token = token[7:].strip()
        else:
            token = next(filter(None, map(headers.get, _TOKEN_HEADERS)), b"")
        presented = _hash(token)
        found = None
        # Every entry is compared, so that the time tells nothing of which one it was.
        for expected, client in self._by_hash:
            if hmac.compare_digest(expected, presented):
                found = client
        return found if token else None


@lru_cache(maxsize=64)
def is_exposed(address: str) -> bool:
    """Tell whether other machines reach a server's *address*.

    Only an IP address can be one; the path of a unix socket and the name that a
    test client makes up are none.
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return not is_loopback(address)


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
