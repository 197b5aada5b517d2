"""One notion of a wait: how long, and why."""

import math

import pytest

from apikeyrouter.domain.cooldown import Cooldown

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("until", "grew", "after"),
    [
        (5.0, False, Cooldown(10.0, "rate_limited", "told")),
        (10.0, False, Cooldown(10.0, "rate_limited", "told")),
        (20.0, True, Cooldown(20.0, "timeout")),
        (math.inf, True, Cooldown(math.inf, "timeout")),
    ],
)
def test_wait_is_never_shortened_and_keeps_the_longest_ones_cause(
    until: float, grew: bool, after: Cooldown
) -> None:
    cooldown = Cooldown(10.0, "rate_limited", "told")
    assert cooldown.extend(until, "timeout") is grew
    assert cooldown == after


def test_wait_that_was_ended_is_as_new() -> None:
    cooldown = Cooldown(10.0, "rate_limited", "told")
    cooldown.end()
    assert cooldown == Cooldown()


@pytest.mark.parametrize(
    ("cooldown", "what"),
    [
        (Cooldown(10.0, "rate_limited", "told"), "rate_limited: told"),
        (Cooldown(10.0, "rate_limited"), "rate_limited"),
        (Cooldown(10.0), "told to wait"),
    ],
)
def test_wait_keeps_a_request_out_and_says_why(cooldown: Cooldown, what: str) -> None:
    lack = cooldown.shortfall()
    assert (lack.what, lack.fits_at, lack.cause) == (what, 10.0, cooldown.cause)
