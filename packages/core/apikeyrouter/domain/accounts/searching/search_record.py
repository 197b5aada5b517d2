"""What lasts of a search for undisclosed limits: the explanation, and the guesses."""

from collections.abc import Mapping
from typing import Any

from apikeyrouter.domain.accounts.searching.doubt import GuessedMinute
from apikeyrouter.domain.accounts.searching.pace import Pace
from apikeyrouter.domain.accounts.searching.ramp import Ramp
from apikeyrouter.domain.accounts.searching.search_state import Explanation, SearchState
from apikeyrouter.domain.accounts.window_record import window_data, window_of
from apikeyrouter.domain.ledger.algorithms import RollingWindow

_FACTS = (
    "since", "served", "has_stood_still", "is_met", "raised_at", "one_more_s", "served_before",
    "minute_grown_at", "puzzled", "is_paced",
)  # fmt: skip
_GUESSES: Mapping[str, type[Ramp] | type[Pace] | type[RollingWindow]] = {
    "ramp": Ramp,
    "pace": Pace,
    "minute": RollingWindow,
}


def search_data(search: SearchState, now: float) -> dict[str, Any]:
    """Return what lasts of a search; trials that were under way begin anew."""
    data: dict[str, Any] = {name: getattr(search, name) for name in _FACTS}
    data["explanation"] = search.explanation.value if search.explanation else None
    for name in _GUESSES:
        guess = getattr(search, name)
        data[name] = None if guess is None else window_data(guess, now)
    search.log.room(now)
    data["log"] = search.log.charges()
    return data


def search_of(data: Mapping[str, Any]) -> SearchState:
    """Return the search that was kept.

    Raises:
        KeyError, TypeError, ValueError: The data are none of this version.
    """
    search = SearchState(0.0, 0)
    for name in _FACTS:
        setattr(search, name, data[name])
    explanation = data["explanation"]
    search.explanation = None if explanation is None else Explanation(explanation)
    for name, kind in _GUESSES.items():
        guess = None if data[name] is None else window_of(data[name], None, 0.0)
        if guess is not None and not isinstance(guess, kind):
            raise ValueError(f"a {name} is no {data[name]['kind']}")
        if isinstance(guess, RollingWindow):
            guess = GuessedMinute.of(guess, guess.capacity, guess.period_s, guess.at, guess.label)
        setattr(search, name, guess)
    for at, amount in data["log"]:
        search.log.take(float(amount), float(at))
    return search
