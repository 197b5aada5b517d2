"""Responses over WebSockets: the official client, lanes, failover, and whom HTTP has to serve."""

from collections.abc import Iterator
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
ENDS = ("response.completed", "response.failed", "error")


@pytest.fixture
def client(proxy: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def until_end(connection: Any) -> list[Any]:
    """Return the events of one response."""
    events = []
    for event in connection:
        events.append(event)
        if event.type in ENDS:
            break
    return events


def url_of(proxy: Any, path: str = "/v1/responses") -> str:
    url: str = proxy.url.replace("http", "ws") + path
    return url


def refused(proxy: Any, path: str = "/v1/responses", **headers: str) -> tuple[int, bytes]:
    """Return status and body of an upgrade that is refused."""
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(url_of(proxy, path), additional_headers=headers),
    ):
        pass
    return caught.value.response.status_code, bytes(caught.value.response.body or b"")


def test_answers_come_in_frames(client: openai.OpenAI, simulator: RunningSimulator) -> None:
    with client.responses.connect() as connection:
        for _ in range(2):
            connection.response.create(model="small", input="Hello!")
            events = until_end(connection)
            assert [event.sequence_number for event in events] == list(range(len(events)))
            assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
            assert events[-1].response.usage.output_tokens == 8


def test_alias_is_asked_for_by_the_providers_own_name(
    simulator: RunningSimulator, serve: Any, config_for: Any
) -> None:
    proxy = serve(config_for(simulator.base_url(), models={"mine": ["p1/small"]}))
    with (
        openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any") as client,
        client.responses.connect() as connection,
    ):
        connection.response.create(model="mine", input="Hello!")
        assert until_end(connection)[-1].response.model == "small"


def test_what_builds_upon_an_answer_stays_with_its_key(client: openai.OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model="small", input="x", store=False)
        last = until_end(connection)[-1].response
        for _ in range(5):
            connection.response.create(
                model="small", input="y", previous_response_id=last.id, store=False
            )
            last = until_end(connection)[-1].response
            assert last.status == "completed"


def test_lanes_run_side_by_side_and_bear_their_names(
    client: openai.OpenAI, simulator: RunningSimulator
) -> None:
    simulator.condition(kind="slow_first_token", seconds=0.5, times=1)
    with client.responses.connect() as connection:
        for name in ("slow", "quick"):
            connection.response.create(model="small", input="x", stream_id=name)
        ends = [until_end(connection)[-1] for _ in range(2)]
    assert [event.to_dict()["stream_id"] for event in ends] == ["quick", "slow"]


def test_one_lane_answers_in_turn(client: openai.OpenAI, simulator: RunningSimulator) -> None:
    simulator.condition(kind="slow_first_token", seconds=0.2, times=1)
    with client.responses.connect() as connection:
        for text in ("first", "second"):
            connection.response.create(model="small", input="x", metadata={"text": text})
        ends = [until_end(connection)[-1] for _ in range(2)]
    assert [event.response.metadata["text"] for event in ends] == ["first", "second"]


@pytest.mark.parametrize(
    "condition",
    [{"kind": "invalid_key"}, {"kind": "status", "status": 503}, {"kind": "insufficient_quota"}],
    ids=lambda condition: condition["kind"],
)
def test_key_that_fails_midway_is_left_for_another(
    simulator: RunningSimulator, serve: Any, config_for: Any, condition: dict[str, Any]
) -> None:
    config = config_for(simulator.base_url())
    config["keys"][0]["priority"] = 1
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    proxy = serve(config)
    with (
        openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any") as client,
        client.responses.connect() as connection,
    ):
        connection.response.create(model="small", input="x")
        until_end(connection)
        simulator.condition(key="k1", **condition)
        for _ in range(3):
            connection.response.create(model="small", input="x")
            assert until_end(connection)[-1].type == "response.completed"


def test_answer_that_breaks_off_is_told_in_a_frame_and_the_connection_stays(
    client: openai.OpenAI, simulator: RunningSimulator
) -> None:
    with client.responses.connect() as connection:
        simulator.condition(kind="cut", chunks=8, times=1)
        connection.response.create(model="small", input="x")
        error = until_end(connection)[-1]
        assert (error.type, error.error.code) == ("error", "stream_interrupted")
        connection.response.create(model="small", input="x")
        assert until_end(connection)[-1].type == "response.completed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ('{"type":"response.create"}', "model is missing"),
        ('{"type":"response.create","model":"huge"}', "huge"),
        ('{"type":"response.create","model":"small","background":true}', "background"),
        ('{"type":"response.create","model":"small","stream_id":5}', "stream_id"),
    ],
)
def test_bad_message_is_told_in_a_frame_and_the_connection_stays(
    client: openai.OpenAI, text: str, says: str
) -> None:
    with client.responses.connect() as connection:
        connection._connection.send(text)
        assert says in until_end(connection)[-1].error.message
        connection.response.create(model="small", input="x")
        assert until_end(connection)[-1].type == "response.completed"


@pytest.mark.parametrize("status", [426, 404, 429])
def test_upgrade_that_no_key_takes_is_426(
    proxy: Any, simulator: RunningSimulator, status: int
) -> None:
    simulator.condition(kind="refuse_upgrade", status=status)
    assert refused(proxy)[0] == 426


def test_whose_provider_takes_no_socket_is_served_over_http(
    simulator: RunningSimulator, serve: Any, config_for: Any
) -> None:
    chats = {
        "providers": {
            "chats": {
                "speaks": ["openai"], "models": ["tiny"], "reply": {"tokens": 8},
                "scopes": {"one": {"limits": {"rpm": 60000}}},
                "keys": {"k1": {"secret": "sk-sim-2", "scope": "one"}},
            }
        }
    }  # fmt: skip
    with RunningSimulator(chats) as other:
        config = config_for(simulator.base_url(), other.base_url())
        config["models"] = {"tiny": ["p2/tiny"]}
        proxy = serve(config)
        with (
            openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any") as client,
            client.responses.connect() as connection,
        ):
            for model in ("small", "tiny"):
                connection.response.create(model=model, input="x", stream_id="a")
                last = until_end(connection)[-1]
                assert (last.type, last.to_dict()["stream_id"]) == ("response.completed", "a")
                assert last.response.model == model


def test_client_is_known_by_its_token(
    simulator: RunningSimulator, serve: Any, config_for: Any
) -> None:
    clients = [{"name": "ann", "token": "t" * 20, "models": ["large"]}]
    proxy = serve(config_for(simulator.base_url(), clients=clients))
    assert refused(proxy)[0] == 401
    with (
        openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="t" * 20) as client,
        client.responses.connect() as connection,
    ):
        connection.response.create(model="small", input="x")
        error = until_end(connection)[-1]
        assert (error.status, error.error.code) == (403, "model_not_allowed")


def test_page_of_another_site_gets_none(proxy: Any) -> None:
    status, body = refused(proxy, origin="https://elsewhere.example")
    assert (status, b"foreign_origin" in body) == (403, True)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/nothing"])
def test_no_other_path_takes_a_socket(proxy: Any, path: str) -> None:
    assert refused(proxy, path)[0] == 426


async def test_client_that_leaves_ends_its_calls(
    proxy: Any, simulator: RunningSimulator, until: Any
) -> None:
    simulator.condition(kind="slow_first_token", seconds=30, times=1)
    with connect(url_of(proxy)) as socket:
        socket.send('{"type":"response.create","model":"small","input":"x"}')
        slots = proxy.app.router.key_manager.slot_by_id.values()
        await until(lambda: sum(slot.in_flight for slot in slots) == 1)
    await until(lambda: sum(slot.in_flight for slot in slots) == 0)
