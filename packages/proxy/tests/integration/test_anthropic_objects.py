"""Batches and files by Anthropic's own client: each stays where it was made."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, NotFoundError
from object_provider import ObjectProvider

pytestmark = pytest.mark.integration


@pytest.fixture
def provider() -> ObjectProvider:
    return ObjectProvider({"sk-sim-1": "one", "sk-sim-2": "two"})


@pytest.fixture
def proxy(serve: Any, provider: ObjectProvider) -> Any:
    url = serve(provider).url
    return serve(
        {
            "providers": {"a": {"kind": "anthropic", "base_url": url}},
            "keys": [
                {"id": f"key-{number}", "provider": "a", "secret": f"sk-sim-{number}"}
                for number in (1, 2)
            ],
        }
    )


@pytest.fixture
async def client(proxy: Any) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=proxy.url, api_key="x", max_retries=0) as made:
        yield made


def asked_of(provider: ObjectProvider) -> set[str]:
    return set(provider.keys_of("/")) | set(provider.keys_of("files"))


async def test_batch_is_kept_where_it_was_made(client: Any, provider: Any, proxy: Any) -> None:
    params = {"model": "claude-x", "max_tokens": 1, "messages": []}
    made = await client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    for _ in range(4):
        shown = await client.messages.batches.retrieve(made.id)
        assert shown.results_url == f"{proxy.url}/v1/messages/batches/{made.id}/results"
    # The client follows that address.
    assert len([line async for line in await client.messages.batches.results(made.id)]) == 3
    await client.messages.batches.cancel(made.id)
    listed = [batch.results_url async for batch in await client.messages.batches.list(limit=1)]
    assert listed == [shown.results_url]
    await client.messages.batches.delete(made.id)
    assert len({key for _, path, key, _, _ in provider.calls if made.id in path}) == 1
    with pytest.raises(NotFoundError):
        await client.messages.batches.retrieve(made.id)


async def test_files_of_anthropics_clients_are_anthropics(
    client: Any, provider: Any, proxy: Any
) -> None:
    made = await client.beta.files.upload(file=("a.txt", b"hello", "text/plain"))
    assert (await client.beta.files.retrieve_metadata(made.id)).id == made.id
    assert await (await client.beta.files.download(made.id)).read() == b"hello"
    assert len(asked_of(provider)) == 1
    assert provider.calls[-1][3]["anthropic-version"]
    async with httpx2.AsyncClient(base_url=proxy.url) as plain:
        answer = await plain.get("/v1/files")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
        answer = await plain.get("/v1/messages/nothing")
        assert (answer.status_code, answer.json()["type"]) == (404, "error")
