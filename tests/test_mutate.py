"""The mutation script finds the edits that it promises, and makes no others."""

import ast
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutate() -> ModuleType:
    loader = SourceFileLoader("mutate", str(ROOT / "scripts" / "mutate"))
    spec = spec_from_loader("mutate", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules["mutate"] = module
    loader.exec_module(module)
    return module


def mutants_of(mutate: ModuleType, folder: Path, source: str) -> set[str]:
    path = folder / "code.py"
    path.write_text(source, "utf-8")
    found = mutate.Finder(path).mutants
    return {mutant.applied(path.read_bytes()).decode() for mutant in found}


@pytest.mark.parametrize(
    ("source", "edits"),
    [
        ("x = a < b <= c", {"x = a <= b <= c", "x = a < b < c"}),
        ("x = a in b and c", {"x = a not in b and c", "x = a in b or c"}),
        ("x = not a", {"x = (a)"}),
        ("x = 3 + y", {"x = 3 - y", "x = 4 + y"}),
        ("x: int = 3", {"x: int = 4"}),
        ("f(reverse=True)", {"pass", "f(reverse=False)"}),
        ("self.x = y", {"pass"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("x = sorted(a)", {"x = list(a)"}),
        ("while x:\n    break", {"while x:\n    continue"}),
        ("if x:\n    raise E", {"if x:\n    pass", "if (not (x)):\n    raise E"}),
        ('"""Say 3."""\nimport a', set()),
        (
            'def f(x: int = 1) -> int:\n    """Say."""\n    return x',
            {
                'def f(x: int = 2) -> int:\n    """Say."""\n    return x',
                'def f(x: int = 1) -> int:\n    """Say."""\n    return None',
            },
        ),
        ('x = "µ" if y == 1 else z', {'x = "µ" if y != 1 else z', 'x = "µ" if y == 2 else z'}),
    ],
)  # fmt: skip
def test_each_edit_is_found(
    mutate: ModuleType, tmp_path: Path, source: str, edits: set[str]
) -> None:
    assert mutants_of(mutate, tmp_path, source) == edits


@pytest.mark.parametrize("name", ["ledger/window.py", "routing/ranking.py", "failures/table.py"])
def test_nearly_all_edits_of_real_code_can_be_compiled(mutate: ModuleType, name: str) -> None:
    path = ROOT / "packages/core/apikeyrouter/domain" / name
    source = path.read_bytes()
    mutants = mutate.Finder(path).mutants
    broken = 0
    for mutant in mutants:
        try:
            ast.parse(mutant.applied(source))
        except SyntaxError:
            broken += 1
    assert len(mutants) > 20
    assert broken <= len(mutants) // 50


def test_nearest_tests_come_first(mutate: ModuleType) -> None:
    path = ROOT / "packages/core/apikeyrouter/infrastructure/state_store/write_behind.py"
    near = mutate.tests_near(path, ROOT)
    assert near[0].name == "test_write_behind.py"
    assert "test_durability.py" in {test.name for test in near}
