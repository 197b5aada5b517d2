"""What the library's tests share: simulated providers on a real socket."""

from collections.abc import Iterator

import pytest

from apikeyrouter_simulator import RunningSimulator

SCENARIO = {
    "providers": {
        "sim": {
            "models": ["small", "large"],
            "account_header": False,
            "reply": {"tokens": 8},
            "scopes": {
                "one": {"limits": {"rpm": 6000, "tpm": 1000000}},
                "two": {"limits": {"rpm": 6000, "tpm": 1000000}},
                "tight": {"limits": {"rpm": 60}},
            },
            "keys": {
                "k1": {"secret": "sk-sim-1", "scope": "one"},
                "k2": {"secret": "sk-sim-2", "scope": "two"},
                "k3": {"secret": "sk-sim-3", "scope": "tight"},
            },
        }
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
