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
        "claude": {
            "speaks": ["anthropic"],
            "account_header": True,
            "models": ["opus", "sonnet", "haiku"],
            "reply": {"tokens": 9},
            "scopes": {
                "wide": {"limits": {"rpm": 600, "itpm": 200000, "otpm": 80000, "tpm": 300000}},
                "tight": {"limits": {"rpm": 1}},
            },
            "keys": {
                "c-wide": {"secret": "sk-ant-wide", "scope": "wide"},
                "c-tight": {"secret": "sk-ant-tight", "scope": "tight"},
            },
        },
        "google": {
            "speaks": ["gemini"],
            "charge": "input",
            "models": ["flash", "pro", "lite"],
            "reply": {"tokens": 9},
            "scopes": {
                "wide": {"limits": {"rpm": 600, "tpm": 250000}},
                "tight": {"limits": {"rpm": 1}},
                "daily": {"limits": {"rpd": 1}},
                "small": {"limits": {"tpm": 10}},
                "none": {"limits": {"rpm": 0}},
            },
            "keys": {
                "g-wide": {"secret": "AQ.wide", "scope": "wide"},
                "g-tight": {"secret": "AQ.tight", "scope": "tight"},
                "g-daily": {"secret": "AQ.daily", "scope": "daily"},
                "g-small": {"secret": "AQ.small", "scope": "small"},
                "g-none": {"secret": "AQ.none", "scope": "none"},
            },
        },
        "babel": {
            "speaks": ["openai", "anthropic", "gemini"],
            "models": ["m"],
            "scopes": {"b": {"limits": {"rpm": 6000}}},
            "keys": {"b1": {"secret": "sk-babel", "scope": "b"}},
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
