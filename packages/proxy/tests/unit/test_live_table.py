"""What stands in the demo's table."""

from typing import Any

import pytest

from apikeyrouter_proxy.live_table import _unit

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("dimension", "period_s", "shown"),
    [
        ("requests", 60.0, "req/min"),
        ("tokens", 86400.0, "tok/day"),
        ("requests", 58.576329468642534, "req/58.6 s"),
        ("images", 512.5783970151454, "images/513 s"),
    ],
)
def test_unit_is_short_whatever_the_period(dimension: str, period_s: float, shown: str) -> None:
    window: dict[str, Any] = {"dimension": dimension, "period_s": period_s}
    assert _unit(window) == shown
