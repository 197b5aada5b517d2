"""Circuits, and models that an account refuses."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.failures.circuit import LONGEST_PAUSE_S
from apikeyrouter.domain.failures.refusals import Refusals
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.infrastructure.spreading.board import Shelf
from apikeyrouter.infrastructure.spreading.notice import Notice
from apikeyrouter.spreading.subject import Subject

#: What others tell of models that nobody has asked for here.
_WAITING_KEPT = 1024
_KEYS_TOLD = 64
_FAILURES_TOLD, _RESTS_TOLD = 1000, 64
#: Nobody tells a longer rest of a model.
_LONGEST_REST_S = 86_400.0
_NO_WAIT = [0.0, ""]


class PoolSubject(Subject):
    """Something of the pools of one model; what is told before there is any waits for one."""

    def __init__(self, parts: RouterParts, clock: Callable[[], float]) -> None:
        self._parts = parts
        self._clock = clock
        self._waiting: OrderedDict[str, Notice] = OrderedDict()

    def begin(self, pool: CandidatePool) -> None:
        """Put to use what was told before *pool* was there; it may make no sense (`take_up`)."""
        for name in [name for name in self._waiting if self._is_of(name, pool)]:
            self._put_to_use(self._waiting.pop(name), [pool])

    def take_up(self, notice: Notice, *, changed_at: float) -> None:
        """Put to use what another process tells."""
        if notice.body is None or notice.at < changed_at:
            return
        self._check_name(notice.name)
        pools = [pool for pool in self._parts.routes.pools() if self._is_of(notice.name, pool)]
        if pools:
            self._put_to_use(notice, pools)
            return
        self._waiting[notice.name] = notice
        self._waiting.move_to_end(notice.name)
        if len(self._waiting) > _WAITING_KEPT:
            self._waiting.popitem(last=False)

    def _check_name(self, name: str) -> None:
        """Raise `ValueError` if it is none of this kind."""

    def _is_of(self, name: str, pool: CandidatePool) -> bool:
        return name == pool_name(pool)

    def _put_to_use(self, notice: Notice, pools: Iterable[CandidatePool]) -> None:
        raise NotImplementedError


class CircuitSubject(PoolSubject):
    """Whether a provider fails."""

    kind = "circuit"
    shelf = Shelf.ASKED
    usual = 0.0

    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return how a circuit stands."""
        for pool in self._parts.routes.pools():
            if pool_name(pool) == name:
                circuit = pool.circuit
                until, cause = circuit.cooldown.until, circuit.cooldown.cause
                return {
                    "until": until, "cause": cause, "pause_s": circuit.pause_s,
                    "failures": circuit.failures if until else 0,
                }  # fmt: skip
        return None

    def essence(self, body: Mapping[str, Any]) -> Hashable:
        """Return until when it is open."""
        return float(body["until"])

    def _put_to_use(self, notice: Notice, pools: Iterable[CandidatePool]) -> None:
        body, now = notice.body or {}, self._clock()
        until = float(body["until"]) and float(body["until"]) - notice.ahead_s
        cause, failures = str(body["cause"]), int(body["failures"])
        pause_s = min(LONGEST_PAUSE_S, max(0.0, float(body["pause_s"])))
        for pool in pools:
            circuit = pool.circuit
            if circuit.opened_at > notice.at or circuit.answered_at > notice.at:
                # Something newer is known here.
                continue
            if until > now:
                circuit.failures = max(circuit.failures, min(failures, _FAILURES_TOLD))
                circuit.pause_s = pause_s
                circuit.cooldown.extend(min(until, now + LONGEST_PAUSE_S), cause)
                circuit.opened_at = min(notice.at, now)
                circuit.probe_since = circuit.ramp = None
            elif not until and circuit.is_open:
                circuit.note_success()
        self._parts.routes.on_change()


class RefusalSubject(PoolSubject):
    """What an account refuses of one model."""

    kind = "model"
    shelf = Shelf.ASKED
    usual = repr((_NO_WAIT, {}))

    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return until when nobody, or which key, is asked."""
        refusals = next(
            (c[0].refusals for _, c in self._candidates(name) if c[0].refusals is not None), None
        )
        if refusals is None:
            return {"wait": _NO_WAIT, "rests": 0, "keys": {}}
        waits = list(refusals.cooldown_by_key.items())[-_KEYS_TOLD:]
        return {
            "wait": [refusals.cooldown.until, refusals.cooldown.cause],
            "rests": refusals.rests,
            "keys": {slot.id: [wait.until, wait.cause] for slot, wait in waits},
        }

    def essence(self, body: Mapping[str, Any]) -> Hashable:
        """Return the waits."""
        return repr((body["wait"], body["keys"]))

    def _check_name(self, name: str) -> None:
        _parted(name)

    def _is_of(self, name: str, pool: CandidatePool) -> bool:
        return _parted(name)[1] == pool_name(pool)

    def _put_to_use(self, notice: Notice, pools: Iterable[CandidatePool]) -> None:
        body, now = notice.body or {}, self._clock()
        until, cause = _wait_of(body["wait"], notice.ahead_s, now)
        rests = min(_RESTS_TOLD, int(body["rests"]))
        waits = {
            str(key): _wait_of(wait, notice.ahead_s, now) for key, wait in body["keys"].items()
        }
        for pool, candidates in self._candidates(notice.name):
            if pool not in pools:
                continue
            refusals = candidates[0].refusals or Refusals()
            if until > now:
                refusals.rest(until, cause)
                refusals.rests = max(refusals.rests, rests)
            elif refusals.cooldown.until and not waits:
                refusals.cooldown.end()
                refusals.rests = 0
            for candidate in candidates:
                for slot in candidate.slots:
                    if slot.id in waits and waits[slot.id][0] > now:
                        refusals.rest(*waits[slot.id], slot)
            for candidate in candidates:
                candidate.refusals = refusals
            pool.refresh(candidates, now)
        self._parts.routes.on_change()

    def _candidates(self, name: str) -> list[tuple[CandidatePool, list[Candidate]]]:
        scope = self._parts.registry.find(*_parted(name)[0])
        if scope is None:
            return []
        found = scope.index.candidates.items()
        return [(pool, list(c)) for pool, c in found if c and self._is_of(name, pool)]


def _parted(name: str) -> tuple[tuple[str, str, str], str]:
    """Return the scope and the pool that a refusal is about."""
    provider_id, account, group, pool = name.split("\n", 3)
    return (provider_id, account, group), pool


def pool_name(pool: CandidatePool) -> str:
    """Return the name by which something of a pool is spread."""
    return "\n".join((pool.provider_id, pool.model, pool.endpoint))


def _wait_of(told: Any, ahead_s: float, now: float) -> tuple[float, str]:
    until = min(float(told[0]) - ahead_s, now + _LONGEST_REST_S)
    if math.isnan(until):
        raise ValueError("a wait that ends at no instant")
    return until, str(told[1])
