"""Who may manage: whoever has a management key; who guesses at one is slowed down."""

import hashlib
import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from apikeyrouter_proxy.api.problems import ProblemError

#: Wrong keys from one address: so many at once, and then one in so many seconds.
FAILURES_AT_ONCE, FAILURE_EVERY_S = 30, 2.0
#: By these nothing is changed; a POST that only answers may still show what is secret.
_LOOKING = ("GET", "HEAD", "OPTIONS")
#: Whoever has one address of IPv6 has as many as this part leaves open.
_OWN_PREFIX = 64
#: Addresses that are remembered; beyond it the one that was silent for longest goes.
_ADDRESSES_KEPT = 4096
_CHALLENGE = (b"www-authenticate", b'Bearer realm="apikeyrouter management"')


@dataclass(slots=True)
class _Failures:
    """Failures of one address that are not forgiven yet, as of `at`."""

    count: float
    at: float

    def at_time(self, now: float) -> float:
        return max(0.0, self.count - (now - self.at) / FAILURE_EVERY_S)


class Logins:
    """Lets in whoever has a management key.

    Args:
        full: Keys that may do everything, with commas between.
        clock: Seconds, of any origin.
        reading: Keys that may look. Where there is no key at all, everybody is kept out.
    """

    def __init__(
        self,
        full: SecretStr | None,
        clock: Callable[[], float],
        *,
        reading: SecretStr | None = None,
    ) -> None:
        self._full, self._reading = _hashes(full), _hashes(reading)
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def check(self, headers: Mapping[bytes, bytes], address: str, method: str = "GET") -> None:
        """Return if *headers* have a key that may do *method*.

        Raises:
            ProblemError: They do not, or too many wrong ones came from *address*.
        """
        if not self._full and not self._reading:
            raise ProblemError(403, _CLOSED)
        presented = _presented(headers)
        if not presented:
            raise ProblemError(401, _MISSING, headers=[_CHALLENGE])
        now, address = self._clock(), _neighbourhood(address)
        failures = self._failures.get(address)
        count = failures.at_time(now) if failures is not None else 0.0
        if count > FAILURES_AT_ONCE - 1:
            wait_s = int((count - FAILURES_AT_ONCE + 1) * FAILURE_EVERY_S) + 1
            headers_ = [(b"retry-after", b"%d" % wait_s)]
            raise ProblemError(429, f"{_TOO_MANY}; try again in {wait_s} s", headers=headers_)
        digest = _hash(presented)
        is_full, may_read = _is_among(digest, self._full), _is_among(digest, self._reading)
        if not is_full and not may_read:
            self._note(address, _Failures(count + 1.0, now))
            raise ProblemError(401, _WRONG, headers=[_CHALLENGE])
        if not is_full and method not in _LOOKING:
            raise ProblemError(403, _ONLY_LOOKS)

    def _note(self, address: str, failures: _Failures) -> None:
        self._failures[address] = failures
        self._failures.move_to_end(address)
        if len(self._failures) > _ADDRESSES_KEPT:
            self._failures.popitem(last=False)


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    own = headers.get(b"x-api-key", b"").strip()
    if own:
        return own
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _hashes(keys: SecretStr | None) -> list[bytes]:
    listed = keys.get_secret_value().split(",") if keys is not None else []
    return [_hash(key.strip().encode()) for key in listed]


def _is_among(digest: bytes, expected: list[bytes]) -> bool:
    # Each is compared, so that the time does not tell which one it was.
    return sum(hmac.compare_digest(digest, one) for one in expected) > 0


def _neighbourhood(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4 or found.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((int(found), _OWN_PREFIX), strict=False))


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


_CLOSED = (
    "the management API is closed: set APIKEYROUTER_MANAGEMENT_API_KEY where the service runs, "
    "start it again, and send that key as X-API-Key"
)
_MISSING = "send the management key as 'X-API-Key: <key>' or 'Authorization: Bearer <key>'"
_WRONG = "this is not the management key"
_ONLY_LOOKS = (
    "this key may only look: send one of APIKEYROUTER_MANAGEMENT_API_KEY to change anything"
)
_TOO_MANY = "too many wrong keys came from this address"
