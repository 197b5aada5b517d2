"""Not before: until when something must not be called, and why.

A key, an account, a model that an account refuses and a provider's circuit each have one.
"""

from dataclasses import dataclass

from apikeyrouter.domain.ledger.ledger import Shortfall


@dataclass(slots=True)
class Cooldown:
    """A wait that was told, or that follows from a failure or an operator's order.

    Attributes:
        until: Epoch seconds; 0 when there is none, `inf` when no clock ends it.
        cause: The failure class that it follows from, or an operator's reason.
        detail: What else people should read, such as who told it.
    """

    until: float = 0.0
    cause: str = ""
    detail: str = ""

    @property
    def why(self) -> str:
        """What is waited for, in words."""
        return f"{self.cause}: {self.detail}" if self.detail else self.cause

    def extend(self, until: float, cause: str, detail: str = "") -> bool:
        """Wait until *until*; never shortens a wait. Tell whether it grew."""
        if until <= self.until:
            return False
        self.until, self.cause, self.detail = until, cause, detail
        return True

    def take_over(self, other: "Cooldown") -> bool:
        """Wait as long as *other*, if that is longer; tell whether it grew."""
        return self.extend(other.until, other.cause, other.detail)

    def end(self) -> None:
        """Wait no longer."""
        self.until, self.cause, self.detail = 0.0, "", ""

    def shortfall(self, what: str = "") -> Shortfall:
        """Return the wait as what keeps a request out, told as *what* or by its own words."""
        what = what or self.why or "told to wait"
        return Shortfall(what, 0.0, 0.0, self.until, cause=self.cause)
