"""Who may manage: whoever has the management key; who guesses at it is slowed down."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from apikeyrouter_proxy.api.problems import ProblemError

#: Wrong keys from one address: so many at once, and then one in so many seconds.
FAILURES_AT_ONCE, FAILURE_EVERY_S = 30, 2.0
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
    """Lets in whoever has the management key.

    Args:
        key: `None` keeps everybody out.
        clock: Seconds, of any origin.
    """

    def __init__(self, key: SecretStr | None, clock: Callable[[], float]) -> None:
        self._expected = _hash(key.get_secret_value().encode()) if key is not None else None
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def check(self, headers: Mapping[bytes, bytes], address: str) -> None:
        """Return if *headers* have the key.

        Raises:
            ProblemError: They do not, or too many wrong ones came from *address*.
        """
        if self._expected is None:
            raise ProblemError(403, _CLOSED)
        presented = _presented(headers)
        if not presented:
            raise ProblemError(401, _MISSING, headers=[_CHALLENGE])
        now = self._clock()
        failures = self._failures.get(address)
        count = failures.at_time(now) if failures is not None else 0.0
        if count > FAILURES_AT_ONCE - 1:
            wait_s = int((count - FAILURES_AT_ONCE + 1) * FAILURE_EVERY_S) + 1
            headers_ = [(b"retry-after", b"%d" % wait_s)]
            raise ProblemError(429, f"{_TOO_MANY}; try again in {wait_s} s", headers=headers_)
        if not hmac.compare_digest(self._expected, _hash(presented)):
            self._note(address, _Failures(count + 1.0, now))
            raise ProblemError(401, _WRONG, headers=[_CHALLENGE])

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


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


_CLOSED = (
    "the management API is closed: set APIKEYROUTER_MANAGEMENT_API_KEY where the service runs, "
    "start it again, and send that key as X-API-Key"
)
_MISSING = "send the management key as 'X-API-Key: <key>' or 'Authorization: Bearer <key>'"
_WRONG = "this is not the management key"
_TOO_MANY = "too many wrong keys came from this address"
