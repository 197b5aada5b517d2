"""Decisions are kept as records, and read as the decisions that they would have been."""

import sqlite3
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from decision_records import OBJECTIVE, a_record, a_refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from store_contract import a_decision

from apikeyrouter.domain.interfaces.state_store import StateQuery, place_of
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.domain.routing.decision_record import AttemptNote, DecisionRecord
from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.decision_codec import KIND, decode_decision
from apikeyrouter.infrastructure.state_store.layouts import steps_of
from apikeyrouter.infrastructure.state_store.records import record_of, row_of
from apikeyrouter.infrastructure.state_store.sql.sql_statements import selection
from apikeyrouter.infrastructure.state_store.stores import store_at

pytestmark = pytest.mark.unit


def a_used_record() -> DecisionRecord:
    record = a_record()
    record.usage = Usage(20, 8, 4, reasoning_tokens=3, tier="flex", cost_usd=0.25, exact=False)
    return record


@pytest.mark.parametrize("record", [a_record(), a_used_record(), a_refusal()], ids=range(3))
def test_record_is_read_as_the_decision_it_tells_of(record: DecisionRecord) -> None:
    row, decision = row_of(record), record.decision()
    assert decision == record_of(row)
    assert (row.moment, row.id) == place_of(decision)
    assert (row.key_id, row.provider_id) == (
        decision.selected_key_id, decision.selected_provider_id,
    )  # fmt: skip
    assert len(row.body) < 600


#: What this layout's first version wrote of `a_record()`; it is read as long as the layout is.
KEPT = bytes.fromhex(
    "9fa172a16da361646194a4636f737491a76c6174656e637981ae6d61785f6c6174656e63795f6d73cb408c20"
    "000000000081a4636f7374cb4000000000000000cb408f3c0000000000cb4054000000000000929fa26b30a3"
    "6c6162a16dcb3fb999999999999acb408f3ccccccccccdcb000000000000000003909090c0ac726174655f6c"
    "696d69746564a0c0cb408f3f33333333339fa26b31a36c6162a16dcb3fd0000000000000cb408f4000000000"
    "00cb3fd00000000000000392a26b32cb3fe00000000000009292a66c61622f6b309ea6746f6b656e73cb4049"
    "000000000000cb4000000000000000cb408fa00000000000a6686561646572cb408f380000000000cb000000"
    "0000000000cb0000000000000000c2c2a0ffa0c292a66c61622f6b339ea563616c6c73cb3ff0000000000000"
    "cb0000000000000000cb7ff0000000000000a0c0cb0000000000000000cb0000000000000000c3c2a0ffa0c2"
    "9392b1746f6b656e7320706572206d696e757465a86465636c61726564cb4054000000000000cb408f400000"
    "00000083a961646d697373696f6e86aa636f756e74735f636170c3a96c61726765725f6f66c3aa696e707574"
    "5f6f6e6c79c2a7736574746c6573c3ad636f756e74735f636163686564c3a862795f6279746573c2a7616e73"
    "776572731faa636f6e666964656e6365cb3feccccccccccccda26f6ba0cb408f480000000000cb408f500000"
    "00000000a0901408cb3fd0000000000000a26f6bcb408f500000000000"
)


def test_layout_that_was_written_stays_readable() -> None:
    assert a_record().decision() == decode_decision("r-2", KEPT)
    fields, kept = (msgspec.msgpack.decode(body) for body in (row_of(a_record()).body, KEPT))
    # New fields come after those that were written.
    assert fields[: len(kept)] == kept


TEXT, NUMBER = st.text(max_size=8), st.floats(0.0, 1e9)
NOTES = st.builds(AttemptNote, TEXT, TEXT, TEXT, NUMBER, NUMBER, NUMBER, st.integers(0, 9))
RECORDS = st.builds(
    DecisionRecord, TEXT, TEXT, TEXT, st.just(OBJECTIVE), NUMBER, NUMBER,
    st.lists(NOTES, max_size=4), st.integers(0, 9), refusal=TEXT, outcome=TEXT,
    input_tokens=st.none() | st.integers(0, 2**53), ended_at=st.none() | NUMBER,
)  # fmt: skip


@settings(max_examples=200)
@given(RECORDS)
def test_any_record_is_read_as_its_decision_at_its_moment(record: DecisionRecord) -> None:
    row, decision = row_of(record), record.decision()
    assert decision == record_of(row)
    assert (row.moment, row.id) == place_of(decision)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200)
@given(st.data())
def test_whatever_stands_in_place_of_a_record_is_read_or_refused(data: st.DataObject) -> None:
    fields = msgspec.msgpack.decode(row_of(a_record()).body)
    note = fields[6][-1]
    for part in (fields, note):
        for index in data.draw(st.sets(st.integers(0, len(part) - 1), max_size=2)):
            part[index] = data.draw(PLAIN)
    with suppress(StateStoreError):
        decode_decision("r", msgspec.msgpack.encode(fields))


@settings(max_examples=100)
@given(st.binary(max_size=60) | st.integers(0, 300).map(lambda end: row_of(a_record()).body[:end]))
def test_damaged_bytes_are_refused_by_name(body: bytes) -> None:
    with pytest.raises(StateStoreError, match="RoutingDecision 'r' in the store is damaged"):
        decode_decision("r", body)


async def test_decisions_of_the_first_layout_are_taken_over(tmp_path: Path) -> None:
    rows = [row_of(a_decision(f"d{number}", number)) for number in range(3)]
    step = steps_of("sql")[0]
    with sqlite3.connect(tmp_path / "r.db") as file:
        file.executescript(step.text.format(text="TEXT", bytes="BLOB"))
        file.execute("CREATE TABLE layout_steps (number INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        file.execute("INSERT INTO layout_steps VALUES (?, ?)", (step.number, step.name))
        file.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [msgspec.structs.astuple(row) for row in rows],
        )
    file.close()
    store = store_at(f"sqlite:///{tmp_path}/r.db")
    await store.save_routing_decision(a_decision("d1", 9))
    found = await store.query_state(StateQuery("RoutingDecision"))
    assert [a_decision("d1", 9), a_decision("d2", 2), a_decision("d0", 0)] == found
    await store.close()


async def test_page_of_decisions_is_read_by_the_index_alone(tmp_path: Path) -> None:
    store = store_at(f"sqlite:///{tmp_path}/r.db")
    await store.open()
    await store.close()
    with sqlite3.connect(tmp_path / "r.db") as file:
        query = selection(KIND, "kind = :kind AND (moment, id) < (:before_moment, :before_id)")
        query = f"EXPLAIN QUERY PLAN {query} ORDER BY moment DESC, id DESC LIMIT 9"
        values = {"kind": KIND, "before_moment": 9, "before_id": "r"}
        steps = [str(step[-1]) for step in file.execute(query, values)]
    file.close()
    assert len(steps) == 1
    assert steps[0].startswith("SEARCH decisions USING INDEX decisions_by_moment")
