"""Every manner of provider, nothing declared: what is possible gets through, and little is refused.

The table of `benchmarks/goodput.py` in virtual time: the same code but the sockets.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.integration
_FOLDER = Path(__file__).parents[4] / "benchmarks"


def _load() -> ModuleType:
    # The benchmark finds its neighbours as a script does.
    sys.path.append(str(_FOLDER))
    spec = importlib.util.spec_from_file_location("goodput", _FOLDER / "goodput.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["goodput"] = module
    spec.loader.exec_module(module)
    return module


goodput = _load()


@pytest.mark.parametrize("row", goodput.TABLE)
def test_what_is_possible_gets_through(row: str) -> None:
    wishes = goodput.Wishes(seconds=40.0, is_virtual=True)
    measured = goodput.measure(row, goodput.TABLE[row], wishes)
    assert measured.is_well, measured.line()
