"""Uploads under way whose pieces are sent without a key: who has their address may send them.

Only what a provider began for a client of ours is known, for a day, and bounded: beyond that
the client with the most loses its oldest.
"""

from collections import OrderedDict
from dataclasses import dataclass

from apikeyrouter.service import Owner
from apikeyrouter_proxy.dataplane.auth import Client

#: Uploads that are known, of all clients together, and for how long.
UPLOADS_KEPT, KEPT_FOR_S = 10_000, 86_400.0
_LONGEST_ID = 2048


@dataclass(slots=True, frozen=True)
class Upload:
    """An upload that was begun.

    Attributes:
        client: Who began it; `None` where nobody has to say.
        owner: Whose key it was begun with.
        path: Where its pieces come.
        until: Seconds since the epoch.
    """

    client: Client | None
    owner: Owner
    path: str
    until: float


class UploadRegister:
    """Uploads by the id that stands in their address."""

    def __init__(self, most: int = UPLOADS_KEPT) -> None:
        self._most = most
        self._uploads: dict[str, Upload] = {}
        #: Client -> ids, oldest first.
        self._ids: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    def begin(
        self, upload_id: str, client: Client | None, owner: Owner, path: str, now: float
    ) -> bool:
        """Remember an upload; tell whether it is taken: an id may be too long."""
        if not upload_id or len(upload_id) > _LONGEST_ID:
            return False
        self.end(upload_id)
        self._uploads[upload_id] = Upload(client, owner, path, now + KEPT_FOR_S)
        self._ids.setdefault(_name_of(client), OrderedDict())[upload_id] = None
        if len(self._uploads) > self._most:
            largest = max(self._ids.values(), key=len)
            self.end(next(iter(largest)))
        return True

    def find(self, upload_id: str, now: float) -> Upload | None:
        """Return an upload that is under way; `None` if there is none, or not any more."""
        upload = self._uploads.get(upload_id)
        if upload is not None and upload.until <= now:
            self.end(upload_id)
            return None
        return upload

    def end(self, upload_id: str) -> None:
        """Forget an upload; one that is not known is nothing."""
        upload = self._uploads.pop(upload_id, None)
        if upload is not None:
            name = _name_of(upload.client)
            del self._ids[name][upload_id]
            if not self._ids[name]:
                del self._ids[name]


def _name_of(client: Client | None) -> str:
    return client.name if client is not None else ""
