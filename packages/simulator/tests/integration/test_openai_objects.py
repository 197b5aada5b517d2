"""What else clients do with OpenAI, by its own client: objects that are kept, and media."""

import json
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

LINES = b'{"custom_id": "a", "body": {}}\n{"custom_id": "b", "body": {}}\n'
BINARY = bytes(range(256)) + b"\r\n--\r\n\n"


@pytest.fixture
def other(simulator: RunningSimulator) -> Iterator[OpenAI]:
    """Of another scope of the same provider."""
    with OpenAI(api_key="sk-tight", base_url=simulator.base_url(), max_retries=0) as client:
        yield client


def upload(client: OpenAI, content: bytes = LINES, name: str = "in.jsonl"):
    return client.files.create(file=(name, content), purpose="batch")


def test_file_comes_back_as_it_was(client: OpenAI) -> None:
    file = upload(client, BINARY)
    assert (file.filename, file.bytes, file.purpose) == ("in.jsonl", len(BINARY), "batch")
    assert client.files.content(file.id).content == BINARY
    assert client.files.retrieve(file.id) == file


def test_files_are_listed_by_page_and_deleted(client: OpenAI) -> None:
    files = [upload(client, name=f"{n}") for n in range(3)]
    assert [file.filename for file in client.files.list(limit=2)] == ["2", "1", "0"]
    assert client.files.delete(files[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(files[0].id)


def test_objects_are_of_their_scope_alone(client: OpenAI, other: OpenAI) -> None:
    file = upload(client)
    store = client.vector_stores.create(name="v", file_ids=[file.id])
    conversation = client.conversations.create()
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    for find, name in (
        (other.files.retrieve, file.id),
        (other.files.content, file.id),
        (other.files.delete, file.id),
        (other.vector_stores.retrieve, store.id),
        (other.conversations.retrieve, conversation.id),
        (other.batches.retrieve, batch.id),
        (other.batches.cancel, batch.id),
    ):
        with pytest.raises(openai.NotFoundError):
            find(name)
    assert list(other.files.list()) == []
    with pytest.raises(openai.BadRequestError, match="input_file_id"):
        other.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )


def test_batch_answers_every_line(client: OpenAI) -> None:
    file = upload(client)
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert (batch.status, batch.request_counts.total) == ("validating", 2)
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 2)
    lines = client.files.content(done.output_file_id).text.splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["a", "b"]


def test_batch_is_cancelled(client: OpenAI) -> None:
    batch = client.batches.create(
        input_file_id=upload(client).id, endpoint="/v1/embeddings", completion_window="24h"
    )
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert client.batches.retrieve(batch.id).status == "cancelling"


def test_upload_is_made_of_its_parts(client: OpenAI) -> None:
    begun = client.uploads.create(
        filename="big", purpose="batch", bytes=len(BINARY), mime_type="text/plain"
    )
    parts = [
        client.uploads.parts.create(begun.id, data=data).id for data in (BINARY[:99], BINARY[99:])
    ]
    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(begun.id, part_ids=parts[:1])
    done = client.uploads.complete(begun.id, part_ids=parts)
    assert done.status == "completed"
    assert client.files.content(done.file.id).content == BINARY


def test_vector_store_is_renamed_and_deleted(client: OpenAI) -> None:
    store = client.vector_stores.create(name="old")
    assert client.vector_stores.update(store.id, name="new").name == "new"
    assert [entry.name for entry in client.vector_stores.list()] == ["new"]
    assert client.vector_stores.delete(store.id).deleted


def test_conversation_grows_by_its_responses(client: OpenAI, other: OpenAI) -> None:
    hello = {"type": "message", "role": "user", "content": "Hello!"}
    conversation = client.conversations.create(items=[hello])
    client.responses.create(model="small", input="and?", conversation=conversation.id)
    raw = client.conversations.items.with_raw_response.list(conversation.id).http_response.json()
    assert [item["role"] for item in raw["data"]] == ["user", "user", "assistant"]
    with pytest.raises(openai.NotFoundError):
        other.responses.create(model="small", input="and?", conversation=conversation.id)


def test_images_are_made(client: OpenAI) -> None:
    answer = client.images.generate(model="small", prompt="a key", n=2)
    assert len(answer.data) == 2
    assert answer.data[0].b64_json.startswith("iVBOR")


def test_speech_is_sound(client: OpenAI) -> None:
    sound = client.audio.speech.create(model="small", voice="alloy", input="Hello!")
    assert sound.response.headers["content-type"] == "audio/mpeg"
    assert len(sound.content) == 3 + 6 * 64


def test_sound_is_transcribed(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(model="small", file=("a.mp3", bytes(40_000)))
    assert answer.text.startswith("the router")
    assert answer.usage.seconds == 3


@pytest.mark.parametrize(("text", "flagged"), [("fine", False), ("[[safety]]", True)])
def test_text_is_moderated(client: OpenAI, text, flagged) -> None:
    results = client.moderations.create(input=[text, text]).results
    assert [result.flagged for result in results] == [flagged] * 2


def test_media_draw_on_limits(simulator: RunningSimulator, other: OpenAI) -> None:
    other.moderations.create(input="x")
    other.images.generate(model="small", prompt="x")
    with pytest.raises(openai.RateLimitError):
        other.audio.speech.create(model="small", voice="alloy", input="x")


def test_one_model_is_told(client: OpenAI) -> None:
    assert client.models.retrieve("large").id == "large"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("huge")


def test_condition_befalls_what_is_free(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.condition(kind="status", status=503, times=1)
    with pytest.raises(openai.InternalServerError):
        upload(client)
    assert upload(client).id


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/files", {}, "file"),
        ("/uploads", {"filename": "x"}, "purpose"),
        ("/images/generations", {"model": "small"}, "prompt"),
        ("/audio/speech", {"model": "small"}, "input"),
        ("/audio/transcriptions", {}, "file"),
        ("/batches", {}, "input_file_id"),
        ("/vector_stores", {"file_ids": ["file-x"]}, "file-x"),
        ("/files/x/nothing", {}, "Unknown URL"),
    ],
)
def test_bad_request_is_told(client: OpenAI, path, body, says) -> None:
    with pytest.raises(openai.APIStatusError, match=says) as caught:
        client.post(path, body=body, cast_to=object)
    assert caught.value.status_code in (400, 404)
