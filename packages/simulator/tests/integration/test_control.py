"""What the control endpoint counts and changes."""

import json
import urllib.error

import openai
import pytest
from openai import OpenAI

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

HELLO = [{"role": "user", "content": "Hello!"}]


def ask(client: OpenAI):
    return client.chat.completions.create(model="small", messages=HELLO)


def test_keys_of_one_scope_are_counted_apart_and_together(simulator, client: OpenAI) -> None:
    ask(client)
    ask(client.with_options(api_key="sk-a2"))
    stats = simulator.stats()
    assert [stats["keys"][f"acorn/{key}"]["accepted"] for key in ("a1", "a2")] == [1, 1]
    assert stats["scopes"]["acorn/wide"]["accepted"] == stats["totals"]["accepted"] == 2
    assert stats["scopes"]["acorn/wide"]["output_tokens"] == 12


def test_refusals_are_counted_by_reason(simulator: RunningSimulator) -> None:
    with OpenAI(api_key="sk-tight", base_url=simulator.base_url(), max_retries=0) as client:
        for _ in range(2):
            ask(client)
        with pytest.raises(openai.RateLimitError):
            ask(client)
    tally = simulator.stats()["keys"]["acorn/tight"]
    assert (tally["accepted"], tally["refused"], tally["refused_by"]) == (2, 1, {"rpm": 1})


def test_unknown_models_and_lists_are_counted(simulator, client: OpenAI) -> None:
    client.models.list()
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="bogus", messages=HELLO)
    tally = simulator.stats()["keys"]["acorn/a1"]
    assert (tally["listed"], tally["failed_by"]) == (1, {"404": 1})
    assert simulator.log()[-1]["status"] == 404


def test_possible_is_told_in_requests_too(simulator: RunningSimulator) -> None:
    with OpenAI(api_key="sk-tokens", base_url=simulator.base_url(), max_retries=0) as client:
        used = ask(client).usage.total_tokens
    scope = simulator.stats()["scopes"]["acorn/tokens"]
    assert scope["possible"]["tpm"] == pytest.approx(600, rel=0.1)
    assert scope["possible_requests"] == pytest.approx(600 / used, rel=0.1)


def test_reset_begins_anew(simulator, client: OpenAI) -> None:
    simulator.condition(kind="status", status=500, times=1, after_s=60)
    ask(client)
    simulator.reset()
    assert simulator.stats()["totals"]["accepted"] == 0
    assert simulator.log() == []


def test_log_tells_calls_without_secrets(simulator, client: OpenAI) -> None:
    simulator.condition(kind="status", status=500, times=1)
    with pytest.raises(openai.InternalServerError):
        ask(client)
    ask(client)
    log = simulator.log()
    assert [(entry["key"], entry["model"], entry["status"]) for entry in log] == [
        ("a1", "small", 500),
        ("a1", "small", 200),
    ]
    assert "sk-" not in json.dumps([log, simulator.stats()])


def test_log_is_cut_to_the_latest(simulator, client: OpenAI) -> None:
    for _ in range(3):
        ask(client)
    assert len(simulator.control("GET", "log?limit=2")) == 2


def test_scope_gets_other_limits(simulator, client: OpenAI) -> None:
    simulator.control("POST", "scopes/wide", {"limits": {"rpm": 0}})
    with pytest.raises(openai.RateLimitError):
        ask(client)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "conditions", {"kind": "sttus"}, 400),
        ("POST", "conditions", {"kind": "status", "key": "nobody"}, 400),
        ("POST", "scopes/nowhere", {"limits": {"rpm": 1}}, 400),
        ("POST", "scopes/wide", {"limits": {"rpmm": 1}}, 400),
        ("GET", "nothing", None, 404),
    ],
)
def test_mistake_is_told(simulator, method, path, body, status) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        simulator.control(method, path, body)
    with caught.value as error:
        assert status == error.code
        assert json.load(error)["error"]


@pytest.mark.parametrize(("method", "path"), [("GET", "log?limit=x"), ("DELETE", "conditions/x")])
def test_number_that_is_none_is_400(simulator, method, path) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        simulator.control(method, path)
    with caught.value as error:
        assert error.code == 400


def test_conditions_are_listed(simulator: RunningSimulator) -> None:
    number = simulator.condition(kind="status", status=503, times=2, after_s=60)
    listed = simulator.control("GET", "conditions")
    assert [(entry["id"], entry["left"], entry["status"]) for entry in listed] == [(number, 2, 503)]


@pytest.mark.parametrize(
    "change", [{"factor": 0}, {"dimension": "requests", "amount": 6000}], ids=["factor", "amount"]
)
def test_scope_is_emptied(simulator: RunningSimulator, client: OpenAI, change) -> None:
    simulator.control("POST", "scopes/wide", change)
    with pytest.raises(openai.RateLimitError):
        ask(client)
