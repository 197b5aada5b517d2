"""What a window is to the shared ledger: its definition, what it begins with, its figures."""

import math
from typing import Any

import msgspec

from apikeyrouter.domain.accounts.searching.pace import Pace
from apikeyrouter.domain.accounts.searching.ramp import Ramp, Scouts
from apikeyrouter.domain.costs.cap_account import CapAccount
from apikeyrouter.domain.ledger.algorithms import Concurrent, FixedWindow, RollingWindow
from apikeyrouter.domain.ledger.capped_window import CappedWindow
from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import DIMENSIONS, Window
from apikeyrouter.domain.limits.observation import Provenance

#: A guess moves with every answer; what differs by less is not worth telling.
_TELLING_STEP = 0.01
#: Reset instants that differ by less are the same.
_SAME_INSTANT_S = 0.25
#: Names of guesses: their period is part of the guess.
_GUESSED = "guess"

Definition = dict[str, Any]
Print = tuple[float | str | bool | None, ...]


class Figures(msgspec.Struct, frozen=True, array_like=True):
    """How a window stands by the shared ledger; `reset_s` is 0 where nothing resets."""

    used: float
    charged: float
    returned: float
    corrected: float
    disproved: float
    unconfirmed: float
    reset_s: float
    drift_per_s: float
    is_observed: bool


def name_of(window: Window) -> str | None:
    """Name a window as every process does; `None` for what concerns this process alone."""
    if isinstance(window, Scouts | CappedWindow):
        return None
    if isinstance(window, Concurrent) and window.label == "trying":
        return None
    if window.provenance is Provenance.INFERRED:
        period = _GUESSED
    elif isinstance(window, RemainingBucket):
        period = f"{window.named_period_s:g}" if window.named_period_s else "open"
    else:
        period = f"{window.period_s:g}"
    return f"{window.index}:{window.label}:{period}"


def is_kept_elsewhere(account: LedgerAccount) -> bool:
    """Tell whether all that bounds an account is kept in the store."""
    return isinstance(account, CapAccount) and len(account.capped()) == len(account.windows)


def print_of(window: Window) -> Print:
    """Return what of a window is worth telling the others when it changes."""
    kind = _kind_of(window)
    if isinstance(window, Ramp):
        return kind, window.capacity, window.is_met
    if isinstance(window, Pace):
        return kind, math.floor(math.log(window.rate) / _TELLING_STEP)
    if isinstance(window, TokenBucket):
        return kind, window.capacity, round(window.period_s, 6), _margin_of(window)
    return kind, window.capacity, window.period_s


def definition_of(window: Window, now: float) -> Definition:
    """Return a window's definition; lengths of time in place of instants."""
    jitter_s, margin = 0.0, 0.0
    if isinstance(window, TokenBucket):
        jitter_s, margin = window.spare[0], _margin_of(window)
    told: Definition = {
        "dim": window.index,
        "k": _kind_of(window),
        "c": window.capacity,
        "p": window.period_s,
        "j": jitter_s,
        "m": margin,
        "x": [window.provenance.value, window.label],
        "declared": window.provenance is Provenance.DECLARED,
        "guess": window.provenance is Provenance.INFERRED,
    }
    if isinstance(window, Ramp):
        told["met"], told["begun"] = window.is_met, now - window.begun_at
    if isinstance(window, FixedWindow) and window.reset_at < math.inf:
        told["reset"] = window.reset_at - now
    return told


def level_of(window: Window, ahead: float, now: float) -> Definition:
    """Return what a window begins with: what was used of it but for *ahead*, told by itself."""
    window.room(now)
    level: Definition = {"u": max(0.0, window.used - max(0.0, ahead))}
    level["ob"] = window.observed_at is not None
    if isinstance(window, RollingWindow):
        entries, left = [], level["u"]
        for at, amount in window.charges():
            part = min(left, amount)
            if part > 0.0:
                entries.append([max(0.0, now - at), part])
            left -= part
        level["en"] = entries
    return level


def window_of(told: Definition, now: float) -> Window | None:
    """Build a limit that another process was told; `None` for guesses, which are its own."""
    provenance = Provenance(told["x"][0])
    if told["guess"] or told["k"] == "m":
        return None
    dimension, label = DIMENSIONS[told["dim"]], told["x"][1]
    kind = {"b": TokenBucket, "f": FixedWindow, "r": RollingWindow, "c": Concurrent}[told["k"]]
    window: Window = kind(dimension, told["c"], told["p"], now, provenance=provenance, label=label)
    if isinstance(window, TokenBucket) and not told["j"]:
        window.keep_no_slack()
    return window


def follow(window: Window, told: Definition, now: float) -> bool:
    """Change *window* to what was told later elsewhere; tell whether anything changed."""
    if told["k"] != _kind_of(window):
        return False
    before = print_of(window)
    window.room(now)
    if isinstance(window, Ramp):
        window.is_met = bool(told["met"])
    if isinstance(window, Pace):
        window.go_at(told["c"] / told["p"])
        return print_of(window) != before
    if isinstance(window, TokenBucket) and abs(window.period_s - told["p"]) > 1e-6:
        window.repace(told["p"])
    if abs(window.capacity - told["c"]) > 1e-6:
        window.resize(told["c"], Provenance(told["x"][0]))
    return print_of(window) != before


def mirror(window: Window, figures: Figures, ahead: float, now: float) -> None:
    """Bring a window to the shared figures, with what is still *ahead* of them."""
    if isinstance(window, FixedWindow) and figures.reset_s > 0.0 and window.calendar is None:
        window.room(now)
        window.reset_at = now + figures.reset_s
    window.mirror(figures.used + ahead, now)
    window.charged, window.returned = figures.charged, figures.returned
    window.corrected, window.disproved = figures.corrected, figures.disproved
    if figures.is_observed and window.observed_at is None:
        window.observed_at = now
    if isinstance(window, TokenBucket):
        window.set_drift(figures.drift_per_s)


def turns_elsewhen(window: Window, figures: Figures, now: float) -> bool:
    """Tell whether a calendar ends *window* at another instant than the shared ledger does."""
    if not isinstance(window, FixedWindow) or window.calendar is None:
        return False
    window.room(now)
    return abs(window.reset_at - now - figures.reset_s) > _SAME_INSTANT_S


def _kind_of(window: Window) -> str:
    if isinstance(window, Ramp):
        return "m"
    if isinstance(window, Concurrent):
        return "c"
    if isinstance(window, TokenBucket):
        return "b"
    return "f" if isinstance(window, FixedWindow) else "r"


def _margin_of(window: TokenBucket) -> float:
    """Return the margin in steps of two: it shrinks a little with every report."""
    margin = window.spare[1]
    return 0.0 if margin < 0.5 else float(2.0 ** math.ceil(math.log2(margin)))
