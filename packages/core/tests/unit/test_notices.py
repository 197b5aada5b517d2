"""What other processes tell: read whatever it is, and taken up in whatever order it comes."""

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.spreading.board import Posted
from apikeyrouter.infrastructure.spreading.notice import MOST_BYTES, read_notice, write_notice
from apikeyrouter.spreading.spreading import Spreading

#: It stands still: what is told of 30 s ahead is ahead however late a test is run.
NOW = 1795485600.0
KINDS = ("key", "member", "account", "circuit", "model", "nothing-known")
#: Fields that some subject reads, and names that some subject has.
FIELDS = (
    "account", "basis", "confidence", "revision", "state", "until", "cause", "streak", "found",
    "pause_s", "failures", "wait", "rests", "keys", "windows", "counts", "charge", "search",
)  # fmt: skip
NAMES = ("k0", "p\nm\n", "p\nk0\n*", "p\nk0\n*\np\nm\n", "\n\n\n\n\n")
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9)
    | st.sampled_from(("invalid", "available", "throttled", "disabled", "told", "inferred")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


class Listener:
    """A router that is told things without a server."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    async def start(self) -> "Listener":
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: NOW)
        await self.router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        await self.router.register_key("sk-0", "p", {"id": "k0"})
        self.slot = self.router.key_manager.slot("k0")
        self.spreader = Spreading(
            self.router.parts, self.router.state_store, "redis://127.0.0.1:1",
            on_error=self.errors.append,
        ).spreader  # fmt: skip
        return self

    async def tell(self, *notices: bytes, at: float = NOW) -> None:
        await self.spreader.take_up_all([Posted(at, data) for data in notices])


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
async def test_bytes_that_are_no_notice_are_skipped_and_counted(data: bytes) -> None:
    b = await Listener().start()
    await b.tell(data, key_notice("invalid", 1, 0), data, data + b"?")
    assert b.spreader.skipped == 3
    # It is told once, and whatever else is told is taken up.
    assert [str(error).partition(":")[0] for error in b.errors] == [
        "a notice of another process is skipped"
    ]
    assert b.slot.record.state is KeyState.INVALID


@given(st.sampled_from(KINDS), st.sampled_from(NAMES) | st.text(max_size=20), ANY)
@settings(deadline=None, max_examples=200)
async def test_notice_that_makes_no_sense_harms_nobody(kind: str, name: str, body: Any) -> None:
    b = await Listener().start()
    body = body if isinstance(body, dict) else {"until": body}
    told = write_notice(kind, name, body, by="a", behind_s=0.0)
    assert told is not None
    await b.tell(told)
    # Some wait until they are asked for: by a request, which must not notice.
    demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
    b.router.routes.route_for(demand)
    b.router.parts.registry.scope_for(b.slot, "m")
    assert len(b.errors) <= 1


@pytest.mark.parametrize(
    ("change", "is_read"),
    [({}, True), ({"v": 2}, False), ({"later": "field"}, True), ({"behind": float("nan")}, False),
     ({"kind": "k" * 65}, False), ({"name": "n" * 1025}, False),
     ({"body": {"b": b" " * MOST_BYTES}}, False)],
    ids=["as it is", "later version", "later field", "no instant", "kind", "name", "body"],
)  # fmt: skip
def test_notices_of_other_versions_are_left_alone(change: Mapping[str, Any], is_read: bool) -> None:
    wire = {"v": 1, "by": "a", "kind": "key", "name": "k0", "behind": 0.0, "body": {}, **change}
    told = read_notice(msgspec.msgpack.encode(wire), observed_at=NOW, behind_s=0.0)
    assert (told is not None) == is_read


def key_notice(state: str, *found: float, revision: int = 0, until: float = 0.0) -> bytes:
    """Tell of k0, which was found invalid and restored so many seconds ago."""
    body = {
        "state": state, "revision": revision, "until": until, "cause": "", "streak": 1,
        "found": [NOW - ago if ago else 0.0 for ago in found],
    }  # fmt: skip
    told = write_notice("key", "k0", body, by="a", behind_s=0.0)
    assert told is not None
    return told


INVALID_30, RESTORED_20 = key_notice("invalid", 30, 0), key_notice("available", 30, 20)
INVALID_10, STALE = key_notice("invalid", 10, 20), key_notice("throttled", 30, 20, until=NOW + 60)


@pytest.mark.parametrize(
    ("notices", "state"),
    [((INVALID_30, RESTORED_20), KeyState.AVAILABLE),
     ((INVALID_30, RESTORED_20, INVALID_10), KeyState.INVALID),
     ((INVALID_10, STALE, RESTORED_20), KeyState.INVALID)],
    ids=["restored", "refused again", "throttled elsewhere before"],
)  # fmt: skip
async def test_late_notice_undoes_nothing_newer(
    notices: tuple[bytes, ...], state: KeyState
) -> None:
    """In whatever order they come, the key ends as it was found last."""
    for order in itertools.permutations(notices):
        b = await Listener().start()
        for notice in order:
            await b.tell(notice)
        assert b.slot.record.state is state


async def test_what_was_found_of_an_old_secret_is_not_held_against_a_new_one() -> None:
    b = await Listener().start()
    await b.router.rotate_key("k0", "sk-new")
    assert b.slot.record.revision == 1
    await b.tell(key_notice("invalid", 1, 0, revision=0))
    assert b.slot.record.state is KeyState.AVAILABLE
    await b.tell(key_notice("invalid", 1, 0, revision=1))
    assert b.slot.record.state is KeyState.INVALID


@pytest.mark.parametrize("first", [30.0, 60.0], ids=["longer after", "shorter after"])
async def test_told_waits_only_grow(first: float) -> None:
    b = await Listener().start()
    for seconds in (first, 90.0 - first):
        await b.tell(key_notice("throttled", 0, 0, until=NOW + seconds))
    assert b.slot.cooldown.until == pytest.approx(NOW + 60.0)


async def test_disabled_key_is_woken_by_no_notice() -> None:
    b = await Listener().start()
    await b.router.revoke_key("k0")
    revision = b.slot.record.revision
    await b.tell(key_notice("available", 0, 0, revision=revision))
    await b.tell(key_notice("available", 30, 20, revision=revision - 1))
    assert b.slot.record.state is KeyState.DISABLED
