"""The contract of a shared ledger: it confirms or refuses each local reservation."""

from abc import ABC, abstractmethod

from apikeyrouter.domain.ledger.ledger import Reservation, Shortfall


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
