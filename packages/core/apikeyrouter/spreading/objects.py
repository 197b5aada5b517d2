"""Objects: which account has the files, batches and conversations that clients made."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from apikeyrouter.domain.object_register import ObjectRegister, Owner
from apikeyrouter.infrastructure.spreading.board import Shelf
from apikeyrouter.infrastructure.spreading.notice import Notice
from apikeyrouter.spreading.rereading import Rereading
from apikeyrouter.spreading.subject import Subject


class ObjectSubject(Subject):
    """Whose one object is.

    It is not kept on the board: the store has it, and whoever starts later reads it there.
    """

    kind = "object"
    is_urgent = True
    shelf = Shelf.NONE

    def __init__(self, register: ObjectRegister, *, on_error: Callable[[Exception], None]) -> None:
        self._register = register
        self._rereading = Rereading(self._read, on_error=on_error)

    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return whose it is; it is *gone* if nobody's any more."""
        client, kind, object_id = _parted(name)
        owner = self._register.find(client, kind, object_id)
        if owner is None:
            return {"gone": True}
        return {
            "provider": owner.provider_id, "key": owner.key_id, "account": owner.account,
            "made": self._register.has_made(client, kind, object_id),
            "home": self._register.home_of(client) == owner,
        }  # fmt: skip

    def take_up(self, notice: Notice, *, changed_at: float) -> None:
        """Remember whose it is, or that it is gone."""
        body = notice.body or {}
        client, kind, object_id = _parted(notice.name)
        if notice.at < changed_at:
            return
        if body.get("gone"):
            self._register.learn(client, kind, object_id, None)
            return
        owner = Owner(str(body["provider"]), str(body["key"]), str(body["account"]))
        self._register.learn(
            client, kind, object_id, owner,
            is_new=bool(body["home"]), is_made=bool(body["made"]),
        )  # fmt: skip

    def take_up_again(self) -> None:
        """Have all read again that the store knows."""
        self._rereading.want("")

    async def close(self) -> None:
        """Read no more."""
        await self._rereading.close()

    async def _read(self, _: str) -> None:
        await self._register.load()


def object_name(client: str, kind: str, object_id: str) -> str:
    """Return the name by which an object is spread."""
    return msgspec.json.encode((client, kind, object_id)).decode()


def _parted(name: str) -> tuple[str, str, str]:
    return msgspec.json.decode(name, type=tuple[str, str, str])
