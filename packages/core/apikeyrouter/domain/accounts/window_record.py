"""A window as plain data, and back: what lasts of it beyond the process.

Calls that were under way are not known to have ended: what they took stays taken until it
refills. Of calls at once nothing is left, since every connection is gone.
"""

from collections.abc import Callable, Mapping
from typing import Any

from apikeyrouter.domain.accounts.searching.pace import Pace
from apikeyrouter.domain.accounts.searching.ramp import Ramp
from apikeyrouter.domain.ledger.algorithms import Concurrent, FixedWindow, RollingWindow
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import Dimension, Provenance

#: What a record holds of every window beside its kind.
_COMMON = ("capacity", "period_s", "used", "at", "label", "confidence", "declared", "observed_at")
#: And of some kinds.
_OWN: Mapping[str, tuple[str, ...]] = {
    "fixed": ("reset_at",),
    "remaining": ("named_period_s", "ended_at", "turns_every_s", "rate"),
    "pace": (
        "ceiling", "hold_s", "is_passing", "is_rough", "wanted_at", "grown_at", "probe_at", "rate",
    ),
    "ramp": ("is_met",),
}  # fmt: skip
_KINDS: tuple[tuple[str, type[Window]], ...] = (
    ("pace", Pace),
    ("ramp", Ramp),
    ("remaining", RemainingBucket),
    ("bucket", TokenBucket),
    ("fixed", FixedWindow),
    ("rolling", RollingWindow),
    ("calls", Concurrent),
)


def window_data(window: Window, now: float) -> dict[str, Any]:
    """Return what lasts of a window, refilled to *now*."""
    window.room(now)
    kind = next(name for name, kind in _KINDS if isinstance(window, kind))
    data = {name: getattr(window, name) for name in (*_COMMON, *_OWN.get(kind, ()))}
    # A bucket's level is as of its last refill; that of the others as of now.
    data["at"] = now
    if isinstance(window, RollingWindow):
        data["charges"] = window.charges()
    drift = window.drift_per_s
    names = {"dimension": window.dimension.value, "provenance": window.provenance.value}
    return {"kind": kind, "drift_per_s": drift, **names, **data}


def window_of(data: Mapping[str, Any], calendar: Calendar | None, wall_ahead_s: float) -> Window:
    """Return the window that was kept.

    Args:
        calendar: What fixed windows of its period end with at this provider.

    Raises:
        KeyError, TypeError, ValueError: The data are none of this version.
    """
    window = _BUILDERS[data["kind"]](data)
    window.label = data["label"]
    window.provenance = Provenance(data["provenance"])
    window.confidence, window.declared = float(data["confidence"]), data["declared"]
    window.observed_at = data["observed_at"]
    if isinstance(window, FixedWindow):
        window.calendar, window.wall_ahead_s = calendar, wall_ahead_s
        window.reset_at = float(data["reset_at"])
    if isinstance(window, TokenBucket) and data["drift_per_s"]:
        window.drift_per_s = float(data["drift_per_s"])
        window.repace(window.period_s)
    if not isinstance(window, Concurrent):
        _charge(window, data)
    return window


def _charge(window: Window, data: Mapping[str, Any]) -> None:
    """Bring a fresh window to the level that was kept."""
    if isinstance(window, RollingWindow):
        for at, amount in data["charges"]:
            window.take(float(amount), float(at))
    else:
        window.used, window.at = float(data["used"]), float(data["at"])


def _built(kind: type[Window]) -> Callable[[Mapping[str, Any]], Window]:
    def build(data: Mapping[str, Any]) -> Window:
        dimension, label = Dimension(data["dimension"]), data["label"]
        capacity, period_s = float(data["capacity"]), float(data["period_s"])
        return kind(dimension, capacity, period_s, float(data["at"]), label=label)

    return build


def _remaining(data: Mapping[str, Any]) -> RemainingBucket:
    window = RemainingBucket(
        Dimension(data["dimension"]), float(data["capacity"]), float(data["at"]),
        label=data["label"], named_period_s=data["named_period_s"],
    )  # fmt: skip
    window.resume(float(data["rate"]))
    ended = data["ended_at"]
    window.ended_at = None if ended is None else (float(ended[0]), float(ended[1]))
    window.turns_every_s = data["turns_every_s"]
    return window


def _pace(data: Mapping[str, Any]) -> Pace:
    rate, ceiling, at = float(data["rate"]), float(data["ceiling"]), float(data["at"])
    window = Pace(rate, ceiling, at, is_passing=bool(data["is_passing"]))
    window.is_rough = bool(data["is_rough"])
    for name in ("hold_s", "wanted_at", "grown_at", "probe_at"):
        setattr(window, name, float(data[name]))
    return window


def _ramp(data: Mapping[str, Any]) -> Ramp:
    window = Ramp(int(data["capacity"]), float(data["at"]))
    window.is_met = bool(data["is_met"])
    return window


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], Window]] = {
    "bucket": _built(TokenBucket),
    "fixed": _built(FixedWindow),
    "rolling": _built(RollingWindow),
    "calls": _built(Concurrent),
    "remaining": _remaining,
    "pace": _pace,
    "ramp": _ramp,
}
