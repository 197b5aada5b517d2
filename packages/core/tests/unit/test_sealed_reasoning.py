"""What of a request for a response no other account can read."""

from typing import Any

import msgspec
import pytest

from apikeyrouter.dialects.openai_responses.sealed import without_reasoning

pytestmark = pytest.mark.unit
HELLO = {"type": "message", "role": "user", "content": "Hello!"}
SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
BARE = {"type": "reasoning", "id": "rs_2", "summary": []}
CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}


@pytest.mark.parametrize(
    ("items", "kept"),
    [
        ([HELLO, SEALED, {**CALL, "id": "fc_1"}], [HELLO, CALL]),
        ([HELLO, SEALED, BARE, {**HELLO, "id": "msg_1"}, 7], [HELLO, BARE, HELLO, 7]),
        ([HELLO, {**CALL, "id": "fc_1"}], None),
        ([HELLO, BARE], None),
        ("Hello!", None),
    ],
    ids=["call", "several", "no reasoning", "not encrypted", "text"],
)
def test_encrypted_reasoning_is_left_out(items: Any, kept: Any) -> None:
    body = without_reasoning(msgspec.json.encode({"model": "m", "input": items}))
    found = None if body is None else msgspec.json.decode(body)
    assert found == (None if kept is None else {"model": "m", "input": kept})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 5000])
def test_what_is_no_request_stays(body: bytes) -> None:
    assert without_reasoning(body) is None
