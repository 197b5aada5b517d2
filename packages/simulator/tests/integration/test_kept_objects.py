"""What clients keep with Anthropic and Gemini, by their own clients."""

import io
import json
import urllib.request
from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic
from google import genai
from google.genai import errors, types

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

BINARY = bytes(range(256)) + b"\r\n--\r\n\n"
HELLO = [{"role": "user", "content": "Hello!"}]
REQUESTS = [
    {"custom_id": "good", "params": {"model": "opus", "max_tokens": 9, "messages": HELLO}},
    {"custom_id": "bad", "params": {"model": "opus", "max_tokens": 9, "messages": []}},
]


@pytest.fixture
def claudes(simulator: RunningSimulator) -> Iterator[tuple[Anthropic, Anthropic]]:
    """Two keys, of a scope each."""
    url = f"{simulator.url}/claude"
    with (
        Anthropic(api_key="sk-ant-wide", base_url=url, max_retries=0) as one,
        Anthropic(api_key="sk-ant-tight", base_url=url, max_retries=0) as other,
    ):
        yield one, other


@pytest.fixture
def geminis(simulator: RunningSimulator) -> Iterator[tuple[genai.Client, genai.Client]]:
    """Two keys, of a scope each."""
    options = types.HttpOptions(base_url=f"{simulator.url}/google", api_version="v1beta")
    with (
        genai.Client(api_key="AQ.wide", vertexai=False, http_options=options) as one,
        genai.Client(api_key="AQ.tight", vertexai=False, http_options=options) as other,
    ):
        yield one, other


def test_anthropic_file_comes_back_to_its_scope(claudes) -> None:
    one, other = claudes
    file = one.beta.files.upload(file=("a.bin", BINARY, "application/x"))
    assert (file.filename, file.size_bytes) == ("a.bin", len(BINARY))
    assert one.beta.files.download(file.id).read() == BINARY
    assert [entry.id for entry in one.beta.files.list()] == [file.id]
    assert list(other.beta.files.list()) == []
    for find in (other.beta.files.download, other.beta.files.delete):
        with pytest.raises(anthropic.NotFoundError):
            find(file.id)
    assert one.beta.files.delete(file.id).type == "file_deleted"
    with pytest.raises(anthropic.NotFoundError):
        one.beta.files.download(file.id)


def test_anthropic_batch_answers_every_request(claudes) -> None:
    one, other = claudes
    batch = one.messages.batches.create(requests=REQUESTS)
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 2)
    with pytest.raises(anthropic.NotFoundError):
        other.messages.batches.retrieve(batch.id)
    done = one.messages.batches.retrieve(batch.id)
    assert (done.request_counts.succeeded, done.request_counts.errored) == (1, 1)
    results = {entry.custom_id: entry.result for entry in one.messages.batches.results(batch.id)}
    assert results["good"].message.usage.output_tokens == 9
    assert results["bad"].error.error.type == "invalid_request_error"
    assert [entry.id for entry in one.messages.batches.list()] == [batch.id]
    assert one.messages.batches.delete(batch.id).id == batch.id


def test_anthropic_batch_is_cancelled(claudes) -> None:
    one, _ = claudes
    batch = one.messages.batches.create(requests=REQUESTS)
    assert one.messages.batches.cancel(batch.id).processing_status == "canceling"
    with pytest.raises(anthropic.AnthropicError):
        one.messages.batches.results(batch.id)


def test_gemini_file_is_uploaded_to_its_scope(geminis) -> None:
    one, other = geminis
    config = {"mime_type": "text/plain", "display_name": "notes"}
    file = one.files.upload(file=io.BytesIO(BINARY), config=config)
    assert (file.display_name, file.mime_type, file.size_bytes) == (
        "notes", "text/plain", len(BINARY),
    )  # fmt: skip
    assert one.files.get(name=file.name).uri == file.uri
    assert [entry.name for entry in one.files.list()] == [file.name]
    assert list(other.files.list()) == []
    for find in (other.files.get, other.files.delete):
        with pytest.raises(errors.ClientError):
            find(name=file.name)
    one.files.delete(name=file.name)
    with pytest.raises(errors.ClientError):
        one.files.get(name=file.name)


def post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], dict]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, headers=names)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def test_gemini_upload_goes_on_piece_by_piece_without_a_key(simulator: RunningSimulator) -> None:
    url = f"{simulator.url}/google/upload/v1beta/files"
    _, headers, _ = post(url, b"{}", x_goog_api_key="AQ.wide", x_goog_upload_command="start")
    url = headers["x-goog-upload-url"]
    piece = {"x_goog_upload_command": "upload", "x_goog_upload_offset": "0"}
    assert post(url, b"one", **piece)[1]["x-goog-upload-status"] == "active"
    assert post(url, b"two", **piece)[0] == 400
    piece = {"x_goog_upload_command": "upload, finalize", "x_goog_upload_offset": "3"}
    status, headers, data = post(url, b"two", **piece)
    assert (status, headers["x-goog-upload-status"]) == (200, "final")
    assert data["file"]["sizeBytes"] == "6"
    assert post(url, b"", **piece)[0] == 403


def test_gemini_file_is_taken_in_two_parts(simulator: RunningSimulator) -> None:
    body = (
        b'--b\r\nContent-Type: application/json\r\n\r\n{"file":{"displayName":"x"}}'
        b"\r\n--b\r\nContent-Type: text/csv\r\n\r\n1,2\r\n--b--\r\n"
    )
    url = f"{simulator.url}/google/upload/v1beta/files?uploadType=multipart"
    kind = "multipart/related; boundary=b"
    status, _, data = post(url, body, x_goog_api_key="AQ.wide", content_type=kind)
    file = data["file"]
    assert (status, file["displayName"], file["mimeType"]) == (200, "x", "text/csv")
    assert file["sizeBytes"] == "3"


@pytest.mark.parametrize("upload_id", ["", "x", "sim-1.g-wide", "sim-1.nobody"])
def test_gemini_upload_that_was_not_begun_is_refused(simulator, upload_id) -> None:
    url = f"{simulator.url}/google/upload/v1beta/files?upload_id={upload_id}"
    assert post(url, b"x", x_goog_upload_command="upload, finalize")[0] in (400, 403)
