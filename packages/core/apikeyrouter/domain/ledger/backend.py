"""The contract of a shared ledger: it confirms or refuses each local reservation."""

from abc import ABC, abstractmethod
from typing import Protocol

from apikeyrouter.domain.ledger.ledger import Hold, Reservation, Shortfall
from apikeyrouter.domain.ledger.window import Window


class LedgerBackend(ABC):
    """Confirms reservations between the local choice and the call.

    The local ledger chooses and reserves by what it believes; a shared one knows what all
    processes have set aside. Without a backend the local reservation is final, without waiting.
    """

    @abstractmethod
    async def confirm(self, reservation: Reservation) -> Shortfall | None:
        """Set *reservation* aside for all processes, every account of it or none.

        Returns:
            `None` when it is set aside; else what is short. By then the backend has corrected
            the local windows; the caller gives the local part back and chooses again.
        """

    async def start(self) -> None:  # noqa: B027 - one that needs nothing has nothing to do
        """Reach what it is kept on, so that a wrong address is told at once.

        Raises:
            ConfigurationError: It cannot be reached.
        """

    async def stop(self) -> None:  # noqa: B027 - as above
        """Tell what has not been told, and let go of what is held open."""

    def trouble(self) -> str:
        """Return why it cannot be reached now; empty while it can."""
        return ""


class SharedAccount(Protocol):
    """What a backend knows of one account; it stands in `LedgerAccount.shared`.

    Attributes:
        calls_elsewhere: Calls of other processes that are under way.
        admitted_elsewhere: Calls that other processes have begun since this one began to look.
    """

    calls_elsewhere: int
    admitted_elsewhere: int

    def shortfall(self, now: float) -> Shortfall | None:
        """Return what other processes leave no room for, where no local window tells it."""

    def observed(self, window: Window, low: float, high: float, hold: Hold | None) -> float | None:
        """Have a report held against what all processes have used.

        Returns:
            The correction that the report before it made, as `Window.observe` does; `None` if
            nobody can be asked, and the report is to be held against *window* itself.
        """
