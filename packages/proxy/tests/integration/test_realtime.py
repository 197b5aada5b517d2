"""Realtime sessions over WebSockets: the official client, usage, and refusals."""

from typing import Any

import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from apikeyrouter_simulator import RunningSimulator

pytestmark = [
    pytest.mark.integration,
    # OpenAI's client opens connections in a way that `websockets` advises against.
    pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager"),
]


def answered(connection: Any) -> str:
    """Ask for an answer, and return its text."""
    item: Any = {
        "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi!"}],
    }  # fmt: skip
    connection.conversation.item.create(item=item)
    connection.response.create()
    text = ""
    for event in connection:
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.done":
            return text
    return text


async def test_session_passes_and_its_usage_is_settled_at_its_end(
    simulator: RunningSimulator, serve: Any, config_for: Any, until: Any
) -> None:
    proxy = serve(config_for(simulator.base_url(), models={"mine": ["p1/small"]}))
    client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0)
    slots = proxy.app.router.key_manager.slot_by_id.values()
    with client, client.realtime.connect(model="mine") as connection:
        created = connection.recv()
        assert created.type == "session.created"
        assert created.to_dict()["session"]["model"] == "small"
        assert all(answered(connection) for _ in range(2))
        assert sum(slot.in_flight for slot in slots) == 1
    await until(lambda: sum(slot.in_flight for slot in slots) == 0)
    records = [r for r in proxy.app.router._records.values() if r.model == "mine"]
    assert [record.output_tokens for record in records] == [16]


@pytest.mark.parametrize(
    ("path", "condition", "status"),
    [
        ("/v1/realtime", {}, 400),
        ("/v1/realtime?model=small", {"kind": "refuse_upgrade", "status": 503}, 503),
        ("/v1/realtime?model=small", {"kind": "invalid_key"}, 503),
    ],
)
def test_session_that_nobody_opens_is_refused_before_it_begins(
    proxy: Any, simulator: RunningSimulator, path: str, condition: dict[str, Any], status: int
) -> None:
    if condition:
        simulator.condition(**condition)
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(proxy.url.replace("http", "ws") + path),
    ):
        pass
    assert caught.value.response.status_code == status


def test_browser_sends_its_token_as_a_protocol(
    simulator: RunningSimulator, serve: Any, config_for: Any
) -> None:
    clients = [{"name": "ann", "token": "t" * 20}]
    proxy = serve(config_for(simulator.base_url(), clients=clients))
    url = proxy.url.replace("http", "ws") + "/v1/realtime?model=small"
    token: Any = "openai-insecure-api-key." + "t" * 20
    with connect(url, subprotocols=["realtime", token]) as socket:
        assert "session.created" in str(socket.recv())
        assert socket.subprotocol == "realtime"
    with pytest.raises(InvalidStatus) as caught, connect(url):
        pass
    assert caught.value.response.status_code == 401
