"""One account of this process and the same account in the shared ledger, kept in step.

Local windows are mirrors: a reply says what all processes had used when the script ran, and what
this process has done since, whose reply is yet to come, stays *ahead* of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from apikeyrouter.domain.accounts.searching.doubt import GuessedMinute
from apikeyrouter.domain.accounts.searching.pace import Pace
from apikeyrouter.domain.accounts.searching.ramp import Ramp
from apikeyrouter.domain.ledger.ledger import Amounts, Hold, LedgerAccount, Shortfall
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import DIMENSIONS, EPSILON, Window
from apikeyrouter.domain.limits.observation import Provenance
from apikeyrouter.infrastructure.ledger.orders import (
    CHARGE,
    DEFINE,
    DROP,
    RESTORE,
    AccountTold,
    Order,
)
from apikeyrouter.infrastructure.ledger.shared_window import (
    Definition,
    Figures,
    Print,
    definition_of,
    follow,
    level_of,
    mirror,
    name_of,
    print_of,
    turns_elsewhen,
    window_of,
)

_T = TypeVar("_T")
#: Guesses beyond which a call is tried now and then.
DOUBTED = (Pace, GuessedMinute)
#: Told at once by whom it was declared, and by nobody since.
_NEVER = -1.0
#: What no clock tells is asked for again after this.
_LOOK_AGAIN_S = 0.2
#: Instants that came through two clocks are the same within this.
_SAME_S = 0.05


@dataclass(slots=True, eq=False)
class _Entry:
    """A local window that the shared ledger has too.

    Attributes:
        told: What was told of it last.
        told_at: When what it says was found out; below 0 for what is declared from the start.
        is_shared: The shared ledger has had it.
    """

    window: Window
    told: Print
    told_at: float
    is_shared: bool = False


class AccountLink:
    """Keeps one account in step.

    Args:
        observe: Has a report held against the shared figures; tells whether that is possible.
        let_go: Lifts a guess that another process has lifted.

    Attributes:
        ahead: Units by dimension that local windows have counted and no reply yet.
        calls_elsewhere, admitted_elsewhere: As in `SharedAccount`.
        version, born: Of the account in the shared ledger, as far as is known.
        asked_at: When room was last asked for.
        unshared: Units used while the shared ledger could not be told.
    """

    __slots__ = (
        "_entries",
        "_let_go",
        "_names",
        "_observe",
        "_own_admitted",
        "_short",
        "account",
        "admitted_elsewhere",
        "ahead",
        "asked_at",
        "born",
        "calls_elsewhere",
        "correction",
        "own_calls",
        "unshared",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        account: LedgerAccount,
        *,
        observe: Callable[["AccountLink", str, float, float, Hold | None], bool],
        let_go: Callable[[LedgerAccount, Window], None],
    ) -> None:
        self.account = account
        self._observe = observe
        self._let_go = let_go
        self._entries: dict[str, _Entry] = {}
        self._names: dict[Window, str | None] = {}
        self.ahead = [0.0] * len(DIMENSIONS)
        self.unshared = [0.0] * len(DIMENSIONS)
        self.version, self.born = 0, ""
        self.calls_elsewhere = self.admitted_elsewhere = 0
        self.own_calls = 0
        self.asked_at = -math.inf
        self._own_admitted: int | None = None
        self._short: Shortfall | None = None
        self.correction = 0.0

    # -- asked by the domain -------------------------------------------------

    def shortfall(self, now: float) -> Shortfall | None:
        """Return what others leave no room for, until the instant that was told."""
        short = self._short
        if short is not None and short.fits_at <= now:
            self._short = short = None
        return short

    def observed(self, window: Window, low: float, high: float, hold: Hold | None) -> float | None:
        """Have a report held against the shared figures; see `SharedAccount`."""
        name = self._name_of(window)
        if name is None or not self._observe(self, name, low, high, hold):
            return None
        moved, self.correction = self.correction, 0.0
        return moved

    # -- what is to be told --------------------------------------------------

    def go_ahead(self, amounts: Amounts, sign: float = 1.0) -> None:
        """Note what local windows have counted, or that a reply has counted it."""
        ahead = self.ahead
        for index, amount in enumerate(amounts):
            if amount:
                ahead[index] += sign * amount

    def go_on_alone(self, amounts: Amounts) -> None:
        """Note what is used while the shared ledger cannot be told."""
        for index, units in enumerate(amounts):
            self.unshared[index] += units

    def changes(self, place: int, now: float) -> list[Order]:
        """Return what is to be told of the windows' definitions."""
        orders: list[Order] = []
        seen: set[str] = set()
        for window in self.account.windows:
            name = self._name_of(window)
            if name is None or name in seen:
                continue
            seen.add(name)
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry(window, (), _found_at(window, now))
            told = print_of(window)
            if entry.window is not window or told != entry.told:
                is_first = not (entry.told and entry.is_shared)
                if entry.told:
                    entry.told_at = now
                entry.window, entry.told = window, told
                age_s = now - entry.told_at if entry.told_at >= 0.0 else _NEVER
                ahead = self.ahead[window.index]
                level = level_of(window, ahead, now) if is_first else {}
                orders.append([DEFINE, place, name, definition_of(window, now), age_s, level])
        for name in [name for name in self._entries if name not in seen]:
            del self._entries[name]
            orders.append([DROP, place, name, 0.0])
        if len(self._names) > 4 * len(self.account.windows) + 8:
            self._names = {w: n for w, n in self._names.items() if w in self.account.windows}
        return orders

    def restoration(self, place: int) -> list[Order]:
        """Return what brings a ledger up to date that could not be told for a while."""
        orders: list[Order] = [[RESTORE, place, self.own_calls]]
        if any(self.unshared):
            orders.append([CHARGE, place, [max(0.0, units) for units in self.unshared]])
        self.unshared = [0.0] * len(DIMENSIONS)
        return orders

    # -- what was told -------------------------------------------------------

    def note_admitted(self, calls: int, admitted: int) -> None:
        """Note calls of our own that a reply has counted."""
        self.own_calls += calls
        if self._own_admitted is not None:
            self._own_admitted += admitted

    def tells(self, lack: Shortfall, now: float) -> bool:
        """Tell whether a local window lacks the same, once the refused part is given back."""
        return any(
            window.index == lack.index
            and window.room(now) + EPSILON < _slack(window, lack.asked)
            # Who may try more than is guessed is not told by the guess.
            and not isinstance(window, DOUBTED)
            for window in self.account.windows
        )

    def note_short(self, lack: Shortfall, now: float) -> None:
        """Remember what is short where no local window would tell it, for a moment at least."""
        if lack.fits_at == math.inf:
            lack = msgspec.structs.replace(lack, fits_at=now + _LOOK_AGAIN_S)
        self._short = lack

    def take_in(self, told: AccountTold, now: float) -> bool:
        """Bring the local windows up to date; tell whether the account has begun from nothing."""
        is_other = bool(self.born) and told.born != self.born
        self.born = told.born
        if self._own_admitted is None or is_other:
            # What went out before this process began to look is none of its search.
            self._own_admitted = told.admitted - self.admitted_elsewhere
        self.admitted_elsewhere = max(0, told.admitted - self._own_admitted)
        self.calls_elsewhere = max(0, told.calls - self.own_calls)
        if is_other:
            self.forget_told()
        elif told.definitions is not None:
            self._follow(_mapping(told.definitions), now)
            self.version = told.version
        has_room = False
        for name, figures in _mapping(told.figures).items():
            entry = self._entries.get(name)
            if entry is not None:
                has_room = self._mirror(entry, figures, now) or has_room
        if has_room and self.account.on_capacity is not None:
            self.account.on_capacity()
        self.account.strained_at = -math.inf
        return is_other

    def forget_told(self) -> None:
        """Tell all definitions again, and where the windows stand."""
        self.version = 0
        for entry in self._entries.values():
            entry.told, entry.is_shared = (), False

    def forget_version(self) -> None:
        """Tell all definitions again: nobody knows whether they were heard."""
        self.version = 0
        for entry in self._entries.values():
            entry.told = ()

    def window_named(self, name: str) -> Window | None:
        """Return the local window of that name."""
        entry = self._entries.get(name)
        return entry.window if entry is not None else None

    def _mirror(self, entry: _Entry, figures: Figures, now: float) -> bool:
        """Bring a window up to date; tell whether others have given back some of it."""
        entry.is_shared = True
        window = entry.window
        before = window.room(now)
        mirror(window, figures, self.ahead[window.index], now)
        if turns_elsewhen(window, figures, now):
            entry.told = ("calendar",)
        return window.room(now) > before + EPSILON

    def _follow(self, definitions: Mapping[str, Definition], now: float) -> None:
        has_room = False
        for name, told in definitions.items():
            entry = self._entries.get(name)
            told_at = now - told["age"] if told["age"] >= 0.0 else _NEVER
            if entry is None:
                has_room = self._adopt(name, told, told_at, now) or has_room
            elif entry.told == print_of(entry.window) and told_at > entry.told_at - _SAME_S:
                has_room = follow(entry.window, told, now) or has_room
                entry.told, entry.told_at = print_of(entry.window), told_at
        for name in [n for n, e in self._entries.items() if e.is_shared and n not in definitions]:
            entry = self._entries[name]
            if entry.window.provenance is Provenance.INFERRED:
                del self._entries[name]
                self._let_go(self.account, entry.window)
            else:
                entry.told, entry.is_shared = (), False
        if has_room and self.account.on_capacity is not None:
            self.account.on_capacity()

    def _adopt(self, name: str, told: Definition, told_at: float, now: float) -> bool:
        window = window_of(told, now)
        if window is None or name_of(window) != name:
            return False
        self.account.windows.append(window)
        self._names[window] = name
        self._entries[name] = _Entry(window, print_of(window), told_at, is_shared=True)
        return True

    def _name_of(self, window: Window) -> str | None:
        if window not in self._names:
            self._names[window] = name_of(window)
        return self._names[window]


def _slack(window: Window, asked: float) -> float:
    return window.slack(asked) if isinstance(window, TokenBucket) else 0.0


def _found_at(window: Window, now: float) -> float:
    """Return when what a window says was found out, when it is first told of."""
    if window.provenance is Provenance.DECLARED or (isinstance(window, Ramp) and not window.is_met):
        return _NEVER
    return now if window.observed_at is None else window.observed_at


def _mapping(told: Mapping[str, _T] | Sequence[object]) -> Mapping[str, _T]:
    """Read an empty table, which the script cannot tell from an empty list."""
    return told if isinstance(told, Mapping) else {}
