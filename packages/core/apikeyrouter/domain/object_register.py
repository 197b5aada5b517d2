"""Which key has what its client made: files, batches, conversations and their like.

They exist in the account of the key that made them and nowhere else, so that whatever is asked of
them later goes there. This register is in memory and bounded; one that lasts is a subclass.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable

import msgspec

#: Objects that are remembered, of all clients together.
OBJECTS_KEPT = 50_000
#: Providers make ids up, and tell whose account it is: neither fills the memory.
_LONGEST_ID, _OWNERS_KEPT = 512, 4096


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

    def __init__(self) -> None:
        #: Told of client, kind and id of an object that was made, found or deleted here.
        self.on_change: Callable[[str, str, str], None] | None = None

    async def load(self) -> None:
        """Take up what was kept from before; the default keeps nothing.

        Raises:
            StateStoreError: It cannot be read.
        """
        return

    async def close(self) -> None:
        """Write what is waiting to be written; the default has nothing."""
        return

    @abstractmethod
    def find(self, client: str, kind: str, object_id: str) -> Owner | None:
        """Return whose the object is; `None` if that is not known."""

    @abstractmethod
    def is_others(self, client: str, kind: str, object_id: str) -> bool:
        """Tell whether other clients have made the object, and this one has made none of its id.

        Whoever has no name is nobody's other: where there are no clients all is everybody's.
        """

    @abstractmethod
    def has_made(self, client: str, kind: str, object_id: str) -> bool:
        """Tell whether the client is known to have made the object."""

    @abstractmethod
    def note(
        self,
        client: str,
        kind: str,
        object_id: str,
        owner: Owner,
        *,
        is_new: bool = True,
        is_made: bool = False,
    ) -> None:
        """Remember whose the object is, unless another client made it in the same account.

        Args:
            is_new: It was made just now by the client, whoever made one of its id before, and
                what the client makes next should stand beside it.
            is_made: The client made it, now or before.
        """

    @abstractmethod
    def forget(self, client: str, kind: str, object_id: str) -> None:
        """Forget an object that was deleted; one that is not known is nothing."""

    @abstractmethod
    def learn(
        self,
        client: str,
        kind: str,
        object_id: str,
        owner: Owner | None,
        *,
        is_new: bool = False,
        is_made: bool = False,
    ) -> None:
        """Take note of what another process knows, which has it kept: as `note`, or `forget`."""

    @abstractmethod
    def has_any(self) -> bool:
        """Tell whether any object may be known; cheap, as every request asks."""

    @abstractmethod
    def home_of(self, client: str) -> Owner | None:
        """Return where the client's last object was made: what is used together is made there."""


class MemoryObjectRegister(ObjectRegister):
    """Owners in memory, so many at most.

    Beyond that the client with the most objects loses the one that it has not used for longest:
    nobody's objects are forgotten for what somebody else makes.
    """

    def __init__(self, most: int = OBJECTS_KEPT) -> None:
        super().__init__()
        self._is_learning = False
        self._most = most
        self._owners: dict[str, OrderedDict[tuple[str, str], Owner]] = {}
        self._homes: dict[str, Owner] = {}
        #: Kind and id -> the clients that made such an object, in one account or another.
        self._makers: dict[tuple[str, str], tuple[str, ...]] = {}
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

    def is_others(self, client: str, kind: str, object_id: str) -> bool:
        """Tell whether other clients have made the object, and this one has made none."""
        makers = self._makers.get((kind, object_id), ())
        return bool(client) and client not in makers and any(makers)

    def has_made(self, client: str, kind: str, object_id: str) -> bool:
        """Tell whether the client is known to have made the object."""
        return client in self._makers.get((kind, object_id), ())

    def note(
        self,
        client: str,
        kind: str,
        object_id: str,
        owner: Owner,
        *,
        is_new: bool = True,
        is_made: bool = False,
    ) -> None:
        """Remember whose the object is."""
        if len(object_id) > _LONGEST_ID:
            return
        name = (kind, object_id)
        for other in self._others_in(owner, client, name):
            if not is_new:
                return
            self.forget(other, kind, object_id)
        if len(self._known) > _OWNERS_KEPT:
            self._known.clear()
        owner = self._known.setdefault(owner, owner)
        owners = self._owners.setdefault(client, OrderedDict())
        before = owners.get(name)
        if before is None:
            self._count += 1
        makes = (is_new or is_made) and not self.has_made(client, kind, object_id)
        if makes:
            self._makers[name] = (*self._makers.get(name, ()), client)
        if is_new:
            self._homes[client] = owner
        owners[name] = owner
        owners.move_to_end(name)
        if makes or before != owner:
            self._note_change(client, name, owner, is_new=is_new)
            self._tell(client, name)
        if self._count > self._most:
            self._drop_one()

    def forget(self, client: str, kind: str, object_id: str) -> None:
        """Forget an object that was deleted."""
        name = (kind, object_id)
        owners = self._owners.get(client)
        if owners is not None and owners.pop(name, None) is not None:
            self._let_go(client, name)
            self._tell(client, name)

    def learn(
        self,
        client: str,
        kind: str,
        object_id: str,
        owner: Owner | None,
        *,
        is_new: bool = False,
        is_made: bool = False,
    ) -> None:
        """Take note of what another process knows."""
        self._is_learning = True
        try:
            if owner is None:
                self.forget(client, kind, object_id)
            else:
                self.note(client, kind, object_id, owner, is_new=is_new, is_made=is_made)
        finally:
            self._is_learning = False

    def has_any(self) -> bool:
        """Tell whether any object is known."""
        return self._count > 0

    def home_of(self, client: str) -> Owner | None:
        """Return where the client's last object was made."""
        return self._homes.get(client)

    def _tell(self, client: str, name: tuple[str, str]) -> None:
        if self.on_change is not None and not self._is_learning:
            self.on_change(client, *name)

    def _note_change(
        self, client: str, name: tuple[str, str], owner: Owner | None, *, is_new: bool
    ) -> None:
        """Take note that an object is known anew or otherwise, or by no *owner* any more."""

    def _others_in(self, owner: Owner, client: str, name: tuple[str, str]) -> list[str]:
        """List the other clients that made such an object in the account of *owner*."""
        place = _place_of(owner)
        return [
            other
            for other in self._makers.get(name, ())
            if client
            and other
            and other != client
            and _place_of(self._owners[other][name]) == place
        ]

    def _drop_one(self) -> None:
        client, owners = max(self._owners.items(), key=lambda item: len(item[1]))
        name, _ = owners.popitem(last=False)
        self._let_go(client, name)

    def _let_go(self, client: str, name: tuple[str, str]) -> None:
        self._count -= 1
        self._note_change(client, name, None, is_new=False)
        makers = tuple(maker for maker in self._makers.pop(name, ()) if maker != client)
        if makers:
            self._makers[name] = makers


def _place_of(owner: Owner) -> tuple[str, str]:
    return owner.provider_id, owner.account or owner.key_id
