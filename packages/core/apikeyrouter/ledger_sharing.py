"""A router made to share its ledger with other processes."""

from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.infrastructure.ledger.redis_ledger import HOLD_TTL_S, TIMEOUT_S, RedisLedger
from apikeyrouter.router import ApiKeyRouter


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
