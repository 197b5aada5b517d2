"""Every Python block of the documentation runs as printed, against simulated providers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apikeyrouter_simulator import RunningSimulator

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("packages/*/*.md")),
]
BLOCKS = [
    pytest.param(match[1], id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, match in enumerate(
        re.finditer(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
]
SCENARIO = {
    "providers": {
        "sim": {
            "scopes": {"s": {"limits": {"rpm": 600}}},
            "keys": {
                n: {"secret": n, "scope": "s"} for n in ("sk-your-key-1", "sk-your-key-2", "any")
            },
        }
    }
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.mark.parametrize("code", BLOCKS)
def test_block_runs(code: str, simulator: RunningSimulator, monkeypatch: Any) -> None:
    """Addresses of the world outside lead to the simulator; nothing else is changed."""
    monkeypatch.setenv("APIKEYROUTER_LOG_LEVEL", "CRITICAL")
    code = code.replace("OpenAIAdapter()", f'OpenAIAdapter(base_url="{simulator.base_url()}")')
    code = code.replace("http://127.0.0.1:8000/v1", simulator.base_url())
    exec(compile(code, "documentation", "exec"), {"__name__": "__main__"})


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken
