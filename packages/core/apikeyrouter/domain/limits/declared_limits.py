"""Limits as an operator declares them: `rpm`, `tpm`, and their like."""

import math
from collections.abc import Mapping

from apikeyrouter.domain.limits.observation import DAY_S, HOUR_S, MINUTE_S, Dimension
from apikeyrouter.errors import ConfigurationError

#: Limits by the names that a configuration gives them: what is counted, over how many seconds.
DECLARABLE: dict[str, tuple[Dimension, float]] = {
    "rpm": (Dimension.REQUESTS, MINUTE_S),
    "rph": (Dimension.REQUESTS, HOUR_S),
    "rpd": (Dimension.REQUESTS, DAY_S),
    "tpm": (Dimension.TOKENS, MINUTE_S),
    "tph": (Dimension.TOKENS, HOUR_S),
    "tpd": (Dimension.TOKENS, DAY_S),
    "itpm": (Dimension.INPUT_TOKENS, MINUTE_S),
    "otpm": (Dimension.OUTPUT_TOKENS, MINUTE_S),
    "concurrency": (Dimension.CONCURRENCY, 0.0),
}


def check_limits(limits: Mapping[str, object]) -> None:
    """Make sure that *limits* are some.

    Raises:
        ConfigurationError: An unknown name, or a figure that is no limit.
    """
    for name, value in limits.items():
        if name not in DECLARABLE:
            raise ConfigurationError(f"unknown limit '{name}'; known are {', '.join(DECLARABLE)}")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 < float(str(value)) < math.inf:
            raise ConfigurationError(f"limit {name} should be a number above 0, not {value!r}")
