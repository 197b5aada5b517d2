"""Which objects a path, a body and an answer name."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter_proxy.dataplane.objects.ids import (
    names_in_answer,
    names_in_body,
    names_in_path,
    names_in_talk,
)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/files", []),
        ("/v1/files/", []),
        ("/v1/files/f-1/content", [("files", "f-1")]),
        ("/v1/vector_stores/vs-1/files/f-1", [("vector_stores", "vs-1"), ("files", "f-1")]),
        ("/v1/fine_tuning/jobs/j-1/cancel", [("jobs", "j-1")]),
        ("/p/v1beta/files/abc:download", [("files", "abc")]),
    ],
)
def test_path_names_its_objects(path: str, names: list[Any]) -> None:
    assert list(names_in_path(path)) == names


def test_body_names_what_it_quotes() -> None:
    body = b'{"input":[{"file_id":"file-1"},"files/abcd"],"conversation":"conv_1"}'
    found = set(names_in_body(body))
    assert {("files", "file-1"), ("files", "abcd"), ("conversations", "conv_1")} <= found


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"messages":[{"content":[{"file":{"file_id": "file-1"}}]}]}', {"file-1"}),
        (b'{"tools":[{"type":"file_search","vector_store_ids":["vs_11","vs_22"]}]}',
         {"vs_11", "vs_22"}),
        (b'{"conversation":{"id":"conv_1"}}', {"conv_1"}),
        (b'{"conversation":"conv_1","input":"a file_id \\"file-2\\""}', {"conv_1"}),
        (b'{"fileData":{"fileUri":"https://host/v1beta/files/abcd"}}', {"abcd"}),
        (b'{"cachedContent":"cachedContents/abcd"}', {"abcd"}),
        (b'{"input":{"type":"document","uri":"https://host/v1beta/files/abcd"}}', {"abcd"}),
        (b'{"fileUri":"https://host/report"}', set()),
        (b'{"fileUri":"gs://bucket/files2/report"}', set()),
        (b'{"input":"no file here: file-1"}', set()),
    ],
)  # fmt: skip
def test_conversation_names_its_files(body: bytes, ids: set[str]) -> None:
    assert {object_id for _, object_id in names_in_talk(body)} == ids


@pytest.mark.parametrize(
    ("answer", "kind", "names"),
    [
        ({"id": "f-1", "object": "file"}, "files", [("files", "f-1")]),
        ({"id": "f-1"}, "files", [("files", "f-1")]),
        ({"id": "i-1", "object": "conversation.item"}, "", []),
        (
            {"id": "b-1", "object": "batch", "input_file_id": "f-1", "error_file_id": None},
            "batches",
            [("batches", "b-1"), ("files", "f-1")],
        ),
        (
            {"object": "list", "data": [{"id": "v-1", "object": "video"}, {"id": "v-2"}, 5]},
            "videos",
            [("videos", "v-1"), ("videos", "v-2")],
        ),
        ({"id": "u", "object": "upload", "file": {"id": "f-2"}}, "",
         [("uploads", "u"), ("files", "f-2")]),
        ({"id": "j", "object": "fine_tuning.job", "result_files": ["f-3", 4]}, "",
         [("jobs", "j"), ("files", "f-3")]),
        ({"name": "files/abc", "uri": "x"}, "files", [("files", "abc")]),
        ({"id": "msgbatch_1", "type": "message_batch"}, "", [("batches", "msgbatch_1")]),
        ([1], "files", []),
        ("x", "files", []),
    ],
)  # fmt: skip
def test_answer_names_its_objects(answer: Any, kind: str, names: list[Any]) -> None:
    assert list(names_in_answer(json.dumps(answer).encode(), kind)) == names


@pytest.mark.parametrize(
    "piece",
    [b'"file_ids":[', b'"file_id":"', b'"file_id":"a/', b'"fileUri" ', b'"', b'"a', b"file_id"],
)
def test_look_is_short_whatever_the_body(piece: bytes) -> None:
    """As much time as a body ten times as long may take, with room to spare."""
    body = piece * (4_000_000 // len(piece))
    began = time.process_time()
    list(names_in_talk(body + b"file_id"))
    list(names_in_body(body))
    assert time.process_time() - began < 2.0


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_name_something_or_nothing(body: bytes) -> None:
    for content in (body, b'{"id":' + body, b'{"data":[{"id":"' + body):
        list(names_in_answer(content, "files"))
        list(names_in_body(content))
        list(names_in_talk(content))
