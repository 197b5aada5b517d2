"""What traffic teaches of accounts, circuits and keys is kept, and taken up after a restart.

Nothing is done while a request is decided. When its record is written, what it has touched
is told as it is then: of many requests between two batches once.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.accounts.registry import ALL_MODELS
from apikeyrouter.domain.accounts.scope_record import member_of, restore_scope, scope_data
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.interfaces.state_store import Document, StateStore, StoredRecord
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.decision_record import AttemptNote, DecisionRecord
from apikeyrouter.infrastructure.state_store.write_behind import WriteBehind

ACCOUNT, CIRCUIT = "Account", "Circuit"
#: Outcomes of attempts that say nothing against a provider.
_FINE = ("ok", "cancelled", "")
#: Bases of membership that a configuration does not say again.
_FOUND_OUT = ("told", "inferred", "alone")
#: A crash forgets at most what calls that have not ended took within so long.
_WATCH_S = 1.0
#: What is not heard of for so long is taken up no more, and forgotten.
_FORGOTTEN_AFTER_S = 40 * 86_400.0


class AccountKeeping:
    """Keeps what was learned.

    Args:
        on_error: Told of a record that cannot be taken up.
    """

    def __init__(
        self,
        parts: RouterParts,
        outbox: WriteBehind,
        clock: Callable[[], float],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._parts = parts
        self._outbox = outbox
        self._clock = clock
        self.on_error = on_error
        self._watching: asyncio.Task[None] | None = None
        self._kept: dict[tuple[str, str, str], Document] = {}
        self._circuits: dict[tuple[str, str, str], Document] = {}
        #: Keys and models whose calls are noted already, since anything of it was told.
        self._noted: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Keep from now on what requests teach."""
        self._outbox.on_decision = self.note

    async def load(self, store: StateStore) -> None:
        """Read what was kept; scopes that are asked for from now on begin with it."""
        oldest = self._clock() - _FORGOTTEN_AFTER_S
        for document in await store.list_documents(ACCOUNT):
            if document.updated_at.timestamp() < oldest:
                await store.delete_document(ACCOUNT, document.id)
                continue
            body = document.body
            self._kept[body["provider"], body["account"], body["group"]] = document
            if body["basis"] in _FOUND_OUT:
                for key_id in body["keys"]:
                    self._parts.registry.kept_members[key_id] = member_of(body)
        for document in await store.list_documents(CIRCUIT):
            body = document.body
            self._circuits[body["provider"], body["model"], body["endpoint"]] = document
        self._parts.registry.take_up = self._take_up
        self._parts.routes.take_up = self._take_up_circuit

    def watch(self) -> None:
        """Have written once a second what calls that are under way have taken."""
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Watch no longer."""
        task, self._watching = self._watching, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            if self._parts.context.ledger.open_count:
                for scope in self._parts.registry:
                    if scope.account.in_flight:
                        self._note_scope(scope)

    def note(self, record: DecisionRecord) -> None:
        """Have written what one request has touched."""
        for attempt in record.attempts:
            is_fine = attempt.outcome in _FINE
            if is_fine and (attempt.key_id, attempt.model) in self._noted:
                continue
            slot = self._parts.manager.slot_by_id.get(attempt.key_id)
            if slot is None:
                continue
            self._note_key(slot)
            for scope in self._scopes(slot, attempt):
                self._note_scope(scope)
            self._noted.add((attempt.key_id, attempt.model))
            if not is_fine:
                self._note_circuits(attempt)

    def _scopes(self, slot: KeySlot, attempt: AttemptNote) -> list[QuotaScope]:
        """Return the scopes that a call may have drawn on: by its model, or of all models."""
        scopes = self._parts.registry.scopes_of(slot)
        touched = [scope for scope in scopes if scope.group in (attempt.model, ALL_MODELS)]
        return touched or scopes

    def _note_key(self, slot: KeySlot) -> None:
        def tell() -> StoredRecord:
            self._noted.clear()
            return slot.snapshot().model_copy()

        self._outbox.note(f"key {slot.id}", tell)

    def _note_scope(self, scope: QuotaScope) -> None:
        self._outbox.note(f"account {scope.id}", lambda: self._document(scope))

    def _note_circuits(self, attempt: AttemptNote) -> None:
        for pool in self._parts.routes.pools():
            if (pool.provider_id, pool.model) == (attempt.provider_id, attempt.model):
                self._note_circuit(pool)

    def _note_circuit(self, pool: CandidatePool) -> None:
        name = f"{pool.provider_id}/{pool.model}/{pool.endpoint}"
        self._outbox.note(f"circuit {name}", lambda: self._circuit_document(pool, name))

    def _circuit_document(self, pool: CandidatePool, name: str) -> Document:
        circuit = pool.circuit
        body: dict[str, Any] = {
            "provider": pool.provider_id,
            "model": pool.model,
            "endpoint": pool.endpoint,
            "failures": circuit.failures,
            "until": circuit.cooldown.until,
            "cause": circuit.cooldown.cause,
            "pause_s": circuit.pause_s,
        }
        return Document(CIRCUIT, name, body, instant(self._clock()))

    def _take_up_circuit(self, pool: CandidatePool) -> None:
        kept = self._circuits.pop((pool.provider_id, pool.model, pool.endpoint), None)
        if kept is None or kept.body["until"] <= self._clock():
            return
        circuit, body = pool.circuit, kept.body
        circuit.failures, circuit.pause_s = int(body["failures"]), float(body["pause_s"])
        circuit.cooldown.extend(float(body["until"]), str(body["cause"]))

    def _document(self, scope: QuotaScope) -> Document:
        self._noted.clear()
        now = self._clock()
        body = scope_data(scope, self._parts.search, now)
        body["keys"] = [slot.id for slot in self._parts.registry.slots_of(scope)]
        return Document(ACCOUNT, scope.id, body, instant(now))

    def _take_up(self, scope: QuotaScope) -> None:
        registry = self._parts.registry
        name = scope.provider_id, scope.membership.account, scope.group
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        try:
            restore_scope(
                scope, kept.body, self._parts.search,
                calendars=registry.calendars.get(scope.provider_id, {}),
                wall_ahead_s=registry.wall_ahead_s,
                prior=registry.admissions.get(scope.provider_id, Admission()),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            # Learned again: what cannot be read is no reason not to serve.
            self.on_error(error)
