"""A router made to share its ledger, and what it learns, with other processes."""

from collections.abc import Awaitable, Callable

from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.infrastructure.ledger.redis_ledger import HOLD_TTL_S, TIMEOUT_S, RedisLedger
from apikeyrouter.router import ApiKeyRouter
from apikeyrouter.spreading.spreading import Spreading


def share_ledger(
    router: ApiKeyRouter,
    url: str,
    *,
    prefix: str = "apikeyrouter",
    timeout_s: float = TIMEOUT_S,
    hold_ttl_s: float = HOLD_TTL_S,
) -> RedisLedger:
    """Have *router* share its limits with every process that does so at *url*.

    Keys, clients and accounts have to bear the same names in all of them. The router stops it;
    to hear of a wrong address before the first request, await its `start`.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix://` for a socket.
        prefix: What all names on the server begin with.
        timeout_s: A server that is slower is done without.
        hold_ttl_s: What a process holds is given back so long after it was last heard of.

    Raises:
        ConfigurationError: The address cannot be.
        StateStoreError: The driver is missing.
    """
    parts = router.parts

    def let_go(account: LedgerAccount, window: Window) -> None:
        scope = next((scope for scope in parts.registry if scope.account is account), None)
        if scope is not None:
            parts.search.let_go(scope, window)

    ledger = RedisLedger(
        url, clock=router.now, let_go=let_go, prefix=prefix, timeout_s=timeout_s,
        hold_ttl_s=hold_ttl_s, log=router.observability_manager.log,
    )  # fmt: skip
    router.ledger_backend = ledger
    return ledger


def share_learning(
    router: ApiKeyRouter,
    url: str,
    *,
    prefix: str = "apikeyrouter",
    on_error: Callable[[Exception], None] | None = None,
    ensure_provider: Callable[[str], Awaitable[bool]] | None = None,
) -> Spreading:
    """Return what has *router* know what other processes learn at *url*, and tells them its own.

    Take up the store and register providers and keys first, then await its `start`. Close it
    before the router.

    Args:
        on_error: Told why others cannot be told or heard; by default it is logged.
        ensure_provider: See `Spreading`.

    Raises:
        StateStoreError: The driver is missing, or the address is none.
    """
    log = router.observability_manager.log
    return Spreading(
        router.parts, router.state_store, url, prefix=prefix, ensure_provider=ensure_provider,
        on_error=on_error or (lambda error: log("warning", "between processes", error=str(error))),
    )  # fmt: skip
