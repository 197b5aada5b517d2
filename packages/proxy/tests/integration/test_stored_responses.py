"""Responses stay with the key that made them, whoever asks for them later."""

from typing import Any

import httpx2
import openai
import pytest
from responses_provider import ResponsesProvider

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration


def client_of(proxy: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0)


async def test_stored_response_is_shown_followed_cancelled_and_deleted(proxy: Any) -> None:
    async with client_of(proxy) as client:
        made = [
            await client.responses.create(model="small", input="Hi!", store=True) for _ in range(4)
        ]
        for response in made:
            shown = await client.responses.retrieve(response.id)
            assert shown.output_text == response.output_text
            items = await client.responses.input_items.list(response.id)
            assert len(items.data) == 1
            await client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made[0].id)


async def test_background_response_is_cancelled(proxy: Any) -> None:
    async with client_of(proxy) as client:
        for _ in range(3):
            queued = await client.responses.create(model="small", input="Hi!", background=True)
            cancelled = await client.responses.cancel(queued.id)
            assert cancelled.id == queued.id


async def test_stream_of_a_stored_response_is_taken_up_again(serve: Any, config_for: Any) -> None:
    provider = ResponsesProvider()
    config = config_for(serve(provider).url + "/v1")
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    async with client_of(serve(config)) as client:
        for _ in range(3):
            made = await client.responses.create(model="small", input="Hi!")
            stream = await client.responses.retrieve(made.id, stream=True, starting_after=1)
            assert [event.type async for event in stream][-1] == "response.completed"
            method, path, bearer, _ = provider.asked[-1]
            assert (method, path.partition("?")[0]) == ("GET", f"responses/{made.id}")
            assert "starting_after=1" in path
            assert bearer == provider.stored[made.id][0]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_builds_upon_a_response_goes_to_its_key(proxy: Any, stream: bool) -> None:
    async with client_of(proxy) as client:
        for _ in range(4):
            if stream:
                async with client.responses.stream(model="small", input="Hi!") as events:
                    async for _event in events:
                        pass
                    first = (await events.get_final_response()).id
            else:
                first = (await client.responses.create(model="small", input="Hi!")).id
            again = await client.responses.create(
                model="small", input="More!", previous_response_id=first
            )
            assert again.previous_response_id == first


async def test_stored_response_tells_the_model(proxy: Any) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        body = {"model": "small", "input": "Hi!"}
        first = (await client.post("/v1/responses", json=body)).json()["id"]
        body = {"input": "More!", "previous_response_id": first}
        answer = await client.post("/v1/responses", json=body)
        told = answer.json()["error"]["message"]
        assert "model" in told
        assert "not known here" not in told


@pytest.mark.parametrize("path", ["resp_nowhere", "resp_nowhere/input_items"])
async def test_unknown_response_is_404(proxy: Any, path: str) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        answer = await client.get(f"/v1/responses/{path}")
    assert (answer.status_code, "error" in answer.json()) == (404, True)


async def test_nobody_sees_what_another_client_made(
    simulator: RunningSimulator, serve: Any, config_for: Any
) -> None:
    clients = [{"name": name, "token": name * 20} for name in "ab"]
    proxy = serve(config_for(simulator.base_url(), clients=clients))
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="a" * 20) as client:
        made = await client.responses.create(model="small", input="Hi!")
        body = {"input": "x", "previous_response_id": made.id}
        async with httpx2.AsyncClient(base_url=proxy.url) as other:
            headers = {"authorization": "Bearer " + "b" * 20}
            answer = await other.post("/v1/responses", json=body, headers=headers)
    assert "not known here" in answer.json()["error"]["message"]
