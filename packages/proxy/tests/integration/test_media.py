"""Pictures, sounds and judgements by OpenAI's own client; and the raw way to a provider."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from object_provider import SOUND, ObjectProvider
from openai import APIConnectionError, AsyncOpenAI

pytestmark = pytest.mark.integration


@pytest.fixture
def provider() -> ObjectProvider:
    return ObjectProvider({"sk-sim-1": "one"})


@pytest.fixture
def proxy(serve: Any, config_for: Any, provider: ObjectProvider) -> Any:
    config = config_for(serve(provider).url + "/v1")
    return serve({**config, "models": {"mine": ["p1/tiny-own"]}})


@pytest.fixture
async def client(proxy: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=proxy.url + "/v1", api_key="x", max_retries=0) as made:
        yield made


@pytest.mark.parametrize(("asked", "used"), [("tiny", "tiny"), ("mine", "tiny-own")])
async def test_model_of_a_form_is_read_and_replaced(
    client: Any, provider: Any, asked: str, used: str
) -> None:
    made = await client.audio.transcriptions.create(model=asked, file=("a.mp3", SOUND))
    assert made.text == f"{used}: {len(SOUND)} bytes"
    with pytest.deprecated_call():
        other = await client.audio.translations.create(model=asked, file=("a.mp3", SOUND))
    assert other.text == f"{used}: {len(SOUND)} bytes"
    drawn = await client.images.edit(model=asked, image=("a.png", SOUND), prompt="x")
    assert drawn.data[0].revised_prompt == used
    assert provider.calls[-1][3]["content-type"].startswith("multipart/form-data; boundary=")


async def test_sounds_come_as_they_are(client: Any) -> None:
    made = await client.audio.speech.create(model="mine", voice="alloy", input="hello")
    assert await made.aread() == SOUND
    assert made.response.headers["content-type"] == "audio/mpeg"
    assert made.response.headers["content-length"] == str(len(SOUND))


async def test_sounds_that_break_off_do_not_look_complete(client: Any, provider: Any) -> None:
    provider.breaks_at = 100_000
    with pytest.raises(APIConnectionError):
        await (await client.audio.speech.create(model="mine", voice="v", input="x")).aread()


async def test_pictures_and_judgements(client: Any) -> None:
    drawn = await client.images.generate(model="mine", prompt="a cat")
    assert drawn.data[0].revised_prompt == "tiny-own"
    judged = await client.moderations.create(model="mine", input="hello")
    assert judged.model == "tiny-own"
    assert (await client.moderations.create(input="hello")).model == "default"


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("multipart/form-data", b"x", "names no boundary"),
        ("multipart/form-data; boundary=b", b"x", "does not begin with the boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n", "ends in the middle"),
        ("application/json", b"[", "should be a JSON object"),
        ("application/json", b"{", "not valid JSON"),
        ("application/json", b'{"model":5}', "model: expected"),
    ],
)
async def test_what_is_no_request_is_told(proxy: Any, kind: str, body: bytes, words: str) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as plain:
        headers = {"content-type": kind}
        answer = await plain.post("/v1/audio/transcriptions", content=body, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_raw_way_forwards_any_method_and_path(proxy: Any, provider: Any, method: str) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as plain:
        headers = {"authorization": "Bearer mine", "x-thing": "1", "connection": "keep-alive"}
        path = "/p1/v1/echo/a%20b?x=1&key=mine"
        answer = await plain.request(method, path, content=b"{}", headers=headers)
    assert (answer.status_code, answer.headers["x-provider-used"]) == (200, "p1")
    asked, whole, key, sent, body = provider.calls[-1]
    assert (asked, whole, key, body) == (method, "echo/a b?x=1", "sk-sim-1", b"{}")
    assert (sent["x-thing"], "mine" in str(sent)) == ("1", False)


async def test_raw_way_keeps_to_objects_and_streams(proxy: Any, provider: Any) -> None:
    base = proxy.url + "/p1/v1"
    async with AsyncOpenAI(base_url=base, api_key="x", max_retries=0) as client:
        made = await client.files.create(file=b"abc", purpose="batch")
        assert await (await client.files.content(made.id)).aread() == b"abc"
        speech = await client.audio.speech.create(model="tiny", voice="v", input="x")
        assert await speech.aread() == SOUND
    assert proxy.app.parts.objects.find("", "files", made.id).key_id == "key-1"


async def test_raw_way_leads_to_providers_only(proxy: Any, provider: Any) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as plain:
        answer = await plain.post("/nobody/v1/files", content=b"{}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
        assert "/p1/" in answer.json()["error"]["message"]
        before = len(provider.calls)
        for path in ("/p1/%2e%2e/admin", "/p1/a/%2E%2E/%2e%2e/b", "/v1/files/%2e%2e", "/p1/..%5cx"):
            answer = await plain.get(path)
            assert answer.status_code in (400, 404), path
        assert len(provider.calls) == before


async def test_raw_way_answers_as_the_provider_does(proxy: Any) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as plain:
        answer = await plain.get("/p1/v1/nothing/here")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "Unknown request URL: /v1/nothing/here"
