"""Time inside a router goes forward at the pace of real time, whatever the wall clock does."""

import pytest

from apikeyrouter import ApiKeyRouter, NoEligibleKeysError
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.ledger.algorithms import FixedWindow
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import DAY_S, Dimension
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.adapters.provider_catalogue import make_adapter
from apikeyrouter.infrastructure.clock import SteadyClock

pytestmark = pytest.mark.unit

HOUR_S = 3600.0
QUIET = {"log_level": "CRITICAL", "max_queue_wait_seconds": 0.0}


class Machine:
    """A machine whose wall clock can be set by hand."""

    def __init__(self, wall: float = 1_790_000_000.0) -> None:
        self.up_s, self.boot_at = 500.0, wall - 500.0

    def steady(self) -> float:
        return self.up_s

    def wall(self) -> float:
        return self.boot_at + self.up_s

    def clock(self) -> SteadyClock:
        return SteadyClock(steady=self.steady, wall=self.wall)

    def clock_of_source(self) -> SteadyClock:
        return SteadyClock(self.wall, steady=self.steady)


@pytest.mark.parametrize("step_s", [-HOUR_S, -0.5, 0.5, HOUR_S])
def test_machines_clock_takes_no_part_in_a_step_of_the_wall(step_s: float) -> None:
    machine = Machine()
    clock, started = machine.clock(), machine.wall()
    machine.up_s += 10.0
    machine.boot_at += step_s
    assert (clock(), clock.wall()) == (started + 10.0, started + 10.0 + step_s)
    machine.up_s += 5.0
    assert clock() == started + 15.0


def test_given_clock_is_followed_exactly_while_it_goes_forward() -> None:
    told = [100.0]
    clock = SteadyClock(lambda: told[0], steady=lambda: 7.0)
    assert clock() == 100.0
    told[0] = 5e6
    assert (clock(), clock.wall()) == (5e6, 5e6)


def test_given_clock_that_steps_back_loses_no_time() -> None:
    machine = Machine()
    clock = machine.clock_of_source()
    started = clock()
    machine.up_s += 4.0
    machine.boot_at -= HOUR_S
    assert clock() == pytest.approx(started + 4.0, rel=0, abs=1e-3)
    machine.up_s += 3.0
    machine.boot_at -= HOUR_S
    assert clock() == pytest.approx(started + 7.0, rel=0, abs=1e-3)
    assert clock.wall() == pytest.approx(started + 7.0 - 2 * HOUR_S, rel=0, abs=1e-3)


def test_machines_own_clock_starts_at_the_wall() -> None:
    clock = SteadyClock()
    assert abs(clock() - clock.wall()) < 1.0
    assert clock() <= clock()


async def _router_of(machine: Machine) -> ApiKeyRouter:
    router = ApiKeyRouter(config=QUIET, clock=machine.clock())
    await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    await router.register_key("sk-test-1", "p", {"id": "k"})
    return router


async def _can_be_served(router: ApiKeyRouter, *, sent: bool = False) -> bool:
    try:
        attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
    except NoEligibleKeysError:
        return False
    attempt.cancel(sent=sent)
    return True


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
async def test_key_rests_as_long_as_it_was_told_though_the_wall_clock_is_set(step_s: float) -> None:
    machine = Machine()
    async with await _router_of(machine) as router:
        attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
        attempt.fail(Failure(FailureClass.RATE_LIMITED, "", status=429, retry_after_s=2.0))
        machine.boot_at += step_s
        machine.up_s += 1.9
        assert not await _can_be_served(router)
        machine.up_s += 0.2
        assert await _can_be_served(router)


NOON = 1_795_608_000.0  # 2026-11-25 12:00 UTC
MIDNIGHT = NOON + 12 * HOUR_S


@pytest.mark.parametrize(
    ("step_s", "empties_at"),
    [
        pytest.param(HOUR_S, MIDNIGHT - HOUR_S, id="forward"),
        pytest.param(-HOUR_S, MIDNIGHT + HOUR_S, id="back"),
        pytest.param(20 * HOUR_S, NOON, id="forward past midnight"),
        pytest.param(-20 * HOUR_S, MIDNIGHT - 4 * HOUR_S, id="back past midnight"),
    ],
)
def test_calendar_window_ends_with_the_wall_clocks_day(step_s: float, empties_at: float) -> None:
    window = FixedWindow(Dimension.REQUESTS, 10, DAY_S, NOON, calendar=Calendar.DAY_UTC)
    window.take(10, NOON)
    window.follow_wall(step_s, NOON)
    assert window.fits_at(1, NOON) == empties_at
    assert window.room(empties_at) == 10
    window.take(10, empties_at)
    next_end = window.fits_at(1, empties_at)
    assert (next_end + step_s) % DAY_S == 0.0
    assert 0.0 < next_end - empties_at <= DAY_S


def test_window_of_a_plain_period_takes_no_part_in_a_step() -> None:
    window = FixedWindow(Dimension.REQUESTS, 10, DAY_S, NOON)
    window.take(10, NOON)
    window.follow_wall(HOUR_S, NOON)
    assert window.fits_at(1, NOON) == NOON + DAY_S


async def test_days_limit_comes_back_at_the_wall_clocks_midnight() -> None:
    machine = Machine(NOON)
    async with ApiKeyRouter(config=QUIET, clock=machine.clock()) as router:
        await router.register_provider("openrouter", make_adapter("openrouter"))
        await router.register_key("sk-test-1", "openrouter", {"limits": {"rpd": 1}})
        assert await _can_be_served(router, sent=True)
        assert not await _can_be_served(router)
        machine.boot_at += 11 * HOUR_S
        assert not await _can_be_served(router)
        machine.up_s += HOUR_S
        assert await _can_be_served(router)
