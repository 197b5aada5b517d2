"""What a request draws on besides a key's account, and the ledger that has the last word."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter, Demand, ProviderAdapter
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.ledger.backend import LedgerBackend
from apikeyrouter.domain.ledger.ledger import LedgerAccount, Reservation, Shortfall
from apikeyrouter.errors import NoEligibleKeysError, OwnLimitError

pytestmark = pytest.mark.unit


class Uncalled(ProviderAdapter):
    """Is never called: what is looked at is the choice of a key."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise AssertionError

    def normalize_response(self, raw: Any) -> Any:
        raise AssertionError


class SharedLedger(LedgerBackend):
    """Refuses the first so many reservations, or breaks."""

    def __init__(self, refusals: float = 0, *, error: Exception | None = None) -> None:
        self.refusals = refusals
        self.error = error
        self.asked: list[str] = []

    async def confirm(self, reservation: Reservation) -> Shortfall | None:
        await asyncio.sleep(0)
        self.asked.append(reservation.first.account.id)
        if self.error is not None:
            raise self.error
        if len(self.asked) > self.refusals:
            return None
        account = reservation.first.account.id
        return Shortfall("requests per minute", 1.0, 0.0, 1060.0, account_id=account)


class Office:
    """A router of two keys with limits, a client with limits of its own, and a clock."""

    def __init__(self, keys: int = 2, records: int = 100, **limits: float) -> None:
        self.now = 1000.0
        config = {"log_level": "CRITICAL", "max_decisions": records}
        self.router = ApiKeyRouter(config=config, clock=lambda: self.now)
        self.keys, self.limits = keys, limits or {"rpm": 600, "tpm": 60_000, "concurrency": 5}

    async def __aenter__(self) -> "Office":
        await self.router.register_provider("p", Uncalled())
        for number in range(1, self.keys + 1):
            facts = {"id": f"k{number}", "limits": self.limits}
            await self.router.register_key(f"sk-{number}", "p", facts)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.router.close()

    def loop(self, *accounts: LedgerAccount, name: str = "same", **wishes: Any) -> Any:
        usual = {"model": "m", "input_tokens": 100, "output_cap": 100, "max_wait": 0.0}
        demand = Demand(request_id=name, **{**usual, **wishes})
        return aiter(self.router.attempts(demand, accounts=accounts))

    async def ask(self, *accounts: LedgerAccount, **wishes: Any) -> Attempt:
        attempt: Attempt = await anext(self.loop(*accounts, **wishes))
        return attempt

    def is_at_rest(self) -> bool:
        return self.router.get_state_summary()["open_reservations"] == 0


def used(account: LedgerAccount, now: float) -> dict[str, float]:
    for window in account.windows:
        window.room(now)
    return {window.dimension.value: window.used for window in account.windows}


async def test_requests_of_one_id_are_charged_each_at_its_own_use() -> None:
    async with Office() as office:
        client = office.router.open_account("client a", {"tpm": 1000})
        first, second = await office.ask(client), await office.ask(client)
        second.settle(10, 10)
        assert used(client, office.now) == {"tokens": 220.0}
        first.settle(300, 300)
        assert used(client, office.now) == {"tokens": 620.0}


async def test_refused_requests_leave_a_client_its_tokens() -> None:
    async with Office() as office:
        client = office.router.open_account("client a", {"tpm": 1000})
        for _ in range(5):
            attempt = await office.ask(client, input_tokens=400, output_cap=400)
            attempt.fail(Failure(FailureClass.BAD_REQUEST, "no", 400))
        assert used(client, office.now) == {"tokens": 0.0}


@pytest.mark.parametrize(
    ("limits", "retry_after"),
    [({"concurrency": 1}, 0.25), ({"rpm": 1}, pytest.approx(60.0, rel=0.1))],
    ids=["calls at once", "a minute"],
)
async def test_client_over_its_own_limit_is_told_at_once_and_when_to_come_back(
    limits: dict[str, float], retry_after: float
) -> None:
    async with Office() as office:
        client = office.router.open_account("client a", limits)
        attempt = await office.ask(client)
        with pytest.raises(OwnLimitError, match="client a") as refused:
            await office.ask(client, max_wait=30.0)
        assert refused.value.retry_after == retry_after
        (await office.ask()).cancel()
        attempt.settle(1, 1)
        assert office.is_at_rest()


@pytest.mark.parametrize("asked", [1, 2, 3, 60], ids=str)
async def test_client_gets_its_own_limit_to_the_last_request(asked: int) -> None:
    async with Office() as office:
        client = office.router.open_account("client a", {"rpm": asked, "tpm": asked * 200})
        for _ in range(asked):
            (await office.ask(client)).settle(100, 100)
        with pytest.raises(OwnLimitError, match="0 left"):
            await office.ask(client)


async def test_request_that_was_let_in_waits_for_its_client_when_it_fails_over() -> None:
    async with Office() as office:
        client = office.router.open_account("client a", {"concurrency": 1})
        attempts = office.loop(client, max_wait=30.0)
        first = await anext(attempts)
        first.fail(Failure(FailureClass.SERVER_ERROR, "oops", 500))
        between = await office.ask(client)
        waiting = asyncio.create_task(anext(attempts))
        await asyncio.sleep(0.01)
        # Who waits for its client holds nobody else up.
        other = await office.ask()
        assert not waiting.done()
        between.settle(1, 1)
        second = await asyncio.wait_for(waiting, 5.0)
        assert second.slot is not first.slot
        second.settle(1, 1)
        other.settle(1, 1)
        assert office.is_at_rest()
        assert client.in_flight == 0


@pytest.mark.parametrize("records", [1, 1000])
async def test_what_is_forgotten_of_requests_changes_no_account(records: int) -> None:
    async with Office(records=records) as office:
        client = office.router.open_account("client a", {"tpm": 10_000})
        begun = [await office.ask(client, name=f"r{n}") for n in range(5)]
        for attempt in begun:
            attempt.settle(10, 10)
        assert used(client, office.now) == {"tokens": 100.0}


async def test_next_candidate_is_tried_when_the_shared_ledger_refuses() -> None:
    async with Office() as office:
        office.router.ledger_backend = shared = SharedLedger(1)
        attempt = await office.ask()
        assert len(set(shared.asked)) == len(shared.asked) == 2
        assert attempt.grant.hold.account.id == shared.asked[1]
        attempt.settle(1, 1)
        assert office.is_at_rest()


async def test_nobody_is_left_when_the_shared_ledger_refuses_all() -> None:
    async with Office(keys=3) as office:
        client = office.router.open_account("client a", {"concurrency": 1})
        office.router.ledger_backend = shared = SharedLedger(99)
        with pytest.raises(NoEligibleKeysError):
            await office.ask(client)
        assert len(shared.asked) == 3
        assert office.is_at_rest()
        assert client.in_flight == 0
        office.router.ledger_backend = None
        (await office.ask(client)).settle(1, 1)


async def test_shared_ledger_that_breaks_leaves_nothing_behind() -> None:
    async with Office() as office:
        office.router.ledger_backend = SharedLedger(error=OSError("gone"))
        with pytest.raises(OSError, match="gone"):
            await office.ask()
        assert office.is_at_rest()


async def test_caller_that_leaves_while_the_shared_ledger_is_asked_leaves_nothing_behind() -> None:
    async with Office() as office:
        office.router.ledger_backend = SharedLedger()
        asking = asyncio.create_task(office.ask())
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert office.is_at_rest()


_ENDINGS = st.sampled_from(
    ["settle", "more", "cancel", "unsent", "fail", "refuse", "break", "time"]
)
_STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 400), st.integers(0, 6), _ENDINGS), max_size=40
)


@settings(max_examples=40, deadline=None)
@given(_STEPS)
def test_reservations_are_all_or_nothing_however_they_end(
    steps: list[tuple[int, int, int, str]],
) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[int, int, int, str]]) -> None:
    async with Office(rpm=30, tpm=2000, concurrency=4) as office:
        clients = [
            office.router.open_account("a", {"concurrency": 3, "tpm": 1500}),
            office.router.open_account("b", {"rpm": 10}),
        ]
        begun: list[Attempt] = []
        for who, tokens, which, ending in steps:
            drawn = clients[:who]
            before = [account.in_flight for account in clients]
            try:
                begun.append(await office.ask(*drawn, input_tokens=tokens, output_cap=tokens))
            except NoEligibleKeysError:
                assert [account.in_flight for account in clients] == before
            assert clients[0].in_flight <= 3
            assert all(s.account.in_flight <= 4 for s in office.router.quota_awareness_engine.book)
            if ending == "time":
                office.now += 7.0
            elif begun:
                _end(begun.pop(which % len(begun)), ending, tokens)
        for attempt in begun:
            attempt.cancel()
        assert office.is_at_rest()
        for account in [
            *clients,
            *(scope.account for scope in office.router.quota_awareness_engine.book),
        ]:
            assert (account.in_flight, account.open) == (0, set())
            assert all(account.held(window) == 0.0 for window in account.windows)
            calls = [w.used for w in account.windows if w.dimension.value == "concurrency"]
            assert all(used == 0.0 for used in calls)
            assert all(window.used >= 0.0 for window in account.windows)


def _end(attempt: Attempt, ending: str, tokens: int) -> None:
    if ending == "settle":
        attempt.settle(tokens // 2, tokens // 2)
    elif ending == "more":
        attempt.settle(3 * tokens, tokens)
    elif ending in ("cancel", "unsent"):
        attempt.cancel(sent=ending == "cancel")
    else:
        kind = {
            "fail": FailureClass.BAD_REQUEST,
            "refuse": FailureClass.RATE_LIMITED,
            "break": FailureClass.NETWORK,
        }[ending]
        attempt.fail(Failure(kind, "no", {"fail": 400, "refuse": 429}.get(ending)))
