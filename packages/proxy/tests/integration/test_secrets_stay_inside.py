"""No secret of a whole run is in what the service says, keeps or answers."""

import base64
import secrets
from pathlib import Path
from typing import Any

import httpx2
import pytest
from command_site import CommandSite

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


class Secrets:
    """Every secret that the run uses, by what it is for."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {
            name: f"{prefix}{secrets.token_hex(20)}"
            for name, prefix in {
                "file key": "sk-", "added key": "sk-", "rotated key": "sk-", "imported key": "sk-",
                "wrong key": "sk-", "refused key": "sk-", "misplaced key": "sk-",
                "file client": "tok-", "management": "mgm-", "reading": "mgr-",
                "wrong management": "mgw-", "admin": "sk-admin-", "wrong client": "tok-",
                "previewed key": "sk-", "reloaded key": "sk-", "environment key": "sk-",
            }.items()
        }  # fmt: skip
        self.of["encryption"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()

    def __getitem__(self, name: str) -> str:
        return self.of[name]

    def found_in(self, data: bytes) -> list[str]:
        """Return whose secrets are in *data*, plainly or as base64 of it."""
        found = []
        for name, secret in self.of.items():
            plain = secret.encode()
            forms = [plain, base64.b64encode(plain)[:-4]]
            if any(form in data for form in forms):
                found.append(name)
        return found


class Heard:
    """Answers of the service, but for what hands out a token."""

    def __init__(self, url: str, secret: Secrets) -> None:
        self.client = httpx2.Client(base_url=url, timeout=20)
        self.manager = {"X-API-Key": secret["management"]}
        self.said: dict[str, bytes] = {}

    def send(self, method: str, path: str, *statuses: int, **more: Any) -> httpx2.Response:
        answer = self.client.request(method, path, **more)
        assert answer.status_code in statuses, (path, answer.text)
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.said[f"{len(self.said)} {method} {path}"] = head.encode() + b"\n" + answer.content
        return answer

    def manage(self, method: str, path: str, *statuses: int, **more: Any) -> httpx2.Response:
        return self.send(method, f"/api/v1{path}", *statuses, headers=self.manager, **more)


@pytest.fixture
def secret() -> Secrets:
    return Secrets()


def scenario(secret: Secrets) -> dict[str, Any]:
    known = ("file key", "added key", "rotated key", "imported key")
    limits = {"one": {"limits": {"rpm": 60000, "tpm": 100000000}}}
    keys = {name.replace(" ", "-"): {"secret": secret[name], "scope": "one"} for name in known}
    sim = {"reply": {"tokens": 8}, "models": ["small"], "scopes": limits, "keys": keys}
    return {"providers": {"sim": sim}}


def configuration(secret: Secrets, base_url: str) -> str:
    return (
        "store: sqlite:///site.db\nserver: {port: 0}\n"
        f"providers:\n  sim: {{kind: openai, base_url: '{base_url}'}}\n"
        f"  openai: {{base_url: '{base_url}', admin_secret: '{secret['admin']}'}}\n"
        f"keys:\n  - {{id: one, provider: sim, secret: '{secret['file key']}'}}\n"
        f"clients:\n  - {{name: team, token: '{secret['file client']}'}}\n"
    )


def use_all(heard: Heard, secret: Secrets, site: CommandSite) -> None:
    """Serve, manage, and make every mistake that could repeat a secret."""
    manage = heard.manage

    def chat(token: str, *statuses: int, **more: Any) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        heard.send("POST", "/v1/chat/completions", *statuses, json={**CHAT, **more},
                   headers=headers)  # fmt: skip

    chat(secret["file client"], 200)
    chat(secret["file client"], 200, stream=True)
    chat(secret["file client"], 404, model="none")
    chat(secret["wrong client"], 401)
    heard.send("GET", "/api/v1/keys", 401, headers={"X-API-Key": secret["wrong management"]})
    heard.send("POST", "/api/v1/keys", 403, headers={"X-API-Key": secret["reading"]}, json={})
    manage(
        "POST", "/keys", 201, json={"id": "two", "provider": "sim", "secret": secret["added key"]}
    )
    manage("POST", "/keys", 409, json={"id": "x", "provider": "sim", "secret": secret["added key"]})
    manage("POST", "/keys/two/rotate", 200, json={"secret": secret["rotated key"]})
    rows = [{"id": "three", "provider": "sim", "secret": secret["imported key"]}]
    manage("POST", "/keys/import", 200, 201, json=rows)
    manage(
        "POST", "/keys", 201, json={"id": "bad", "provider": "sim", "secret": secret["wrong key"]}
    )
    manage("POST", "/keys/bad/test", 200)
    for _ in range(6):
        chat(secret["file client"], 200)
    refused = secret["refused key"]
    for body in (
        {"provider": "sim", "secret": f"{refused} with blanks"},
        {"provider": "sim", "secret": [refused]},
        {"provider": "sim", "secret": refused, "weight": refused},
        {"provider": "none", "secret": refused},
    ):
        manage("POST", "/keys", 422, json=body)
    manage("POST", "/keys/import", 422, json=[{"provider": "none", "secret": refused}])
    manage("PATCH", "/keys/two", 422, json={"secret": secret["misplaced key"]})
    added = heard.client.post("/api/v1/clients", json={"name": "new"}, headers=heard.manager)
    secret.of["added client"] = added.json()["token"]
    rotated = heard.client.post(
        "/api/v1/clients/new/rotate", json={"overlap_s": 60}, headers=heard.manager
    )
    secret.of["rotated client"] = rotated.json()["token"]
    chat(secret["added client"], 200)
    chat(secret["rotated client"], 200)
    preview = configuration(secret, "http://127.0.0.1:9/v1").replace(
        secret["file key"], secret["previewed key"]
    )
    yaml = {"headers": {**heard.manager, "Content-Type": "application/yaml"}}
    for text in (preview, preview.replace("keys:", "kyes:"), preview + "  : - }"):
        heard.send("POST", "/api/v1/config/validate", 200, 422, content=text, **yaml)
    file = site.folder / "site.yaml"
    file.write_text(file.read_text() + f"kyes: ['{secret['reloaded key']}']\n")
    manage("POST", "/config/reload", 422)
    heard.send("GET", "/ready", 200, 503)
    for path in (
        "keys", "keys/two", "clients", "clients/team", "clients/new", "providers?configured=true",
        "accounts", "state", "requests", "usage?group_by=key", "audit?limit=1000", "config",
        "aliases", "policies",
    ):  # fmt: skip
        manage("GET", f"/{path}", 200)
    name = manage("GET", "/requests", 200).json()["items"]
    for one in name[:3]:
        manage("GET", f"/requests/{one['request_id']}", 200)
    for path in ("/metrics", "/health", "/openapi.json", "/docs"):
        heard.send("GET", path, 200, 401, 404)


def test_no_secret_is_said_kept_or_answered(tmp_path: Path, secret: Secrets) -> None:
    with RunningSimulator(scenario(secret)) as simulator:
        site = CommandSite(tmp_path, simulator.base_url())
        site.env |= {
            "APIKEYROUTER_MANAGEMENT_API_KEY": secret["management"],
            "APIKEYROUTER_MANAGEMENT_READ_KEY": secret["reading"],
            "APIKEYROUTER_ENCRYPTION_KEY": secret["encryption"],
            "APIKEYROUTER_LOG_LEVEL": "DEBUG",
        }
        site.configure(configuration(secret, simulator.base_url()))
        good = (tmp_path / "site.yaml").read_text()
        with site.serving() as url:
            heard = Heard(url, secret)
            use_all(heard, secret, site)
            (tmp_path / "site.yaml").write_text(good)
            for command in (["keys", "list"], ["clients", "list"], ["audit", "list"]):
                assert site.run(*command, "--json").status == 0
            while_running = kept_by(site)
        for arguments in (["check-config", "--json"], ["check-config"], ["keys", "list"],
                          ["audit", "verify"], ["clients", "list", "--json"]):  # fmt: skip
            site.run(*arguments)
        # Whoever is killed leaves files as they were.
        with site.serving(kill=True) as url:
            heard.client.base_url = httpx2.URL(url)
            heard.manage("GET", "/keys", 200)
            heard.client.close()
    said = {
        **heard.said, "what it printed": site.said.encode(), **kept_by(site),
        **{f"{name} while running": data for name, data in while_running.items()},
    }  # fmt: skip
    assert any(name.endswith("-wal while running") for name in said), sorted(said)
    assert len(site.said) > 1000
    assert {name: found for name, data in said.items() if (found := secret.found_in(data))} == {}


def kept_by(site: CommandSite) -> dict[str, bytes]:
    """Return every file of the folder but the configuration, which is the operator's own."""
    return {
        path.name: path.read_bytes()
        for path in site.folder.rglob("*")
        if path.is_file() and path.name != "site.yaml"
    }


def test_a_secret_would_be_found(secret: Secrets) -> None:
    key = secret["file key"].encode()
    assert secret.found_in(b"..." + key + b"...") == ["file key"]
    assert secret.found_in(base64.b64encode(key)) == ["file key"]
    assert secret.found_in(b"nothing") == []
