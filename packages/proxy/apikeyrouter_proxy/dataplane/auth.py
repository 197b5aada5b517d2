"""Who calls: the client whose token's hash is known."""

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Iterable
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


@dataclass(slots=True, frozen=True)
class IssuedToken:
    """A token that was made here: its keyed hash, and when it ends, in epoch seconds."""

    digest: bytes
    until: float | None


class ClientRegister:
    """Clients by the hash of their token; tokens themselves are not kept.

    Whoever is looked for is found by a hash: the time that it takes tells of that hash alone,
    which nobody can steer towards a token.

    Attributes:
        key: Of the hashes of issued tokens, which outlive the process.
    """

    def __init__(self) -> None:
        self._by_hash: dict[bytes, Client] = {}
        self._declared: dict[str, tuple[ClientConfig, Client]] = {}
        self.key = b""
        self._issued: dict[bytes, tuple[Client, float | None]] = {}
        self._digests_of: dict[str, list[bytes]] = {}

    def __len__(self) -> int:
        """Return how many clients there are or were: with any, everybody is asked for a token."""
        return len(self._by_hash) + len(self._digests_of)

    def declare(
        self,
        clients: Iterable[ClientConfig],
        accounts_of: Callable[[ClientConfig], tuple[LedgerAccount, ...]],
    ) -> None:
        """Let the clients of a configuration in, and no longer those of the one before.

        Whose limits stay goes on with what is used of them.
        """
        before, self._declared = self._declared, {}
        for config in clients:
            known, client = before.get(config.name, (None, None))
            if client is None or known != config:
                keeps = known is not None and known.limits == config.limits
                client = Client(
                    config.name,
                    tuple(config.models) if config.models is not None else None,
                    config.weight,
                    config.priority,
                    client.accounts if client is not None and keeps else accounts_of(config),
                )
            self._declared[config.name] = config, client
        self._by_hash = {
            _hash(config.token.get_secret_value().encode()): client
            for config, client in self._declared.values()
        }

    def issue(self, client: Client, tokens: Iterable[IssuedToken]) -> None:
        """Let *client* in by these tokens, and no longer by those that it had before."""
        for digest in self._digests_of.get(client.name, ()):
            del self._issued[digest]
        tokens = list(tokens)
        self._digests_of[client.name] = [token.digest for token in tokens]
        self._issued |= {token.digest: (client, token.until) for token in tokens}

    def digest_of(self, token: bytes) -> bytes:
        """Return the hash under which an issued token is kept."""
        return hmac.digest(self.key, _hash(token), "sha256")

    def find(self, headers: dict[bytes, bytes]) -> Client | None:
        """Return who has the token in one of the headers for it; `None` if nobody."""
        token = headers.get(b"authorization", b"")
        if token[:7].lower() == b"bearer ":
            token = token[7:].strip()
        else:
            token = next(filter(None, map(headers.get, _TOKEN_HEADERS)), b"")
        if not token:
            return None
        client = self._by_hash.get(_hash(token))
        return client if client is not None or not self._issued else self._issued_to(token)

    def _issued_to(self, token: bytes) -> Client | None:
        client, until = self._issued.get(self.digest_of(token), (None, None))
        return client if until is None or until > time.time() else None


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
