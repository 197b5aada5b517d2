"""The wire format of the shared ledger: what a batch orders, and what comes back."""

from typing import Any

import msgspec

from apikeyrouter.infrastructure.ledger.shared_window import Definition, Figures

ADMIT, SETTLE, CONFIRM, OBSERVE, DEFINE, DROP, RESTORE, CHARGE = range(1, 9)

Order = list[Any]
#: Of each window what a charge on it is known by, and all that was charged by then.
Marks = dict[str, tuple[float, float]]


class AccountTold(msgspec.Struct, frozen=True, array_like=True):
    """How an account stands by the shared ledger.

    Attributes:
        born: Names this state of it; another one began from nothing.
        version: Of its definitions.
        admitted: Calls begun so far, by all processes.
        calls: Calls under way, of all processes.
        definitions: Of all its windows, where they differ from those that were known.
    """

    born: str
    version: int
    admitted: int
    calls: int
    figures: dict[str, Figures] | list[Any]
    definitions: dict[str, Definition] | list[Any] | None = None


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """What came of a batch.

    Attributes:
        is_fresh: The process was not known, or was taken for dead.
        processes: How many are alive.
    """

    is_fresh: bool
    processes: int
    results: list[Any]
    accounts: list[AccountTold]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Reply, strict=False).decode
