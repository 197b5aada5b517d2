"""The audit log: who changed what, in rows that are added and never changed.

Each row has the hash of the one before it, so that none can be changed, left out or put between
without all later ones being wrong. Whoever can write to the store could make up a whole chain: an
operator who fears that keeps the last hash elsewhere.
"""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from apikeyrouter.service import Document, StateStore, StateStoreError

KIND = "Audit"
#: What the first row names as the hash before it.
FIRST = "0" * 64
#: How often others may be first, and after how many times the end of the chain is looked for anew.
_COLLISIONS, _READ_AFTER = 1000, 16
#: What every process of a service does by itself, such as to read the same file again.
RELOAD = "config.reload"
_RELOADS_SEEN = 64


@dataclass(slots=True, frozen=True)
class Caller:
    """Who sent a management request: its peer's address, and the request's id."""

    peer: str
    request_id: str
    actor: str = "management key"


#: Of the request that is being answered.
caller: ContextVar[Caller] = ContextVar("caller")
_NOBODY = Caller("", "", "configuration file")


@dataclass(slots=True, frozen=True)
class Verdict:
    """What a look at the whole chain found.

    Attributes:
        problems: A sentence for each row that is wrong; none if all is well.
    """

    rows: int
    last_hash: str
    problems: tuple[str, ...]


class AuditLog:
    """Adds rows to the log of one store; several processes may do so at once."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self._number, self._hash = 0, FIRST
        self._is_read = False
        self._since = datetime.now(UTC).isoformat()
        #: Rows of reloads since then, and the last of them that stands for one of this process.
        self._reloads: deque[Mapping[str, Any]] = deque(maxlen=_RELOADS_SEEN)
        self._told = 0

    async def note(
        self, action: str, target: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """Add a row; nothing where the store keeps no documents.

        A reload is noted once, however many processes read the same file again.

        Args:
            action: Such as `key.rotate`.
            target: Id of what was changed.
            before, after: Plain data without secrets; empty where there was or is nothing.

        Raises:
            StateStoreError: It cannot be stored.
        """
        if not self._store.keeps_documents:
            return
        who, at = caller.get(_NOBODY), datetime.now(UTC)
        facts = {
            "at": at.isoformat(), "actor": who.actor, "peer": who.peer,
            "request_id": who.request_id, "action": action, "target": target,
            "before": dict(before), "after": dict(after),
        }  # fmt: skip
        async with self._lock:
            await self._read_end()
            for tried in range(1, _COLLISIONS):
                if action == RELOAD and self._is_told(target, after):
                    return
                row = {**facts, "number": self._number + 1, "previous": self._hash}
                row["hash"] = hash_of(row)
                document = Document(KIND, f"{row['number']:012d}", row, at)
                kept = (await self._store.add_document(document)).body
                # Another process may have been first: ours comes after its row then.
                self._see(kept)
                if kept["hash"] == row["hash"]:
                    if action == RELOAD:
                        self._told = self._number
                    return
                if tried % _READ_AFTER == 0:
                    self._is_read = False
                    await self._read_end()
        raise StateStoreError(f"{action} of '{target}' is not in the audit log: others add to it")

    async def rows(self) -> list[Mapping[str, Any]]:
        """Return all rows, oldest first."""
        return await rows_of(self._store)

    async def _read_end(self) -> None:
        if not self._is_read:
            number = self._number
            for row in await self.rows():
                if int(row["number"]) > number:
                    self._see(row)
            self._is_read = True

    def _see(self, row: Mapping[str, Any]) -> None:
        self._number, self._hash = int(row["number"]), str(row["hash"])
        if row["action"] == RELOAD and str(row["at"]) >= self._since:
            self._reloads.append(row)

    def _is_told(self, target: str, after: Mapping[str, Any]) -> bool:
        """Tell whether another process has noted a reload that this one makes just now."""
        for row in self._reloads:
            alike = row["target"] == target and row["after"] == after
            if alike and int(row["number"]) > self._told:
                self._told = int(row["number"])
                return True
        return False


async def rows_of(store: StateStore) -> list[Mapping[str, Any]]:
    """Return all rows that *store* has, oldest first."""
    return [document.body for document in await store.list_documents(KIND)]


def hash_of(row: Mapping[str, Any]) -> str:
    """Return the hash of all of a row but its own hash."""
    facts = {name: part for name, part in row.items() if name != "hash"}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(rows: Iterable[Mapping[str, Any]]) -> Verdict:
    """Look at the whole chain, oldest row first."""
    previous, number, problems = FIRST, 0, []
    for row in rows:
        expected, number = number + 1, int(row["number"])
        if number != expected:
            problems.append(f"row {number} comes where row {expected} should: some are missing")
        elif row["previous"] != previous:
            problems.append(f"row {number} does not follow the row before it: one was replaced")
        if row["hash"] != hash_of(row):
            problems.append(f"row {number} was changed after it was written")
        previous = str(row["hash"])
    return Verdict(number, previous, tuple(problems))
