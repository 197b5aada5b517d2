"""The scenarios that ship with the package, by name."""

from importlib.resources import files
from pathlib import Path

from apikeyrouter_simulator.scenario import Scenario
from apikeyrouter_simulator.source import ScenarioError, nearest

_FOLDER = files("apikeyrouter_simulator").joinpath("scenarios")


def names() -> list[str]:
    """Return the names of all scenarios of the package."""
    found = (file.name for file in _FOLDER.iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def text_of(name: str) -> str:
    """Return the YAML of a scenario of the package."""
    return _FOLDER.joinpath(f"{name}.yaml").read_text("utf-8")


def summary_of(name: str) -> str:
    """Return the first line of a scenario, which says what is special about it."""
    return text_of(name).partition("\n")[0].lstrip("# ")


def find(name_or_path: str | Path) -> Scenario:
    """Return the scenario of that name, else the one in that file.

    Raises:
        ScenarioError: There is neither, or what is in the file is wrong.
    """
    known = names()
    if str(name_or_path) in known:
        return Scenario.parse(text_of(str(name_or_path)), name=f"{name_or_path}.yaml")
    path = Path(name_or_path)
    if path.exists() or path.suffix or path.parent != Path():
        return Scenario.load(path)
    raise ScenarioError(f"unknown scenario '{name_or_path}'{nearest(str(name_or_path), known)}")
