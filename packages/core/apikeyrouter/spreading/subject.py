"""The contract of what is spread: how it is told, and how it is taken up."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

from apikeyrouter.infrastructure.spreading.board import Shelf
from apikeyrouter.infrastructure.spreading.notice import Notice


class Subject(ABC):
    """One kind of thing that processes tell each other.

    Attributes:
        is_urgent: Somebody may ask another process for it in the next moment.
        shelf: Where whoever starts later finds it; `NONE` if that is in the store.
        usual: What it is like where nobody has learned anything (`essence`): not worth telling,
            unless something else was told before.
    """

    kind: str
    is_urgent = False
    shelf = Shelf.OURS
    usual: Hashable = None

    @abstractmethod
    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return it as it is now, as plain data; `None` if there is nothing to tell."""

    @abstractmethod
    def take_up(self, notice: Notice, *, changed_at: float) -> None:
        """Put to use what another process has learned, where nothing newer is known here.

        Args:
            changed_at: When it was last changed or told here; `-inf` never.

        Raises:
            ArithmeticError, LookupError, TypeError, ValueError: It makes no sense.
        """

    def essence(self, body: Mapping[str, Any]) -> Hashable:
        """Return what of *body* is worth telling: if it is as it was, nothing is told."""
        return repr(body)

    def take_up_again(self) -> None:
        """Look at the store again: notices may have been missed."""
        return

    async def close(self) -> None:
        """Look at the store no more."""
        return
