"""Files, batches and their like by OpenAI's own client: each stays where it was made."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from object_provider import ObjectProvider
from openai import AsyncOpenAI, ConflictError, NotFoundError, OpenAI

pytestmark = pytest.mark.integration
KEYS = {"sk-sim-1": "one", "sk-sim-2": "two"}


@pytest.fixture
def provider() -> ObjectProvider:
    return ObjectProvider(KEYS)


@pytest.fixture
def proxy(serve: Any, config_for: Any, provider: ObjectProvider) -> Any:
    config = config_for(serve(provider).url + "/v1")
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    return serve(config)


@pytest.fixture
async def client(proxy: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=proxy.url + "/v1", api_key="x", max_retries=0) as made:
        yield made


async def test_file_is_kept_where_it_was_made(client: AsyncOpenAI, provider: Any) -> None:
    content = bytes(range(256)) * 40
    made = await client.files.create(file=("a.jsonl", content), purpose="batch")
    for _ in range(4):
        assert (await client.files.retrieve(made.id)).bytes == len(content)
    assert await (await client.files.content(made.id)).aread() == content
    assert (await client.files.delete(made.id)).deleted
    assert len(set(provider.keys_of("files"))) == 1
    with pytest.raises(NotFoundError):
        await client.files.retrieve(made.id)


async def test_what_is_made_of_a_file_is_made_beside_it(client: Any, provider: Any) -> None:
    for _ in range(3):
        file = await client.files.create(file=b"{}", purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert batch.errors is None
        assert (await client.batches.retrieve(batch.id)).id == batch.id
        assert await (await client.files.content(batch.output_file_id)).aread()
        await client.batches.cancel(batch.id)
        store = await client.vector_stores.create(file_ids=[file.id])
        await client.vector_stores.files.create(vector_store_id=store.id, file_id=file.id)
        await client.vector_stores.search(store.id, query="x")
    assert len(set(provider.keys_of(""))) == 1


async def test_conversations_videos_and_uploads_stay(client: Any, provider: Any) -> None:
    talk = await client.conversations.create(metadata={"a": "b"})
    await client.conversations.items.list(talk.id)
    upload = await client.uploads.create(bytes=1, filename="f", mime_type="x/y", purpose="batch")
    await client.uploads.parts.create(upload.id, data=b"x")
    await client.uploads.complete(upload.id, part_ids=["sub-1"])
    job = await client.fine_tuning.jobs.create(model="tiny", training_file="file-x")
    await client.fine_tuning.jobs.cancel(job.id)
    for kind in ("conversations", "uploads", "fine_tuning"):
        assert len(set(provider.keys_of(kind))) == 1


async def test_account_that_lacks_an_unknown_id_is_followed_by_the_next(
    client: Any, provider: ObjectProvider, serve: Any, config_for: Any, proxy: Any
) -> None:
    """Such as after a restart, when nothing is remembered."""
    made = await client.files.create(file=b"{}", purpose="batch")
    upstream = next(iter(proxy.app.router.routes.providers.values())).adapter.base_url
    config = config_for(upstream)
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    fresh = serve(config)
    async with AsyncOpenAI(base_url=fresh.url + "/v1", api_key="x", max_retries=0) as other:
        provider.calls.clear()
        for _ in range(6):
            assert (await other.files.retrieve(made.id)).id == made.id
        assert len(provider.calls) in (6, 7)
        provider.calls.clear()
        with pytest.raises(NotFoundError, match="No such file: file-none"):
            await other.files.retrieve("file-none")
        assert set(provider.keys_of("file-none")) == set(KEYS)
        # Nobody rests for it.
        assert (await other.files.retrieve(made.id)).id == made.id


async def test_list_goes_through_all_accounts(client: Any, provider: Any, proxy: Any) -> None:
    names = []
    for key in ("sk-sim-1", "sk-sim-2"):
        for _ in range(3):
            async with httpx2.AsyncClient() as direct:
                upstream = next(iter(proxy.app.router.routes.providers.values())).adapter.base_url
                made = await direct.post(
                    upstream + "/batches", json={}, headers={"authorization": f"Bearer {key}"}
                )
                names.append(made.json()["id"])
    listed = await client.batches.list()
    assert sorted(batch.id for batch in listed.data) == sorted(names)
    paged = [batch.id async for batch in await client.batches.list(limit=2)]
    assert sorted(paged) == sorted(names)
    assert Counter(paged).most_common(1)[0][1] == 1
    provider.calls.clear()
    for name in names:
        await client.batches.retrieve(name)
    assert len(provider.calls) == len(names)


async def test_list_is_refused_where_an_account_cannot_tell(proxy: Any, client: Any) -> None:
    """Half a list would look like a whole one."""
    for slot in proxy.app.router.key_manager.slot_by_id.values():
        slot.secret = "sk-unknown" if slot.id == "key-2" else slot.secret
    async with httpx2.AsyncClient(base_url=proxy.url) as plain:
        answer = await plain.get("/v1/files")
    assert answer.status_code == 409
    assert "key 'key-2' is invalid, and its account has no other key" in answer.text


async def test_objects_of_different_accounts_are_not_used_together(
    client: Any, provider: Any, proxy: Any
) -> None:
    first = await client.files.create(file=b"{}", purpose="batch")
    key = provider.keys_of("files")[0]
    own = next(s for s in proxy.app.router.key_manager.slot_by_id.values() if s.secret == key)
    await proxy.app.router.revoke_key(own.id)
    second = await client.files.create(file=b"{}", purpose="batch")
    with pytest.raises(ConflictError, match="has to be of one account"):
        await client.vector_stores.create(file_ids=[first.id, second.id])
    with pytest.raises(ConflictError, match=f"key '{own.id}' is disabled"):
        await client.files.retrieve(first.id)


async def test_conversation_goes_where_its_file_is(client: Any, provider: Any) -> None:
    """Whatever else its text says; without files it goes anywhere."""
    file = await client.files.create(file=b"{}", purpose="user_data")
    key = provider.keys_of("files")[0]
    provider.calls.clear()
    parts = [{"type": "file", "file": {"file_id": file.id}}, {"type": "text", "text": "x" * 9000}]
    for _ in range(6):
        await client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": parts}],  # type: ignore[arg-type]
        )
    assert set(provider.keys_of("chat")) == {key}
    for _ in range(6):
        await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": f"file_id {file.id}"}]
        )
    assert set(provider.keys_of("chat")) == set(KEYS)


async def test_clients_have_objects_of_their_own(
    serve: Any, config_for: Any, provider: ObjectProvider
) -> None:
    clients = [
        {"name": "ann", "token": "t-ann", "models": ["tiny"]}, {"name": "bob", "token": "t-bob"},
    ]  # fmt: skip
    proxy = serve(config_for(serve(provider).url + "/v1", clients=clients))
    ann = OpenAI(base_url=proxy.url + "/v1", api_key="t-ann", max_retries=0)
    made = await asyncio.to_thread(ann.files.create, file=b"{}", purpose="batch")
    objects = proxy.app.parts.objects
    assert objects.find("ann", "files", made.id) is not None
    assert objects.find("bob", "files", made.id) is None
    async with httpx2.AsyncClient(base_url=proxy.url) as plain:
        headers = {"authorization": "Bearer t-ann"}
        for path in ("/v1/batches", "/p1/v1/files", "/v1/moderations"):
            answer = await plain.post(path, json={"input": "x"}, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                403, "model_not_allowed",
            )  # fmt: skip
        assert (await plain.post("/v1/files", content=b"x")).status_code == 401


@pytest.fixture
def shared(serve: Any, config_for: Any, provider: ObjectProvider) -> Any:
    """A service with one account for two clients."""
    clients = [{"name": name, "token": f"t-{name}"} for name in ("ann", "bob")]
    return serve(config_for(serve(provider).url + "/v1", clients=clients))


@pytest.fixture
def pair(shared: Any) -> Iterator[tuple[OpenAI, OpenAI]]:
    made = [
        OpenAI(base_url=shared.url + "/v1", api_key=f"t-{name}", max_retries=0)
        for name in ("ann", "bob")
    ]
    yield made[0], made[1]
    for client in made:
        client.close()


def test_no_client_reaches_what_another_made(pair: Any, provider: ObjectProvider) -> None:
    ann, bob = pair
    file = ann.files.create(file=b"{}", purpose="batch")
    batch = ann.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    written = ann.batches.retrieve(batch.id).output_file_id
    provider.calls.clear()
    parts: Any = [{"type": "file", "file": {"file_id": file.id}}]
    for ask in (
        lambda: bob.files.retrieve(file.id),
        lambda: bob.files.content(written),
        lambda: bob.files.delete(file.id),
        lambda: bob.batches.cancel(batch.id),
        lambda: bob.batches.list(after=batch.id),
        lambda: bob.vector_stores.create(file_ids=[file.id]),
        lambda: bob.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": parts}]
        ),
    ):
        with pytest.raises(NotFoundError, match="not known here"):
            ask()
    assert provider.calls == []
    assert ann.files.content(written).content


def test_what_a_batch_has_written_is_its_makers(pair: Any, shared: Any) -> None:
    ann, bob = pair
    file = ann.files.create(file=b"{}", purpose="batch")
    batch = ann.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    # It is told when the batch is done, not when it is made.
    shared.app.parts.objects.forget("ann", "files", batch.output_file_id)
    ann.batches.retrieve(batch.id)
    with pytest.raises(NotFoundError, match="not known here"):
        bob.files.content(batch.output_file_id)


def test_lists_leave_out_what_others_made(pair: Any, provider: ObjectProvider) -> None:
    ann, bob = pair
    names = [
        client.files.create(file=b"{}", purpose="batch").id
        for client in (ann, ann, ann, bob, ann, ann, bob)
    ]
    assert [file.id for file in bob.files.list(limit=1)] == [names[3], names[6]]
    assert [file.id for file in bob.files.list()] == [names[3], names[6]]
    assert len(list(ann.files.list(limit=2))) == 5
    # To have seen a list makes nobody's of it.
    assert ann.files.retrieve(names[0]).id == names[0]


def test_lists_leave_out_what_others_made_the_raw_way_too(pair: Any, shared: Any) -> None:
    ann, bob = pair
    names = [
        client.files.create(file=b"{}", purpose="batch").id
        for client in (ann, ann, ann, bob, ann, ann, bob)
    ]
    for client, token, own in ((bob, "t-bob", (3, 6)), (ann, "t-ann", (0, 1, 2, 4, 5))):
        raw = client.with_options(base_url=shared.url + "/p1/v1")
        for limit in (1, 2, 100):
            listed = [file.id for file in raw.files.list(limit=limit)]
            assert listed == [names[number] for number in own]
        answer = httpx2.get(shared.url + "/p1/files", headers={"authorization": f"Bearer {token}"})
        assert [file["id"] for file in answer.json()["data"]] == [names[n] for n in own]
    assert ann.files.retrieve(names[0]).id == names[0]


def test_what_was_deleted_is_known_as_nobodys(pair: Any) -> None:
    ann, bob = pair
    made = ann.files.create(file=b"{}", purpose="batch")
    ann.files.delete(made.id)
    with pytest.raises(NotFoundError, match="No such file"):
        bob.files.retrieve(made.id)


async def test_provider_without_files_is_followed_by_one_that_has_them(
    serve: Any, config_for: Any
) -> None:
    bare, full = ObjectProvider(KEYS), ObjectProvider(KEYS)
    bare.lacks = ("files", "batches")
    proxy = serve(config_for(serve(bare).url + "/v1", serve(full).url + "/v1"))
    async with AsyncOpenAI(base_url=proxy.url + "/v1", api_key="x", max_retries=0) as client:
        for _ in range(4):
            await client.files.create(file=b"{}", purpose="batch")
        assert len((await client.files.list()).data) == 4
        named = await client.files.create(
            file=b"{}", purpose="batch", extra_headers={"X-Provider": "p2"}
        )
        assert named.id
        with pytest.raises(NotFoundError, match="Unknown request URL"):
            await client.files.create(
                file=b"{}", purpose="batch", extra_headers={"X-Provider": "p1"}
            )
    assert "x-provider" not in full.calls[-1][3]
