"""Every scripted misfortune, as a client sees it."""

import time

import openai
import pytest
from openai import OpenAI

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

HELLO = [{"role": "user", "content": "Hello!"}]
BROKEN = (openai.APIConnectionError, openai.APIError)


def ask(client: OpenAI, **more):
    return client.chat.completions.create(model="small", messages=HELLO, **more)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"kind": "invalid_key"}, 401, "invalid_api_key"),
        ({"kind": "revoked_key"}, 401, "invalid_api_key"),
        ({"kind": "insufficient_quota"}, 429, "insufficient_quota"),
        ({"kind": "status", "status": 400}, 400, None),
        ({"kind": "status", "status": 429}, 429, "rate_limit_exceeded"),
        ({"kind": "status", "status": 500}, 500, None),
        ({"kind": "status", "status": 529}, 529, None),
    ],
    ids=lambda value: str(value),
)
def test_condition_answers_in_place_of_the_provider(
    simulator: RunningSimulator, client: OpenAI, fields, status, code
) -> None:
    simulator.condition(key="a1", times=1, **fields)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client)
    assert (status, code) == (caught.value.status_code, caught.value.code)
    assert ask(client).choices


def test_status_tells_when_to_come_again(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.condition(kind="status", status=503, retry_after_s=7)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("fields", "befalls"),
    [
        ({"key": "a2"}, False),
        ({"scope": "wide"}, True),
        ({"scope": "tight"}, False),
        ({"provider": "acorn"}, True),
        ({"provider": "groq"}, False),
        ({"model": "large"}, False),
        ({"probability": 0.0}, False),
        ({"after_s": 60.0}, False),
        ({"for_s": 0.0}, False),
    ],
    ids=lambda value: str(value),
)
def test_condition_befalls_whom_it_names(
    simulator: RunningSimulator, client: OpenAI, fields, befalls
) -> None:
    simulator.condition(kind="status", status=500, **fields)
    if befalls:
        with pytest.raises(openai.InternalServerError):
            ask(client)
    else:
        assert ask(client).choices


def test_removed_condition_befalls_nobody(simulator: RunningSimulator, client: OpenAI) -> None:
    number = simulator.condition(kind="down")
    simulator.control("DELETE", f"conditions/{number}")
    assert ask(client).choices


@pytest.mark.parametrize("fields", [{"kind": "down"}, {"kind": "cut", "chunks": -1}])
def test_connection_is_dropped_without_an_answer(simulator, client: OpenAI, fields) -> None:
    simulator.condition(times=1, **fields)
    with pytest.raises(openai.APIConnectionError):
        ask(client)
    assert ask(client).choices


@pytest.mark.parametrize("chunks", [0, 2])
def test_stream_is_cut_after_so_many_chunks(simulator, client: OpenAI, chunks: int) -> None:
    simulator.condition(kind="cut", chunks=chunks, times=1)
    seen: list[object] = []
    with pytest.raises(Exception) as caught:
        seen.extend(ask(client, stream=True))
    assert len(seen) == chunks
    assert not isinstance(caught.value, openai.APIStatusError)
    assert simulator.stats()["keys"]["acorn/a1"]["failed_by"] == {"cut": 1}


@pytest.mark.parametrize("chunks", [0, 1])
def test_plain_answer_is_cut(simulator, client: OpenAI, chunks: int) -> None:
    simulator.condition(kind="cut", chunks=chunks, times=1)
    with pytest.raises(openai.APIConnectionError):
        ask(client)


def test_stalled_stream_frees_its_slot_when_the_client_leaves(simulator, client: OpenAI) -> None:
    simulator.condition(kind="stall", chunks=2, times=1)
    with pytest.raises(openai.APITimeoutError):
        list(ask(client.with_options(timeout=0.2), stream=True))
    deadline = time.monotonic() + 2
    while simulator.stats()["scopes"]["acorn/wide"]["in_flight"] and time.monotonic() < deadline:
        pass
    assert simulator.stats()["scopes"]["acorn/wide"]["in_flight"] == 0


def test_stream_ends_without_a_finish(simulator, client: OpenAI) -> None:
    simulator.condition(kind="no_finish", times=1)
    chunks = list(ask(client, stream=True))
    assert [None] * len(chunks) == [chunk.choices[0].finish_reason for chunk in chunks]


@pytest.mark.parametrize(
    ("fields", "at_least_s"),
    [
        ({"kind": "slow_first_token", "seconds": 0.2}, 0.2),
        ({"kind": "tokens_per_s", "rate": 50}, 0.1),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_answer_is_slow(simulator, client: OpenAI, fields, at_least_s, stream) -> None:
    simulator.condition(times=1, **fields)
    began = time.monotonic()
    answer = ask(client, stream=stream)
    if stream:
        list(answer)
    assert time.monotonic() - began >= at_least_s


def test_concurrency_is_refused_while_a_call_runs(simulator: RunningSimulator) -> None:
    simulator.condition(kind="slow_first_token", seconds=0.5, key="tight", times=1)
    with OpenAI(api_key="sk-tight", base_url=simulator.base_url(), max_retries=0) as client:
        with pytest.raises(openai.APITimeoutError):
            ask(client.with_options(timeout=0.1))
        assert ask(client).choices
    scope = simulator.stats()["scopes"]["acorn/tight"]
    assert (scope["accepted"], scope["cancelled"], scope["max_in_flight"]) == (1, 1, 1)


def test_changed_limit_holds_while_it_lasts(simulator, client: OpenAI) -> None:
    number = simulator.condition(kind="limit", scope="wide", limits={"rpm": 0})
    with pytest.raises(openai.RateLimitError):
        ask(client)
    simulator.control("DELETE", f"conditions/{number}")
    assert ask(client).choices


def test_another_user_eats_from_a_scope(simulator: RunningSimulator) -> None:
    simulator.condition(kind="consume", scope="tight", requests_per_minute=6000.0)
    time.sleep(0.1)
    with (
        OpenAI(api_key="sk-tight", base_url=simulator.base_url(), max_retries=0) as client,
        pytest.raises(openai.RateLimitError),
    ):
        ask(client)
    scope = simulator.stats()["scopes"]["acorn/tight"]
    assert scope["outside"]["rpm"] >= 2
