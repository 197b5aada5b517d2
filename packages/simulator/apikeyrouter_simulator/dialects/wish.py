"""What is asked about an object that is kept."""

from dataclasses import dataclass
from typing import Any

import msgspec

from apikeyrouter_simulator.dialects.dialect import Desk, Incoming
from apikeyrouter_simulator.dialects.multipart import BodyPart, parts_of
from apikeyrouter_simulator.dialects.store import Kept

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked about an object, and where it is kept."""

    incoming: Incoming
    desk: Desk
    kind: str
    name: str = ""

    def json(self) -> Json:
        """Return the body; nothing if it is no object."""
        try:
            return msgspec.json.decode(self.incoming.body or b"{}", type=Json)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}

    def parts(self) -> list[BodyPart]:
        """Return the parts of the body."""
        kind = self.incoming.headers.get(b"content-type", b"")
        return parts_of(kind, self.incoming.body) or []

    def part(self, name: str) -> BodyPart | None:
        """Return the part of that name."""
        return next((part for part in self.parts() if part.name == name), None)

    def find(self, kind: str, name: object) -> Kept | None:
        """Return an object of this scope."""
        return self.desk.store.get(self.desk.scope, kind, str(name))

    def keep(self, kind: str, data: Json, content: bytes = b"") -> Kept:
        """Keep an object."""
        kept = Kept(data, content)
        self.desk.store.put(self.desk.scope, kind, kept.id, kept)
        return kept

    def all(self) -> list[Kept]:
        """Return the objects of the kind, oldest first."""
        return self.desk.store.all(self.desk.scope, self.kind)
