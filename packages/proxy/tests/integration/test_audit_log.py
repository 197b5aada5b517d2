"""The audit log: every change is in it, and whoever tampers with it is found out."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from apikeyrouter.service import store_at

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
KEY = {"X-API-Key": "management-key-of-the-tests"}
SECRET = "sk-that-nobody-may-see-77"


@pytest.fixture
def client(manage: Callable[..., httpx2.Client]) -> httpx2.Client:
    client = manage()
    client.headers.update(KEY)
    return client


def change_things(client: httpx2.Client) -> str:
    """Make five changes; return the secret token that came of one."""
    client.post("/api/v1/keys", json={"provider": "p1", "id": "two", "secret": SECRET})
    client.patch("/api/v1/keys/two", json={"weight": 2})
    client.post("/api/v1/keys/two/rotate", json={"secret": f"{SECRET}-2"})
    client.delete("/api/v1/keys/two")
    token: str = client.post("/api/v1/clients", json={"name": "team"}).json()["token"]
    return token


def rows_of(client: httpx2.Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["items"]
    return rows


def tamper(
    folder: Path, number: int, change: Callable[[Mapping[str, Any]], dict[str, Any] | None]
) -> None:
    """Change one row behind the service's back; `None` removes it."""

    async def write() -> None:
        store = store_at(f"sqlite:///{folder}/router.db")
        document = (await store.list_documents("Audit"))[number - 1]
        body = change(document.body)
        if body is None:
            await store.delete_document("Audit", document.id)
        else:
            await store.save_document(replace(document, body=body))
        await store.close()

    asyncio.run(write())


def verify(folder: Path) -> tuple[int, dict[str, Any]]:
    (folder / "router.yaml").write_text(f"version: 1\nstore: sqlite:///{folder}/router.db\n")
    done = subprocess.run(
        [COMMAND, "audit", "verify", "--json", "--config", "router.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_change_is_noted_with_what_was_and_what_is(client: httpx2.Client) -> None:
    token = change_things(client)
    refused = client.patch("/api/v1/keys/two", json={"state": "recovering"})
    assert refused.status_code == 409
    rows = rows_of(client)
    assert [(row["number"], row["action"], row["target"]) for row in rows] == [
        (5, "client.add", "team"),
        (4, "key.revoke", "two"),
        (3, "key.rotate", "two"),
        (2, "key.change", "two"),
        (1, "key.add", "two"),
    ]
    assert (rows[3]["before"]["weight"], rows[3]["after"]["weight"]) == (1, 2)
    assert (rows[4]["before"], rows[4]["after"]["id"]) == ({}, "two")
    assert rows[1]["after"]["state"] == "disabled"
    assert all(row["peer"] == "127.0.0.1" and row["request_id"] for row in rows)
    for secret in (SECRET, token, KEY["X-API-Key"]):
        assert secret not in json.dumps(rows)
    assert [row["number"] for row in rows_of(client, target="two", limit=2)] == [4, 3]
    assert [row["number"] for row in rows_of(client, action="client.add")] == [5]


def test_the_chain_goes_on_after_a_restart_and_is_whole(
    manage: Callable[..., httpx2.Client], client: httpx2.Client, tmp_path: Path
) -> None:
    change_things(client)
    client.running.stop()
    again = manage()
    again.headers.update(KEY)
    again.patch("/api/v1/keys/key-1", json={"weight": 2})
    last = rows_of(again)[0]
    again.running.stop()
    status, verdict = verify(tmp_path)
    assert (status, verdict) == (0, {"rows": 6, "last_hash": last["hash"], "problems": []})


@pytest.mark.parametrize(
    ("number", "change", "said"),
    [
        (2, lambda row: {**row, "target": "other"}, "row 2 was changed"),
        (3, lambda row: None, "row 4 comes where row 3 should"),
        (2, lambda row: {**row, "hash": "0" * 64}, "row 2 was changed"),
        (4, lambda row: {**row, "previous": "0" * 64}, "row 4 does not follow"),
    ],
)
def test_tampering_is_found(
    client: httpx2.Client, tmp_path: Path, number: int, change: Any, said: str
) -> None:
    change_things(client)
    client.running.stop()
    tamper(tmp_path, number, change)
    status, verdict = verify(tmp_path)
    assert status == 1
    assert said in verdict["problems"][0]
