"""The demo's table reads the router on the thread where it lives."""

import threading

import pytest

from apikeyrouter_proxy.demo import Demo
from apikeyrouter_proxy.live_table import table_of

pytestmark = pytest.mark.integration


class Watched(Demo):
    """Notes on which thread the router is read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[str] = set()

    async def _take_summary(self) -> dict[str, object]:
        self.readers.add(threading.current_thread().name)
        return await super()._take_summary()


def test_router_is_read_on_its_own_thread_while_it_runs_and_here_when_it_has_ended() -> None:
    demo, rows = Watched(), []
    sums = demo.run(1.0, watch=lambda shown: rows.append(table_of(shown).row_count))
    assert threading.current_thread().name not in demo.readers
    assert len(demo.readers) == 1
    assert rows[-1] == table_of(demo).row_count > 0
    assert sums["client_errors"] == 0
