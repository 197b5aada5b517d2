"""Gemini's files, caches and interactions by Google's own client: each stays where it was made."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from gemini_keeper import GeminiKeeper
from google import genai
from google.genai import errors, types

from apikeyrouter_simulator import RunningSimulator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*experimental.*"),
]
LIMITS = {"rpm": 60000, "tpm": 100000000}
SCENARIO = {
    "providers": {
        "google": {
            "speaks": ["gemini"],
            "models": ["flash"],
            "scopes": {"one": {"limits": LIMITS}, "two": {"limits": LIMITS}},
            "keys": {
                "g1": {"secret": "AQ.sim-1", "scope": "one"},
                "g2": {"secret": "AQ.sim-2", "scope": "two"},
            },
        }
    }
}
CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def _google() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def google(_google: RunningSimulator) -> RunningSimulator:
    _google.reset()
    return _google


def config_of(base_url: str, **more: Any) -> dict[str, Any]:
    """Describe a provider with two keys, of an account each."""
    keys = [
        {"id": f"key-{number}", "provider": "g", "secret": f"AQ.sim-{number}"} for number in (1, 2)
    ]
    providers = {"g": {"kind": "gemini", "base_url": base_url}}
    return {"providers": providers, "keys": keys, **more}


@pytest.fixture
def proxy(google: RunningSimulator, serve: Callable[..., Any]) -> Any:
    clients = [{"name": name, "token": f"t-{name}"} for name in ("ann", "bob")]
    return serve(config_of(f"{google.url}/google", clients=clients))


@pytest.fixture
def client_of(proxy: Any) -> Iterator[Callable[..., genai.Client]]:
    made: list[genai.Client] = []

    def make(name: str = "ann", version: str = "v1beta", below: str = "") -> genai.Client:
        options = types.HttpOptions(base_url=proxy.url + below, api_version=version)
        made.append(genai.Client(api_key=f"t-{name}", http_options=options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def upload(client: genai.Client, **config: Any) -> types.File:
    config.setdefault("mime_type", "text/plain")
    return client.files.upload(file=io.BytesIO(CONTENT), config=types.UploadFileConfig(**config))


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_file_is_kept_where_it_was_made(
    client_of: Any, version: str, google: RunningSimulator
) -> None:
    client = client_of(version=version)
    for _ in range(3):
        made = upload(client, display_name="notes")
        assert (made.size_bytes, made.display_name) == (len(CONTENT), "notes")
        for _ in range(3):
            assert client.files.get(name=made.name).name == made.name
        assert client.files.download(file=made.name) == CONTENT
        contents: Any = ["What is in it?", made]
        for _ in range(3):
            client.models.generate_content(model="flash", contents=contents)
        client.files.delete(name=made.name)
        with pytest.raises(errors.ClientError):
            client.files.get(name=made.name)
    calls = [call for call in google.log() if call["status"] != 403]
    assert len({call["key"] for call in calls}) == 1


def test_file_is_kept_the_raw_way_too(client_of: Any) -> None:
    client = client_of(below="/g")
    for _ in range(4):
        made = upload(client)
        assert client.files.get(name=made.name).size_bytes == len(CONTENT)
        assert client.files.download(file=made.name) == CONTENT


async def test_file_is_uploaded_by_the_asynchronous_client(client_of: Any) -> None:
    client = client_of()
    config = types.UploadFileConfig(mime_type="text/plain")
    made = await client.aio.files.upload(file=io.BytesIO(CONTENT), config=config)
    assert made.size_bytes == len(CONTENT)
    await client.aio.aclose()


def begin(proxy: Any, **headers: str) -> httpx2.Response:
    return httpx2.post(
        f"{proxy.url}/upload/v1beta/files?key=t-ann",
        json={"file": {"displayName": "x"}},
        headers={
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            **headers,
        },
    )


def test_pieces_need_the_address_alone(proxy: Any) -> None:
    """Each goes to the account that has the upload: another one knows nothing of it."""
    for _ in range(4):
        begun = begin(proxy)
        address = begun.headers["x-goog-upload-url"]
        assert address.startswith(f"{proxy.url}/upload/v1beta/files?upload_id=")
        assert "t-ann" not in address
        told = []
        for at in range(0, 30, 10):
            command = "upload, finalize" if at == 20 else "upload"
            headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(at)}
            answer = httpx2.post(address, content=CONTENT[at : at + 10], headers=headers)
            told.append((answer.status_code, answer.headers["x-goog-upload-status"]))
        assert told == [(200, "active"), (200, "active"), (200, "final")]
        name = answer.json()["file"]["name"]
        assert proxy.app.parts.objects.has_made("ann", "files", name.removeprefix("files/"))


@pytest.mark.parametrize(
    ("address", "command", "token", "status"),
    [
        ("/upload/v1beta/files?upload_id=made-up", "upload", None, 401),
        ("/upload/v1beta/files?upload_id=made-up", "upload", "t-bob", 404),
        ("/upload/v1beta/files?upload_id=", "upload", None, 401),
        ("/v1beta/files/x?upload_id={begun}", "upload", None, 401),
        ("/v1beta/models/flash:generateContent?upload_id={begun}", "upload", None, 401),
        ("/g/v1beta/files?upload_id={begun}", "upload", None, 401),
        ("/g/upload/v1beta/files?upload_id={begun}", "upload", None, 401),
        ("/upload/v1/files?upload_id={begun}", "upload", None, 401),
        # To begin another one, or to send a file at once, needs a key.
        ("/upload/v1beta/files?upload_id={begun}", "start", None, 401),
        ("/upload/v1beta/files?upload_id={begun}", "", None, 401),
    ],
)
def test_only_addresses_that_were_told_admit(
    proxy: Any, address: str, command: str, token: str | None, status: int
) -> None:
    begun = begin(proxy).headers["x-goog-upload-url"].partition("upload_id=")[2].partition("&")[0]
    headers = {"x-goog-upload-command": command} if command else {}
    headers |= {"x-goog-api-key": token} if token else {}
    answer = httpx2.post(proxy.url + address.format(begun=begun), content=b"x", headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_file_of_two_parts_is_uploaded_in_one_piece(proxy: Any, client_of: Any) -> None:
    body = (
        b"--cut\r\nContent-Type: application/json\r\n\r\n"
        b'{"file": {"displayName": "two"}}\r\n'
        b"--cut\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--cut--\r\n"
    )
    headers = {
        "x-goog-upload-protocol": "multipart", "x-goog-api-key": "t-ann",
        "content-type": "multipart/related; boundary=cut",
    }  # fmt: skip
    # Some clients put the version before it where a base URL is set.
    for path in ("/upload/v1beta/files", "/v1beta/upload/v1beta/files"):
        answer = httpx2.post(proxy.url + path, content=body, headers=headers)
        made = answer.json()["file"]
        assert client_of().files.get(name=made["name"]).display_name == "two"


def test_lists_go_through_all_accounts_and_show_what_is_ones_own(
    client_of: Any, google: RunningSimulator, proxy: Any
) -> None:
    names = set()
    for number in (1, 2):
        for _ in range(3):
            answer = httpx2.post(
                f"{google.url}/google/upload/v1beta/files",
                content=b"--c\r\n\r\n{}\r\n--c\r\n\r\nx\r\n--c--\r\n",
                headers={"content-type": "multipart/related; boundary=c",
                         "x-goog-api-key": f"AQ.sim-{number}"},
            )  # fmt: skip
            names.add(answer.json()["file"]["name"])
    ann, bob = client_of("ann"), client_of("bob")
    own = upload(ann).name
    for size in (1, 2, 100):
        listed = [file.name for file in ann.files.list(config={"page_size": size})]
        assert (len(listed), set(listed)) == (7, names | {own})
        assert {file.name for file in bob.files.list(config={"page_size": size})} == names
    with pytest.raises(errors.ClientError, match="pageToken"):
        list(ann.files.list(config={"page_token": "none"}))
    # Nothing is anybody's by having been listed.
    for name in names:
        assert bob.files.get(name=name).name == name


def test_raw_lists_show_what_is_ones_own(google: RunningSimulator, serve: Any) -> None:
    names = ("ann", "bob")
    config = config_of(
        f"{google.url}/google", clients=[{"name": name, "token": f"t-{name}"} for name in names]
    )
    config["keys"].pop()
    options = types.HttpOptions(base_url=serve(config).url + "/g", api_version="v1beta")
    clients = [genai.Client(api_key=f"t-{name}", http_options=options) for name in names]
    made: list[set[Any]] = [set(), set()]
    for number in (0, 0, 0, 1, 0, 1):
        made[number].add(upload(clients[number]).name)
    for client, own in zip(clients, made, strict=True):
        for size in (1, 2, 100):
            listed = [file.name for file in client.files.list(config={"page_size": size})]
            assert (len(listed), set(listed)) == (len(own), own)
        client.close()


def test_no_client_reaches_what_another_uploaded(client_of: Any, google: RunningSimulator) -> None:
    ann, bob = client_of("ann"), client_of("bob")
    made = upload(ann)
    contents: Any = ["What is in it?", made]
    for ask in (
        lambda: bob.files.get(name=made.name),
        lambda: bob.files.delete(name=made.name),
        lambda: bob.files.download(file=made.name),
        lambda: bob.models.generate_content(model="flash", contents=contents),
    ):
        with pytest.raises(errors.ClientError, match="not known here") as refused:
            ask()
        assert refused.value.code == 404
    assert google.log() == []


def test_unknown_file_is_looked_for(google: RunningSimulator, serve: Any, client_of: Any) -> None:
    """Such as after a restart without a store; nobody rests for it."""
    made = upload(client_of())
    fresh = serve(config_of(f"{google.url}/google"))
    options = types.HttpOptions(base_url=fresh.url)
    with genai.Client(api_key="any", http_options=options) as client:
        for _ in range(6):
            assert client.files.get(name=made.name).name == made.name
        for _ in range(3):
            with pytest.raises(errors.ClientError, match="may not exist"):
                client.files.get(name="files/none-such")
        assert client.files.get(name=made.name).name == made.name
    states = [slot.record.state.value for slot in fresh.app.router.key_manager.slot_by_id.values()]
    assert states == ["available", "available"]


@pytest.fixture
def keeper() -> GeminiKeeper:
    return GeminiKeeper()


@pytest.fixture
def kept(serve: Any, keeper: GeminiKeeper) -> Iterator[genai.Client]:
    config = config_of(serve(keeper).url, models={"smart": ["g/gemini-pro"]})
    options = types.HttpOptions(base_url=serve(config).url)
    with genai.Client(api_key="any", http_options=options) as client:
        yield client


def test_cached_content_is_used_where_it_is(kept: genai.Client, keeper: GeminiKeeper) -> None:
    for _ in range(3):
        config = types.CreateCachedContentConfig(contents="A long text.", ttl="60s")
        made = kept.caches.create(model="gemini-flash", config=config)
        name = made.name or ""
        assert kept.caches.get(name=name).name == name
        changed = types.UpdateCachedContentConfig(ttl="120s")
        kept.caches.update(name=name, config=changed)
        assert [cache.name for cache in kept.caches.list()] == [name]
        for _ in range(3):
            answer = kept.models.generate_content(
                model="gemini-flash",
                contents="And?",
                config=types.GenerateContentConfig(cached_content=name),
            )
            assert answer.text == "Hi."
        kept.caches.delete(name=name)
    named = [call[4]["model"] for call in keeper.asked if call[2].endswith("cachedContents")
             and call[1] == "POST"]  # fmt: skip
    assert named == ["models/gemini-flash"] * 3
    assert len({account for account, method, *_ in keeper.asked if method != "GET"}) == 1


def test_alias_of_a_cached_model_is_replaced(kept: genai.Client, keeper: GeminiKeeper) -> None:
    config = types.CreateCachedContentConfig(contents="A long text.")
    kept.caches.create(model="smart", config=config)
    assert keeper.asked[-1][4]["model"] == "models/gemini-pro"


@pytest.mark.parametrize("stream", [False, True])
def test_interaction_is_followed_where_it_is(kept: Any, keeper: GeminiKeeper, stream: bool) -> None:
    for _ in range(4):
        made = kept.interactions.create(model="smart", input="Hi!", stream=stream)
        if stream:
            events = list(made)
            assert events[-1].event_type == "interaction.completed"
            made = events[0].interaction
        account, *_, said = keeper.asked[-1]
        assert said["model"] == "gemini-pro"
        keeper.asked.clear()
        assert kept.interactions.get(made.id).id == made.id
        kept.interactions.create(model="smart", input="More!", previous_interaction_id=made.id)
        assert kept.interactions.cancel(made.id).status == "cancelled"
        kept.interactions.delete(made.id)
        assert {call[0] for call in keeper.asked} == {account}


def test_client_of_certain_models_caches_and_asks_those_alone(
    serve: Any, keeper: GeminiKeeper
) -> None:
    clients = [{"name": "ann", "token": "t-ann", "models": ["gemini-flash"]}]
    proxy = serve(config_of(serve(keeper).url, clients=clients))
    told = []
    for path, body in (
        ("cachedContents", {"model": "models/gemini-flash"}),
        ("cachedContents", {"model": "models/gemini-pro"}),
        ("interactions", {"model": "gemini-flash", "input": "x"}),
        ("interactions", {"model": "gemini-pro", "input": "x"}),
        ("interactions", {"agent": "deep-research", "input": "x"}),
    ):
        answer = httpx2.post(f"{proxy.url}/v1beta/{path}?key=t-ann", json=body)
        told.append(answer.status_code)
    assert told == [200, 403, 200, 403, 403]
    assert all("t-ann" not in query for _, _, _, query, _ in keeper.asked)
