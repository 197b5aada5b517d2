"""Small files, small folders, short functions."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1] / "packages"
PACKAGES = [
    ROOT / "core" / "apikeyrouter",
    ROOT / "proxy" / "apikeyrouter_proxy",
    ROOT / "simulator" / "apikeyrouter_simulator",
]
MODULES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
TESTS = sorted(ROOT.glob("*/tests/**/*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
MOST_LINES, MOST_MODULES = 400, 12
LONGEST_FUNCTION, USUAL_FUNCTION = 60, 8


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions_in(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function's name and its lines without signature and docstring."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield node.name, lines


@pytest.mark.parametrize("path", MODULES + TESTS, ids=name_of)
def test_file_is_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_folder_is_small(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, modules


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_functions_are_short(package: Path) -> None:
    sizes = {
        f"{name_of(path)}:{name}": lines
        for path in package.rglob("*.py")
        for name, lines in functions_in(path)
    }
    assert [name for name, lines in sizes.items() if lines > LONGEST_FUNCTION] == []
    assert median(sizes.values()) <= USUAL_FUNCTION
