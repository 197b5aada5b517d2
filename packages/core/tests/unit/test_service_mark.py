"""The mark beside a store: who may have it together, and what it tells."""

import subprocess
import sys
from pathlib import Path

import pytest

from apikeyrouter.service import ServiceMark, database_file_of

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks"),
]


def mark_in(folder: Path, name: str = "a.db") -> ServiceMark:
    return ServiceMark(f"sqlite:///{folder}/{name}")


@pytest.mark.parametrize(
    ("first", "second", "is_had"),
    [
        ("share", "share", True),
        ("share", "take_alone", False),
        ("take_alone", "share", False),
        ("take_alone", "take_alone", False),
    ],
)
def test_services_share_it_and_a_writer_has_it_alone(
    tmp_path: Path, first: str, second: str, is_had: bool
) -> None:
    holder, other = mark_in(tmp_path), mark_in(tmp_path)
    assert getattr(holder, first)()
    assert getattr(other, second)() == is_had
    other.release()
    holder.release()
    assert getattr(other, second)()


def test_it_tells_where_the_service_is_until_somebody_has_it_alone(tmp_path: Path) -> None:
    service, command = mark_in(tmp_path), mark_in(tmp_path)
    command.tell("nobody listens to this")
    assert command.told() == ""
    service.share()
    service.tell("http://127.0.0.1:8000/longer")
    service.tell("http://127.0.0.1:8000")
    assert command.told() == "http://127.0.0.1:8000"
    service.release()
    assert command.take_alone()
    assert command.told() == ""


def test_hold_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    program = (
        "import os, sys; from apikeyrouter.service import ServiceMark\n"
        "assert ServiceMark(sys.argv[1]).share(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{tmp_path}/a.db"], check=False
    )
    assert done.returncode == -9
    assert (tmp_path / "a.db.service").exists()
    assert mark_in(tmp_path).take_alone()


def test_links_to_one_file_lead_to_one_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    monkeypatch.chdir(tmp_path)
    holder = mark_in(tmp_path)
    assert holder.share()
    for other in (mark_in(tmp_path, "b.db"), ServiceMark("sqlite:///a.db?timeout=3")):
        assert not other.take_alone()
        assert other.store_id() == holder.store_id()


def test_stores_are_told_apart(tmp_path: Path) -> None:
    marks = [mark_in(tmp_path), mark_in(tmp_path, "b.db"), ServiceMark("redis://h/0")]
    marks += [ServiceMark("redis://h/1"), ServiceMark("memory://")]
    before = {mark.store_id() for mark in marks}
    assert len(before) == len(marks)
    for mark in marks:
        assert mark.share()
    assert len({mark.store_id() for mark in marks}) == len(marks)


@pytest.mark.parametrize("url", ["memory://", "redis://h/0", "postgresql://h/d"])
def test_store_that_is_no_file_has_none(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mark = ServiceMark(url)
    assert (mark.is_seen, mark.share(), mark.take_alone(), mark.told()) == (False, True, True, "")
    mark.tell("http://h")
    mark.release()
    assert database_file_of(url) is None
    assert list(tmp_path.iterdir()) == []


def test_mark_is_its_owners_alone(tmp_path: Path) -> None:
    mark_in(tmp_path).share()
    assert (tmp_path / "a.db.service").stat().st_mode & 0o777 == 0o600
