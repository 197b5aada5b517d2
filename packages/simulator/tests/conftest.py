"""What the simulator's tests share: one simulator on a real socket, reset before each test."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from apikeyrouter_simulator import RunningSimulator

SCENARIO = {
    "providers": {
        "acorn": {
            "models": ["small", "large"],
            "reply": {"tokens": 6},
            "scopes": {
                "wide": {"limits": {"rpm": 6000, "tpm": 1000000}},
                "tight": {"limits": {"rpm": 2, "concurrency": 1}},
                "tokens": {"limits": {"tpm": 600}, "hidden": ["tpm"]},
            },
            "keys": {
                "a1": {"secret": "sk-a1", "scope": "wide"},
                "a2": {"secret": "sk-a2", "scope": "wide"},
                "tight": {"secret": "sk-tight", "scope": "tight"},
                "tokens": {"secret": "sk-tokens", "scope": "tokens"},
            },
        },
        "silent": {
            "headers": "none",
            "scopes": {"s": {"limits": {"rpm": 1}}},
            "keys": {"s1": {"secret": "sk-s1", "scope": "s"}},
        },
        "curt": {
            "refusals": "wait",
            "scopes": {"c": {"limits": {"rpm": 1}}},
            "keys": {"c1": {"secret": "sk-c1", "scope": "c"}},
        },
        "groq": {
            "headers": "groq",
            "charge": "groq",
            "scopes": {"g": {"limits": {"rpm": 30, "rpd": 14400, "tpm": 6000}}},
            "keys": {"g1": {"secret": "sk-g1", "scope": "g"}},
        },
    }
}


@pytest.fixture(scope="session")
def _running() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as simulator:
        yield simulator


@pytest.fixture
def simulator(_running: RunningSimulator) -> RunningSimulator:
    _running.reset()
    return _running


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[OpenAI]:
    with OpenAI(api_key="sk-a1", base_url=simulator.base_url(), max_retries=0) as client:
        yield client
