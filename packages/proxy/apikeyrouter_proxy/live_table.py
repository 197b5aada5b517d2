"""The demo as a live table, and as a few sentences at the end."""

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from apikeyrouter_proxy.demo import Demo


class LiveTable:
    """Draws the router at work."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, demo: Demo) -> None:
        """Draw the present moment."""
        self._live.update(Group(table_of(demo), _line_of(demo), _latest_of(demo)))


def table_of(demo: Demo) -> Table:
    """Return a row a key: whose limits it draws on, what was learned of them, what it does."""
    title = "Nobody told the router any of these limits"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("key", "scope", "rests", "used of its limits"):
        table.add_column(name, no_wrap=True)
    for name in ("in flight", "served", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    summary, board = demo.summary(), demo.board
    scopes = {scope["id"]: scope for scope in summary["scopes"]}
    for key in summary["keys"]:
        windows = [
            window
            for name in key["scopes"]
            for window in scopes[name]["windows"]
            if window["algorithm"] != "concurrent"
        ]
        table.add_row(
            key["id"],
            key["account"] if key["account"] != key["id"] else "own",
            _rest_of(key),
            "\n".join(f"{w['used']:,.0f} of {w['capacity']:,.0f} {_unit(w)}" for w in windows),
            str(board.in_flight[key["id"]]),
            f"{board.served[key['id']]:,}",
            f"{board.refused[key['id']]:,}",
        )
    return table


def summary_of(demo: Demo, sums: dict[str, Any]) -> str:
    """Put the sums into sentences."""
    errors = sums["client_errors"]
    lines = [
        f"{sums['sent']:,} requests were sent, {sums['ok']:,} answered"
        + (
            ", none failed."
            if not errors
            else f", {errors:,} failed: {dict(demo.traffic.statuses)}."
        ),
        f"{sums['upstream_calls']:,} calls went to providers, {sums['upstream_429']:,} of them "
        "into a limit.",
        f"Half of the answers came within {sums['p50_ms']:,.0f} ms, 95 % within "
        f"{sums['p95_ms']:,.0f} ms; what waited, waited for room and did not fail.",
    ]
    return "\n".join(lines)


def print_summary(demo: Demo, sums: dict[str, Any]) -> None:
    """Print the last table and the sentences."""
    console = Console()
    console.print(table_of(demo))
    console.print(summary_of(demo, sums))


def _line_of(demo: Demo) -> Text:
    traffic = demo.traffic
    failed = sum(traffic.statuses.values())
    text = (
        f"{traffic.ok:,} answered, {failed} failed, {demo.board.waiting} wait for room, "
        f"{demo.seconds_left:.0f} s to go; {demo.url}"
    )
    return Text(text, style="dim")


def _latest_of(demo: Demo) -> Text:
    return Text("\n".join(demo.board.lines), style="dim")


def _rest_of(key: dict[str, Any]) -> str:
    """Say why a key is not used, and for how long; nothing when it is."""
    state = "" if key["state"] == "available" else key["state"]
    wakes_in_s = key["wakes_in_s"]
    return f"{state} {wakes_in_s:.0f} s".lstrip() if wakes_in_s and wakes_in_s >= 1 else state


def _unit(window: dict[str, Any]) -> str:
    names = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "day"}
    nouns = {"requests": "req", "tokens": "tok", "input tokens": "in", "output tokens": "out"}
    noun = nouns.get(window["dimension"], window["dimension"])
    period_s = window["period_s"]
    # A period that was measured is no round number.
    return f"{noun}/{names.get(period_s) or f'{period_s:.3g} s'}"
