"""Usage in memory: the latest requests, and sums of all that came before them."""

from collections import deque
from collections.abc import Callable

from apikeyrouter.domain.interfaces.usage_records import (
    SumQuery,
    UsageCounts,
    UsageQuery,
    UsageRow,
    UsageSum,
)
from apikeyrouter.infrastructure.state_store.usage.counting import (
    Cell,
    Sums,
    cell_of,
    cells_of,
    matches,
)

#: Sums of so many hours, clients, models and keys are kept at most; the oldest go first.
_MOST_CELLS = 50_000


class MemoryUsage:
    """Counts requests of this process.

    Args:
        most: Requests that can be listed; older ones are in the sums alone.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._makers: deque[Callable[[], UsageRow]] = deque()
        self._cells: dict[Cell, UsageCounts] = {}

    def keep(self, count: Callable[[], UsageRow]) -> None:
        """Take what makes the row of a request; it is made when somebody asks, or it is old."""
        self._makers.append(count)
        if len(self._makers) > self._most:
            self._sum_up(self._makers.popleft()())

    def page(self, query: UsageQuery) -> list[UsageRow]:
        """Return the requests that match, newest first."""
        rows = [row for maker in self._makers if matches(row := maker(), query)]
        rows.sort(key=lambda row: (row.moment, row.request_id), reverse=True)
        before = query.before
        if before is not None:
            rows = [row for row in rows if (row.moment, row.request_id) < before]
        return rows[: query.limit]

    def sums(self, query: SumQuery) -> list[UsageSum]:
        """Return what was asked for."""
        sums = Sums(query)
        for cells in (self._cells, cells_of(maker() for maker in self._makers)):
            for cell, counts in cells.items():
                sums.add_cell(cell, counts)
        return sums.result()

    def _sum_up(self, row: UsageRow) -> None:
        cell = cell_of(row)
        counts = self._cells.get(cell)
        if counts is None:
            if len(self._cells) >= _MOST_CELLS:
                del self._cells[next(iter(self._cells))]
            counts = self._cells[cell] = UsageCounts()
        counts.add(row)
