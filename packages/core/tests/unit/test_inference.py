"""Keys that share an account are found out, others are left apart, and errors are undone."""

import random
from typing import Any

import pytest

from apikeyrouter.domain.accounts.inference import ScopeInference
from apikeyrouter.domain.accounts.limit_learning import LimitLearning
from apikeyrouter.domain.accounts.registry import ALL_MODELS, AccountRegistry
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.feed.events import ScopesJoined
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import (
    Ledger,
    Reservation,
    amounts_of,
)
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.limits.observation import Dimension, ObservedLimit
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.quota_scope import QuotaScope

pytestmark = pytest.mark.unit
ONE = amounts_of(requests=1)


class World:
    """Keys before a provider whose accounts nobody has told us."""

    def __init__(self, account_of: dict[str, str], *, rpm: float = 240.0, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.events: list[ScopesJoined] = []
        ledger = Ledger()
        pacing = LimitSearch(ledger, emit=lambda _: None)
        self.ledger = ledger
        self.book = AccountRegistry(
            ledger, pacing, clock=lambda: self.now, emit=self._note, on_capacity=lambda _: None
        )
        self.learning = LimitLearning(ledger, self.book, pacing, emit=lambda _: None)
        self.inference = ScopeInference(self.book)
        self.slots = {
            name: KeySlot(
                record=APIKey(id=name, provider_id="p", key_material="x", created_at=instant(0.0)),
                secret=name,
            )
            for name in account_of
        }
        self.account_of = account_of
        #: Tokens a minute that each key is told, beside its requests.
        self.tokens_told: dict[str, float] = {}
        self.provider = {
            account: TokenBucket(Dimension.REQUESTS, rpm, 60.0, 0.0)
            for account in set(account_of.values())
        }

    def _note(self, event: Any) -> None:
        self.events.append(event)

    def scope(self, name: str) -> QuotaScope:
        return self.book.scope_for(self.slots[name], ALL_MODELS)

    def call(self, name: str) -> None:
        """Make one call with a key if it may, and learn from the answer's headers."""
        scope = self.scope(name)
        hold = self.ledger.reserve(((scope.account, ONE),), self.now)
        if not isinstance(hold, Reservation):
            return
        bucket = self.provider[self.account_of[name]]
        if bucket.room(self.now) < 1.0:
            self.ledger.cancel(hold, self.now)
            scope.cooldown.until = bucket.fits_at(1.0, self.now)
            return
        bucket.take(1.0, self.now)
        told = ObservedLimit(
            Dimension.REQUESTS, bucket.capacity, float(int(max(0.0, bucket.room(self.now)))),
            bucket.resets_in(self.now), 60.0,
        )  # fmt: skip
        hold.confirm()
        self.ledger.settle(hold, [ONE], self.now)
        limits = [told]
        if tokens := self.tokens_told.get(name):
            limits.append(ObservedLimit(Dimension.TOKENS, tokens, tokens, 0.0, 60.0))
        surprise = self.learning.learn(scope, tuple(limits), self.now, hold=hold.first)
        self.inference.note(scope, self.now, is_surprised=surprise > 0.0)

    def run(self, seconds: float, *, per_s: float = 20.0, third_party: str = "") -> None:
        """Let random keys call; somebody else may take from one account as often."""
        for _ in range(int(seconds * per_s)):
            self.now += 1.0 / per_s
            self.call(self.random.choice(list(self.slots)))
            if third_party and self.random.random() < 0.3:
                self.provider[third_party].take(1.0, self.now)

    def groups(self) -> set[frozenset[str]]:
        found: dict[str, set[str]] = {}
        for name, slot in self.slots.items():
            found.setdefault(self.book.membership(slot).account, set()).add(name)
        return {frozenset(names) for names in found.values()}


def true_groups(account_of: dict[str, str]) -> set[frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name, account in account_of.items():
        found.setdefault(account, set()).add(name)
    return {frozenset(names) for names in found.values()}


WORLDS = {
    "a pair": {"a": "1", "b": "1"},
    "a pair beside others": {"a": "1", "b": "1", "c": "2", "d": "3"},
    "five of one organisation": dict.fromkeys("abcde", "1"),
    "two pairs": {"a": "1", "b": "1", "c": "2", "d": "2"},
    "a triple and a pair beside one": {
        "a": "1", "b": "1", "c": "1", "d": "2", "e": "2", "f": "3",
    },
    "each its own": {"a": "1", "b": "2", "c": "3"},
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("account_of", WORLDS.values(), ids=WORLDS)
def test_keys_that_share_an_account_are_found_out_and_no_others(
    account_of: dict[str, str], seed: int
) -> None:
    world = World(account_of, seed=seed)
    world.run(90.0)
    assert world.groups() == true_groups(account_of)
    assert all(event.basis == "inferred" and event.joined for event in world.events)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_somebody_else_on_one_account_joins_nobody(seed: int) -> None:
    world = World({"a": "1", "b": "2", "c": "3"}, seed=seed)
    world.run(120.0, third_party="1")
    assert world.groups() == true_groups(world.account_of)


@pytest.mark.parametrize(("of_b", "joins"), [(1000.0, True), (2000.0, False)])
def test_keys_that_are_told_different_limits_do_not_share_an_account(
    of_b: float, joins: bool
) -> None:
    """However much their counts look like it."""
    world = World({"a": "1", "b": "1"})
    world.tokens_told = {"a": 1000.0, "b": of_b}
    world.run(60.0)
    assert (world.groups() == {frozenset("ab")}) is joins


def test_an_inference_can_be_inspected_and_grows_surer() -> None:
    world = World({"a": "1", "b": "1"})
    while world.groups() != {frozenset("ab")}:
        world.run(0.1)
    scope = world.scope("b")
    assert (scope.membership.basis, scope.membership.account) == (
        "inferred",
        world.scope("a").membership.account,
    )
    early = scope.membership.confidence
    world.run(10.0)
    assert 0.8 < early < scope.membership.confidence < 1.0


def test_an_inference_that_evidence_turns_against_is_undone_and_not_made_again_at_once() -> None:
    world = World({"a": "1", "b": "2"})
    world.run(5.0)
    world.book.join(world.slots["b"], "a", basis="inferred", confidence=0.9)
    world.run(60.0)
    assert world.groups() == true_groups(world.account_of)
    assert [event.joined for event in world.events] == [True, False]
    world.account_of["b"] = "1"
    world.run(120.0)
    assert world.groups() == {frozenset("a"), frozenset("b")}
    world.run(700.0)
    assert world.groups() == {frozenset("ab")}


@pytest.mark.parametrize("account", [None, "mine"])
def test_an_operators_word_stays(account: str | None) -> None:
    world = World({"a": "1", "b": "1"})
    world.book.overrule(world.slots["b"], account)
    world.run(60.0)
    assert world.book.membership(world.slots["b"]).account == (account or "b")
    if account is None:
        assert world.groups() == {frozenset("a"), frozenset("b")}
    else:
        assert world.book.membership(world.slots["a"]).account == "mine"


def test_accounts_that_lost_their_keys_are_dropped() -> None:
    world = World({"a": "1", "b": "1"})
    world.run(60.0)
    assert len(list(world.book)) == 1


def test_nothing_is_kept_of_scopes_that_are_no_more() -> None:
    world = World({"a": "1", "b": "1", "c": "2", "d": "3"})
    world.run(90.0, third_party="2")
    for name in world.slots:
        world.book.drop_idle(world.scope(name), world.now + 3600.0)
    assert list(world.book) == []
    assert not world.inference._doubts
    assert not any(world.inference._families.values())
