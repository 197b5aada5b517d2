"""Several routers on one shared ledger, each as if it were a process of its own."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from apikeyrouter import ApiKeyRouter, Demand, ProviderAdapter
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.errors import NoEligibleKeysError, OwnLimitError
from apikeyrouter.infrastructure.ledger.redis_ledger import RedisLedger
from apikeyrouter.ledger_sharing import share_ledger


class Uncalled(ProviderAdapter):
    """Is never called: what is looked at is what is set aside."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise AssertionError

    def normalize_response(self, raw: Any) -> Any:
        raise AssertionError


class Member:
    """One router of the fleet."""

    def __init__(self, router: ApiKeyRouter, ledger: RedisLedger | None) -> None:
        self.router = router
        self._ledger = ledger
        self._asked = 0

    @property
    def ledger(self) -> RedisLedger:
        assert self._ledger is not None
        return self._ledger

    async def ask(
        self,
        *accounts: LedgerAccount,
        wait_s: float = 0.0,
        tokens: int = 0,
        client: str = "",
    ) -> Attempt | None:
        """Return an attempt that has begun; `None` if nothing had room."""
        self._asked += 1
        demand = Demand(
            model="m", request_id=f"r{id(self)}-{self._asked}", max_wait=wait_s,
            input_tokens=tokens, output_cap=1, client=client,
        )  # fmt: skip
        with suppress(NoEligibleKeysError, OwnLimitError):
            async for attempt in self.router.attempts(demand, accounts=accounts):
                return attempt
        return None

    async def use_up(self, *, most: int = 1000, tokens: int = 0) -> int:
        """Begin and end calls until nothing has room; return how many there were."""
        for number in range(most):
            attempt = await self.ask(tokens=tokens)
            if attempt is None:
                return number
            attempt.settle(tokens or None, 0)
        return most


async def member_of(
    url: str | None, limits: Mapping[str, float], *, key: str = "key-1", **options: Any
) -> Member:
    """Make a router of one key; without an address it has its ledger for itself."""
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("p", Uncalled())
    await router.register_key(f"sk-secret-{key}", "p", {"id": key, "limits": dict(limits)})
    if url is None:
        return Member(router, None)
    ledger = share_ledger(router, url, **options)
    await ledger.start()
    return Member(router, ledger)


class Fleet:
    """So many members; closed together."""

    def __init__(self, url: str, members: int, limits: Mapping[str, float], **options: Any) -> None:
        self._make = (url, members, limits, options)
        self.members: list[Member] = []

    async def __aenter__(self) -> list[Member]:
        url, members, limits, options = self._make
        self.members = [await member_of(url, limits, **options) for _ in range(members)]
        return self.members

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(member.router.close() for member in self.members))
