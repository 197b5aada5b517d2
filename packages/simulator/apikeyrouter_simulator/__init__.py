"""LLM providers that behave like the real ones: limits, headers, errors, streams, misfortunes."""

from apikeyrouter_simulator.app import create_app
from apikeyrouter_simulator.running import RunningSimulator
from apikeyrouter_simulator.scenario import Scenario
from apikeyrouter_simulator.source import ScenarioError

__all__ = ["RunningSimulator", "Scenario", "ScenarioError", "create_app"]
