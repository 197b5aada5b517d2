"""What operators order in one process holds in the other, whatever store they share."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.fernet import Fernet
from object_provider import ObjectProvider
from openai import NotFoundError, OpenAI
from store_servers import mongo, postgres, valkey

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"X-API-Key": "management-key-of-the-tests"}
#: Within a second, on a machine that does something else too.
PATIENCE_S = 20.0


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/shared.db"


STORES = {"sqlite": sqlite, "postgres": postgres, "valkey": valkey, "mongo": mongo}


class Pair:
    """Two services over one store and one ledger."""

    def __init__(self, one: httpx2.Client, other: httpx2.Client) -> None:
        self.one, self.other = one, other
        self.took_s: dict[str, float] = {}

    def order(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Order something of the first."""
        return ordered(self.one, method, path, **body)

    def holds(self, name: str, is_so: Callable[[httpx2.Client], object]) -> None:
        """Wait until it holds for the other."""
        began = time.monotonic()
        while not is_so(self.other):
            assert time.monotonic() - began < PATIENCE_S, name
            time.sleep(0.01)
        self.took_s[name] = round(time.monotonic() - began, 3)


def ordered(client: httpx2.Client, method: str, path: str, **body: Any) -> dict[str, Any]:
    answer = client.request(method, f"/api/v1/{path}", json=body or None, headers=KEY)
    assert answer.status_code < 300, answer.text
    return dict(answer.json()) if answer.content else {}


def shown(client: httpx2.Client, path: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1/{path}", headers=KEY)
    return dict(answer.json()) if answer.status_code == 200 else {}


def ask(client: httpx2.Client, token: str | None, model: str = "small") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.post(
        "/v1/chat/completions", json={**CHAT, "model": model}, headers=headers
    ).status_code


Starter = Callable[..., Pair]


@pytest.fixture
def pair(
    serve: Callable[..., Any],
    simulator: RunningSimulator,
    config_for: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Starter]:
    """Start two services over a store of one kind."""
    monkeypatch.setenv("APIKEYROUTER_MANAGEMENT_API_KEY", KEY["X-API-Key"])
    monkeypatch.setenv("APIKEYROUTER_ENCRYPTION_KEY", Fernet.generate_key().decode())
    with ExitStack() as stack:

        def start(store: str = "sqlite", url: str = "") -> Pair:
            (tmp_path / "ledger").mkdir()
            ledger = stack.enter_context(valkey(tmp_path / "ledger"))
            kept = stack.enter_context(STORES[store](tmp_path))
            config = config_for(url or simulator.base_url(), ledger=ledger, store=kept)
            clients = []
            for _ in range(2):
                running = serve(config)
                # Before the servers are.
                stack.callback(running.stop)
                client = httpx2.Client(base_url=running.url, timeout=20)
                clients.append(stack.enter_context(client))
            return Pair(*clients)

        yield start


@pytest.mark.parametrize("store", STORES)
def test_orders_hold_in_the_other_process(pair: Starter, store: str) -> None:
    two = pair(store)
    new = {"id": "new", "provider": "p1", "secret": "sk-sim-2", "weight": 2.0}
    two.order("POST", "keys", **new)
    two.holds("key added", lambda c: shown(c, "keys/new").get("weight") == 2.0)
    two.order("PATCH", "keys/new", weight=3.0, limits={"rpm": 50})
    two.holds("key changed", lambda c: shown(c, "keys/new")["weight"] == 3.0)
    two.order("POST", "keys/new/rotate", secret="sk-sim-1")
    two.holds("key rotated", lambda c: shown(c, "keys/new")["revision"] >= 2)
    two.order("DELETE", "keys/new")
    two.holds("key revoked", lambda c: shown(c, "keys/new")["state"] == "disabled")
    two.order("POST", "aliases", name="fast", targets=["p1/small"])
    two.holds("alias added", lambda c: ask(c, None, "fast") == 200)
    two.order("DELETE", "aliases/fast")
    two.holds("alias removed", lambda c: not shown(c, "aliases/fast"))
    two.order(
        "POST",
        "policies",
        id="night",
        when={"hours": "22-06 Europe/Berlin"},
        then={"objective": "cost"},
    )
    two.holds("policy added", lambda c: shown(c, "policies/night"))
    two.order("DELETE", "policies/night")
    two.holds("policy removed", lambda c: not shown(c, "policies/night"))
    # The first client closes the service to whoever has no token.
    first = two.order("POST", "clients", name="team")["token"]
    two.holds("client added", lambda c: (ask(c, None), ask(c, first)) == (401, 200))
    second = two.order("POST", "clients/team/rotate")["token"]
    two.holds("client rotated", lambda c: (ask(c, first), ask(c, second)) == (401, 200))
    two.order("DELETE", "clients/team")
    two.holds("client revoked", lambda c: ask(c, second) == 401)
    print(store, two.took_s)


def test_key_of_a_provider_that_no_key_had_before_is_in_use_in_the_other(pair: Starter) -> None:
    two = pair()
    two.order("POST", "keys", id="groq-1", provider="groq", secret="gsk-1234567890")
    two.holds("key added", lambda c: shown(c, "keys/groq-1"))
    named = [one["id"] for one in shown(two.other, "providers")["items"] if one["configured"]]
    assert "groq" in named


def test_no_change_of_a_client_is_lost_among_two_processes(pair: Starter) -> None:
    """Whoever has not heard of the last one yet is refused, and not obeyed over it."""
    two = pair()
    token = two.order("POST", "clients", name="team")["token"]
    two.holds("client added", lambda c: shown(c, "clients/team"))
    statuses = [
        client.patch("/api/v1/clients/team", json={"tags": {f"t{n}": "x"}}, headers=KEY).status_code
        for n in range(10)
        for client in (two.one, two.other)
    ]
    assert set(statuses) <= {200, 409}
    made = statuses.count(200)
    assert made >= 10
    for client in (two.one, two.other):
        two.other = client
        two.holds("all are seen", lambda c: shown(c, "clients/team")["revision"] == made)
        assert ask(client, token) == 200


def test_objects_are_found_from_both(pair: Starter, serve: Callable[..., Any]) -> None:
    provider = ObjectProvider({"sk-sim-1": "one", "sk-sim-2": "two"})
    two = pair(url=serve(provider).url + "/v1")
    two.order("POST", "keys", id="key-2", provider="p1", secret="sk-sim-2")
    two.holds("key added", lambda c: shown(c, "keys/key-2"))
    token = two.order("POST", "clients", name="team")["token"]
    two.holds("client added", lambda c: shown(c, "clients/team"))
    with ExitStack() as stack:
        mine, theirs = (
            stack.enter_context(
                OpenAI(base_url=c.base_url.join("v1"), api_key=token, max_retries=0)
            )
            for c in (two.one, two.other)
        )
        names = [mine.files.create(file=b"{}", purpose="batch").id for _ in range(4)]
        two.holds("objects", lambda _: all(is_found(theirs, name) for name in names))
        provider.calls.clear()
        assert [theirs.files.retrieve(name).id for name in names] == names
        # Nothing had to be looked for.
        assert len(provider.calls) == len(names)


def is_found(client: OpenAI, name: str) -> bool:
    try:
        client.files.retrieve(name)
    except NotFoundError:
        return False
    return True
