"""Whose objects are is known after a restart where the store lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from object_provider import ObjectProvider
from openai import NotFoundError, OpenAI

from apikeyrouter import RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import Owner
from apikeyrouter_proxy.app import create_app
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
NAMES = ("ann", "bob")


def config_of(url: str, folder: Path, config_for: Any) -> dict[str, Any]:
    clients = [{"name": name, "token": f"t-{name}"} for name in NAMES]
    config: dict[str, Any] = config_for(url, clients=clients, store=f"sqlite:///{folder}/s.db")
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    return config


@contextmanager
def clients_of(proxy: Any) -> Iterator[list[OpenAI]]:
    made = [
        OpenAI(base_url=f"{proxy.url}/v1", api_key=f"t-{name}", max_retries=0) for name in NAMES
    ]
    yield made
    for client in made:
        client.close()


async def test_objects_are_known_after_a_restart(
    serve: Any, config_for: Any, tmp_path: Path
) -> None:
    provider = ObjectProvider({"sk-sim-1": "one", "sk-sim-2": "two"})
    config = config_of(serve(provider).url + "/v1", tmp_path, config_for)
    before = serve(config)
    with clients_of(before) as (ann, bob):
        own = [ann.files.create(file=b"{}", purpose="batch").id for _ in range(3)]
        other = bob.files.create(file=b"{}", purpose="batch").id
        gone = ann.files.create(file=b"{}", purpose="batch").id
        ann.files.delete(gone)
    before.stop()
    with clients_of(serve(config)) as (ann, bob):
        provider.calls.clear()
        assert [ann.files.retrieve(name).id for name in own] == own
        # Nothing had to be looked for.
        assert len(provider.calls) == len(own)
        for client, name in ((bob, own[0]), (ann, other)):
            with pytest.raises(NotFoundError, match="not known here"):
                client.files.retrieve(name)
        with pytest.raises(NotFoundError, match="No such file"):
            bob.files.retrieve(gone)
        batch = ann.batches.create(
            input_file_id=own[1], endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert batch.errors is None


async def test_what_waits_is_written_when_the_service_ends(
    config_for: Any, tmp_path: Path, simulator: RunningSimulator
) -> None:
    config = RouterConfig.model_validate(config_of(simulator.base_url(), tmp_path, config_for))
    owner = Owner("p1", "key-1", "account")
    for is_known in (False, True):
        app = create_app(config, settings=RouterSettings(log_level="CRITICAL"))
        await app.start()
        assert (app.objects.find("ann", "files", "file-1") == owner) is is_known
        app.objects.note("ann", "files", "file-1", owner)
        await app.stop()


async def test_response_is_known_after_a_crash(
    serve: Any, config_for: Any, simulator: RunningSimulator, tmp_path: Path, until: Any
) -> None:
    config = config_of(simulator.base_url(), tmp_path, config_for)
    before = serve(config)
    with clients_of(before) as (ann, _):
        made = [ann.responses.create(model="small", input="Hi!").id for _ in range(4)]
    # It does not stop: nothing is written at its end.
    await until(lambda: before.app.objects.waiting == 0)
    with clients_of(serve(config)) as (ann, bob):
        for name in made:
            assert ann.responses.retrieve(name).id == name
            following = ann.responses.create(model="small", input="x", previous_response_id=name)
            assert following.previous_response_id == name
            with pytest.raises(NotFoundError, match="not known here"):
                bob.responses.retrieve(name)


@pytest.mark.parametrize("store", ["memory://", None])
async def test_nothing_is_kept_where_nothing_lasts(
    serve: Any, config_for: Any, store: str | None, simulator: RunningSimulator
) -> None:
    more = {"store": store} if store else {}
    proxy = serve(config_for(simulator.base_url(), **more))
    with clients_of(proxy) as (client, _):
        client.responses.create(model="small", input="Hi!")
    assert proxy.app.objects.has_any()
    assert await proxy.app.router.state_store.list_documents("Object") == []
