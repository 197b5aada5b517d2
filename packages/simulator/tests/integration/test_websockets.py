"""Responses and realtime sessions over WebSockets, by OpenAI's own client."""

import time

import pytest
from openai import OpenAI
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from apikeyrouter_simulator import RunningSimulator

pytestmark = [
    pytest.mark.integration,
    # OpenAI's client opens connections in a way that `websockets` advises against.
    pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager"),
]

TOOLS = [{"type": "function", "name": n, "parameters": {}, "strict": False} for n in ("a", "b")]


def until_end(connection) -> list:
    """Return the events of one response."""
    events = []
    for event in connection:
        events.append(event)
        if event.type in ("response.completed", "response.done", "error"):
            break
    return events


def test_response_comes_in_frames(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model="small", input="Hello!")
        events = until_end(connection)
    assert events[0].type == "response.created"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == "the router finds a key with"
    assert events[-1].response.usage.output_tokens == 6


def test_connection_remembers_what_is_not_kept(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model="small", input="[[parallel]]", tools=TOOLS, store=False)
        first = until_end(connection)[-1].response
        results = [
            {"type": "function_call_output", "call_id": call.call_id, "output": "1"}
            for call in first.output
        ]
        connection.response.create(model="small", input=results, previous_response_id=first.id)
        assert len(results) == 2
        assert until_end(connection)[-1].response.output_text
    with client.responses.connect() as connection:
        connection.response.create(model="small", input="x", previous_response_id=first.id)
        error = until_end(connection)[-1]
    assert (error.status, error.error.code) == (400, "previous_response_not_found")


def test_streams_run_side_by_side_and_bear_their_names(simulator, client: OpenAI) -> None:
    simulator.condition(kind="slow_first_token", seconds=0.4, times=1)
    with client.responses.connect() as connection:
        for name in ("slow", "quick"):
            connection.response.create(model="small", input="x", stream_id=name)
        ends = [until_end(connection)[-1] for _ in range(2)]
    assert [event.to_dict()["stream_id"] for event in ends] == ["quick", "slow"]


def test_one_lane_answers_in_turn(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.condition(kind="slow_first_token", seconds=0.2, times=1)
    with client.responses.connect() as connection:
        for text in ("first", "second"):
            connection.response.create(model="small", input="x", metadata={"text": text})
        ends = [until_end(connection)[-1] for _ in range(2)]
    assert [event.response.metadata["text"] for event in ends] == ["first", "second"]


def test_nothing_is_made_where_nothing_is_wanted(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model="small", input="x", generate=False)
        response = until_end(connection)[-1].response
    assert (response.output, response.usage.output_tokens) == ([], 0)


def test_limit_is_told_in_a_frame(simulator: RunningSimulator) -> None:
    with (
        OpenAI(api_key="sk-tight", base_url=simulator.base_url(), max_retries=0) as client,
        client.responses.connect() as connection,
    ):
        for _ in range(3):
            connection.response.create(model="small", input="x")
            error = until_end(connection)[-1]
    assert (error.type, error.status) == ("error", 429)
    assert error.error.code == "rate_limit_exceeded"
    assert error.error.headers["retry-after"] == "30"


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "truncated"), ("[]", "object"), ('{"type":"response.steer"}', "steer"),
     ('{"type":"response.create"}', "model"),
     ('{"type":"response.create","model":"huge"}', "huge"),
     ('{"type":"response.create","model":"small","background":true}', "background")],
)  # fmt: skip
def test_bad_message_is_told_in_a_frame_and_the_connection_stays(client, text, says) -> None:
    with client.responses.connect() as connection:
        connection._connection.send(text)
        assert says in until_end(connection)[-1].error.message
        connection.response.create(model="small", input="x")
        assert until_end(connection)[-1].type == "response.completed"


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"kind": "refuse_upgrade", "status": 426}, 426), ({"kind": "invalid_key"}, 401)],
    ids=["426", "key"],
)
def test_upgrade_is_refused(simulator: RunningSimulator, fields, status) -> None:
    simulator.condition(times=1, **fields)
    url = simulator.base_url("acorn").replace("http", "ws") + "/responses"
    headers = {"Authorization": "Bearer sk-a1"}
    with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers):
        pass
    assert caught.value.response.status_code == status
    assert b'"error"' in caught.value.response.body
    with connect(url, additional_headers=headers) as connection:
        assert connection.response.status_code == 101


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("acorn/v1/responses", "nobody", 401),
        ("acorn/v1/chat/completions", "sk-a1", 404),
        ("claude/v1/responses", "sk-ant-wide", 404),
        ("nobody/v1/responses", "sk-a1", 401),
    ],
)
def test_upgrade_needs_a_key_and_a_path(simulator: RunningSimulator, path, key, status) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{simulator.url}/{path}".replace("http", "ws")
    with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers):
        pass
    assert caught.value.response.status_code == status


@pytest.mark.parametrize("kind", ["cut", "down"])
def test_connection_is_dropped_in_an_answer(simulator, client: OpenAI, kind) -> None:
    with client.responses.connect() as connection:
        simulator.condition(kind=kind, chunks=2, times=1)
        connection.response.create(model="small", input="x")
        with pytest.raises(ConnectionClosed):
            [connection.recv() for _ in range(3)]
    assert simulator.stats()["keys"]["acorn/a1"]["failed_by"] == {kind: 1}


def test_answer_is_cancelled_when_the_client_leaves(simulator, client: OpenAI) -> None:
    simulator.condition(kind="stall", chunks=2, times=1)
    with client.responses.connect() as connection:
        connection.response.create(model="small", input="x")
        connection.recv()
    deadline = time.monotonic() + 2
    while simulator.stats()["totals"]["in_flight"] and time.monotonic() < deadline:
        pass
    assert simulator.stats()["totals"]["in_flight"] == 0


def test_realtime_session_answers_with_usage(client: OpenAI) -> None:
    with client.realtime.connect(model="small") as connection:
        assert connection.recv().session.model == "small"
        connection.session.update(session={"type": "realtime", "instructions": "be brief"})
        assert connection.recv().session.instructions == "be brief"
        content = [{"type": "input_text", "text": "Hello!"}]
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": content}
        )
        assert connection.recv().item.content[0].text == "Hello!"
        connection.response.create()
        events = until_end(connection)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "the router finds a key with"
    assert events[-1].response.usage.output_tokens == 6


def test_realtime_session_tells_errors(simulator: RunningSimulator, client: OpenAI) -> None:
    with client.realtime.connect(model="huge") as connection:
        connection.recv()
        connection.response.create()
        assert "huge" in until_end(connection)[-1].error.message
