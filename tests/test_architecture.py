"""Imports point down: each layer imports only what is below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "packages"
CORE = ROOT / "core" / "apikeyrouter"
#: Path prefix -> layer; the longest prefix counts.
LAYERS = {
    "errors": 0,
    "domain.models": 1,
    "domain.limits": 1,
    "domain.failures.failure": 1,
    "domain.feed.events": 1,
    "domain.object_register": 1,
    "domain.routing.demand": 2,
    "domain.interfaces": 2,
    "domain.cooldown": 3,
    "domain.key_slot": 3,
    "domain.key_material": 3,
    "domain.key_records": 4,
    "domain.key_orders": 4,
    "domain.kept_keys": 5,
    "domain.quota_scope": 3,
    "domain.token_estimate": 3,
    "domain.ledger": 3,
    "domain.costs": 3,
    "domain.accounts.charge_learning": 3,
    "domain.accounts": 4,
    "domain.failures.table": 3,
    "domain.failures.circuit": 3,
    "domain.failures.refusals": 4,
    "domain.routing": 5,
    "domain.components": 6,
    "domain.queueing": 7,
    "domain": 8,
    "dialects": 9,
    "infrastructure": 10,
    "keys": 11,
    "request": 11,
    "gateway": 12,
    "composition": 12,
    "state_summary": 13,
    "account_keeping": 13,
    "object_keeping": 13,
    "spreading": 13,
    "hydration": 13,
    "router": 14,
    "ledger_sharing": 14,
    "service": 14,
    "integrations": 15,
    "": 15,
}
WAITING = {"aiohttp", "asyncio", "socket", "yarl", "structlog", "cryptography", "yaml", "time"}


def layer_of(module: str) -> int:
    name = module.removeprefix("apikeyrouter").lstrip(".")
    best = max((p for p in LAYERS if name == p or name.startswith(p + ".") or not p), key=len)
    return LAYERS[best]


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


CORE_FILES = sorted(CORE.rglob("*.py"))


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_imports_point_down(path: Path) -> None:
    own = layer_of(module_of(path, CORE))
    upward = [
        name
        for name in imports_of(path)
        if name.split(".")[0] == "apikeyrouter" and layer_of(name) > own
    ]
    assert not upward


@pytest.mark.parametrize(
    "path", sorted(CORE.glob("domain/**/*.py")), ids=lambda p: str(p.relative_to(CORE))
)
def test_domain_imports_nothing_that_waits(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports_of(path)} & WAITING


def test_no_modules_import_each_other() -> None:
    below = {module_of(path, CORE): imports_of(path) for path in CORE_FILES}
    below = {name: [n for n in names if n in below] for name, names in below.items()}
    settled: set[str] = set()
    while len(settled) < len(below):
        ready = {name for name, names in below.items() if settled.issuperset(names)} - settled
        assert ready, f"these import each other: {sorted(set(below) - settled)}"
        settled |= ready


def test_simulator_knows_nothing_of_the_others_and_core_nothing_of_the_proxy() -> None:
    for folder, foreign in (
        ("simulator/apikeyrouter_simulator", {"apikeyrouter", "apikeyrouter_proxy"}),
        ("core/apikeyrouter", {"apikeyrouter_proxy", "apikeyrouter_simulator"}),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            assert not {name.split(".")[0] for name in imports_of(path)} & foreign, path


#: What the service may know of the library; all else of it may move.
ENTRY_POINTS = {
    "apikeyrouter",
    "apikeyrouter.service",
    "apikeyrouter.infrastructure.config.environment",
    "apikeyrouter.infrastructure.config.file_loader",
    "apikeyrouter.infrastructure.config.model",
}


def test_proxy_imports_the_library_by_its_entry_points_alone() -> None:
    for path in (ROOT / "proxy" / "apikeyrouter_proxy").rglob("*.py"):
        known = {name for name in imports_of(path) if name.split(".")[0] == "apikeyrouter"}
        assert known <= ENTRY_POINTS, path


def test_no_registry_is_named() -> None:
    """Lock files work with whatever index a machine is told to use."""
    for name in ("poetry.lock", "requirements.lock", "scripts/poetry.lock.txt"):
        text = (ROOT.parent / name).read_text("utf-8")
        assert "://" not in text or "url = " not in text, name
