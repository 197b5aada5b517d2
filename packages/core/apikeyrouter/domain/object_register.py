"""Which key has what its client made: files, batches, conversations and their like.

They exist in the account of the key that made them and nowhere else, so that whatever is asked of
them later goes there. This register is in memory and bounded; one that lasts is a subclass.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict

import msgspec

#: Objects that are remembered, of all clients together.
OBJECTS_KEPT = 50_000


class Owner(msgspec.Struct, frozen=True):
    """Whose an object is.

    Attributes:
        account: Of the key; other keys of it reach the object too.
    """

    provider_id: str
    key_id: str
    account: str = ""


class ObjectRegister(ABC):
    """Owners by client (empty where there are none), kind (such as `files`) and id."""

    @abstractmethod
    def find(self, client: str, kind: str, object_id: str) -> Owner | None:
        """Return whose the object is; `None` if that is not known."""

    @abstractmethod
    def note(
        self, client: str, kind: str, object_id: str, owner: Owner, *, is_new: bool = True
    ) -> None:
        """Remember whose the object is.

        Args:
            is_new: It was made just now, and what the client makes next should stand beside it.
        """

    @abstractmethod
    def forget(self, client: str, kind: str, object_id: str) -> None:
        """Forget an object that was deleted; one that is not known is nothing."""

    @abstractmethod
    def has_any(self, client: str) -> bool:
        """Tell whether any object of the client may be known; cheap, as every request asks."""

    @abstractmethod
    def home_of(self, client: str) -> Owner | None:
        """Return where the client's last object was made: what is used together is made there."""


class MemoryObjectRegister(ObjectRegister):
    """Owners in memory, so many at most.

    Beyond that the client with the most objects loses the one that it has not used for longest:
    nobody's objects are forgotten for what somebody else makes.
    """

    def __init__(self, most: int = OBJECTS_KEPT) -> None:
        self._most = most
        self._owners: dict[str, OrderedDict[tuple[str, str], Owner]] = {}
        self._homes: dict[str, Owner] = {}
        #: Equal owners are kept once.
        self._known: dict[Owner, Owner] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, client: str, kind: str, object_id: str) -> Owner | None:
        """Return whose the object is, which counts as its use."""
        owners = self._owners.get(client)
        if owners is None:
            return None
        owner = owners.get((kind, object_id))
        if owner is not None:
            owners.move_to_end((kind, object_id))
        return owner

    def note(
        self, client: str, kind: str, object_id: str, owner: Owner, *, is_new: bool = True
    ) -> None:
        """Remember whose the object is."""
        owner = self._known.setdefault(owner, owner)
        owners = self._owners.setdefault(client, OrderedDict())
        name = (kind, object_id)
        if name not in owners:
            self._count += 1
        if is_new:
            self._homes[client] = owner
        owners[name] = owner
        owners.move_to_end(name)
        if self._count > self._most:
            self._drop_one()

    def forget(self, client: str, kind: str, object_id: str) -> None:
        """Forget an object that was deleted."""
        owners = self._owners.get(client)
        if owners is not None and owners.pop((kind, object_id), None) is not None:
            self._count -= 1

    def has_any(self, client: str) -> bool:
        """Tell whether any object of the client is known."""
        return bool(self._owners.get(client))

    def home_of(self, client: str) -> Owner | None:
        """Return where the client's last object was made."""
        return self._homes.get(client)

    def _drop_one(self) -> None:
        largest = max(self._owners.values(), key=len)
        largest.popitem(last=False)
        self._count -= 1
