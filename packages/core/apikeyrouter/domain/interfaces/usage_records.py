"""What is counted of each request that has ended, and the sums of it by hour and by day.

Rows are small and kept for weeks, unlike decisions, which tell everything and are kept for
as long as there are few of them. Sums have rows of their own, so that a day's usage does not
read a day's requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from apikeyrouter.domain.interfaces.moments import micros, moment_at
from apikeyrouter.errors import StateStoreError

Period = Literal["hour", "day"]
Dimension = Literal["client", "model", "provider_id", "key_id"]
#: By what sums may be grouped and restricted.
DIMENSIONS: tuple[Dimension, ...] = ("client", "model", "provider_id", "key_id")
PERIOD_HOURS: Mapping[str, int] = {"hour": 1, "day": 24}
HOUR_MICROS = 3_600_000_000


class UsageRow(msgspec.Struct, frozen=True):
    """One request that has ended.

    Attributes:
        moment: When it ended, in microseconds since the epoch; places rows, with the id.
        model: As it was asked for; empty if nobody serves it.
        provider_id: Of the last attempt; empty, as `key_id`, if there was none.
        outcome: `ok`, `cancelled`, `refused` or the class of its failure.
        input_tokens: `None`, as `output_tokens` and `cost_microusd`, where nobody told.
        first_token_ms: From its arrival until its last provider let it in.
    """

    moment: int
    request_id: str
    client: str
    model: str
    provider_id: str
    key_id: str
    endpoint: str
    outcome: str
    attempts: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int
    cost_microusd: int | None
    waited_ms: int
    first_token_ms: int | None
    total_ms: int

    @property
    def ended_at(self) -> datetime:
        """When it ended."""
        return moment_at(self.moment)


@dataclass(slots=True, frozen=True)
class UsageQuery:
    """Which requests to look for. Fields that are `None` do not restrict; newest first.

    Attributes:
        outcome: One outcome, or `failed` for every one but `ok` and `cancelled`.
        since: Only those that ended at or after this moment.
        until: Only those that ended before this moment.
        before: Only what comes after the row whose moment and request id these are.
    """

    client: str | None = None
    model: str | None = None
    provider_id: str | None = None
    key_id: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


class UsageCounts(msgspec.Struct):
    """What requests sum up to.

    Attributes:
        failed: Of the requests, those that were neither answered nor left by their client.
        costed: Of the requests, those whose cost is known; `cost_microusd` is theirs.
    """

    requests: int = 0
    failed: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    costed: int = 0
    cost_microusd: int = 0

    def add(self, row: UsageRow) -> None:
        """Count one request."""
        self.requests += 1
        if row.outcome == "cancelled":
            self.cancelled += 1
        elif row.outcome != "ok":
            self.failed += 1
        self.input_tokens += row.input_tokens or 0
        self.output_tokens += row.output_tokens or 0
        self.cached_tokens += row.cached_tokens
        if row.cost_microusd is not None:
            self.costed += 1
            self.cost_microusd += row.cost_microusd

    def merge(self, other: "UsageCounts") -> None:
        """Add what other requests sum up to."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


COUNTS: tuple[str, ...] = UsageCounts.__struct_fields__


@dataclass(slots=True, frozen=True)
class UsageSum:
    """What the requests of one group sum up to within one period.

    Attributes:
        start: Where the period begins, in UTC.
        group: The values of what the sums were grouped by, in that order.
    """

    start: datetime
    group: tuple[str, ...]
    counts: UsageCounts


@dataclass(slots=True, frozen=True)
class SumQuery:
    """Which sums to make.

    Attributes:
        first_hour: Hours since the epoch; the first that counts.
        end_hour: The first that does not count any more.
        only: Dimension -> the value that counts.
    """

    first_hour: int
    end_hour: int
    period: Period
    group_by: tuple[Dimension, ...]
    only: Mapping[Dimension, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        since: datetime,
        until: datetime,
        period: Period,
        group_by: Sequence[Dimension],
        only: Mapping[Dimension, str] | None = None,
    ) -> "SumQuery":
        """Make it of two moments: from the hour in which *since* is to that of *until*.

        Raises:
            StateStoreError: A period or a dimension that there is not.
        """
        if period not in PERIOD_HOURS:
            raise StateStoreError(f"no period '{period}': sums are by {' or '.join(PERIOD_HOURS)}")
        for name in (*group_by, *(only or ())):
            if name not in DIMENSIONS:
                known = ", ".join(DIMENSIONS)
                raise StateStoreError(f"usage is not kept by '{name}': known are {known}")
        end = -(-micros(until) // HOUR_MICROS)
        return cls(micros(since) // HOUR_MICROS, end, period, tuple(group_by), dict(only or {}))

    def period_start(self, hour: int) -> int:
        """Return the first hour of the period in which *hour* is."""
        return hour - hour % PERIOD_HOURS[self.period]


def hour_start(hour: int) -> datetime:
    """Return the moment at which an hour, counted since the epoch, begins."""
    return moment_at(hour * HOUR_MICROS)
