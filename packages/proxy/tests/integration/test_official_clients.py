"""Every official client, sync and async, streamed or not, served by keys of every kind.

One test is one thing that users do; it holds for all clients and providers alike.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from official_client import Ask, Client
from official_clients import CLIENTS

from apikeyrouter_simulator import RunningSimulator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]
MODELS = {
    "chat": "gpt-5", "responses": "gpt-5-pro", "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3-pro",
}  # fmt: skip
SPEAKS = {
    "chat": ["openai"], "responses": ["openai", "responses"], "anthropic": ["anthropic"],
    "gemini": ["gemini"],
}  # fmt: skip
LIMITS = {"limits": {"rpm": 60000, "tpm": 90000000}}
PLACE: Any = {
    "type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"],
    "additionalProperties": False,
}  # fmt: skip
TOOLS = {"look": PLACE, "go": PLACE, "stay": PLACE}
MADE = 9


def provider_of(name: str, **more: Any) -> dict[str, Any]:
    return {
        "speaks": SPEAKS[name],
        "models": [MODELS[name]],
        "reply": {"tokens": MADE},
        "scopes": {"one": LIMITS, "two": LIMITS},
        "keys": {
            f"{name}-{n}": {"secret": f"sk-{name}-{n}", "scope": scope}
            for n, scope in ((1, "one"), (2, "two"))
        },
        **more,
    }


@pytest.fixture(scope="module")
def _simulated() -> Iterator[RunningSimulator]:
    with RunningSimulator({"providers": {name: provider_of(name) for name in MODELS}}) as running:
        yield running


@pytest.fixture
def simulated(_simulated: RunningSimulator) -> RunningSimulator:
    _simulated.reset()
    return _simulated


def config_of(simulated: RunningSimulator, **more: Any) -> dict[str, Any]:
    kinds = {"chat": "openai", "responses": "openai"}
    bases = {"chat": "/chat/v1", "responses": "/responses/v1"}
    providers: dict[str, Any] = {
        name: {
            "kind": kinds.get(name, name),
            "base_url": simulated.url + bases.get(name, f"/{name}"),
            "models": [MODELS[name]],
        }
        for name in MODELS
    }
    keys = [
        {"id": f"{name}-{n}", "provider": name, "secret": f"sk-{name}-{n}"}
        for name in MODELS
        for n in (1, 2)
    ]
    return {"providers": providers, "keys": keys, **more}


@pytest.fixture(scope="module")
def proxy(_simulated: RunningSimulator, serve_long: Callable[..., Any]) -> Any:
    """One service for all tests; those that break something start their own."""
    return serve_long(config_of(_simulated))


@pytest.fixture(params=list(CLIENTS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync", "async"])
def syncs(request: pytest.FixtureRequest) -> bool:
    return str(request.param) == "sync"


@pytest.fixture
async def client(kind: str, syncs: bool, proxy: Any) -> AsyncIterator[Client]:
    made = CLIENTS[kind](proxy.url, syncs=syncs)
    yield made
    await made.close()


@pytest.fixture
async def alone(
    kind: str, simulated: RunningSimulator, serve: Callable[..., Any]
) -> AsyncIterator[Client]:
    """An async client before a service of its own, which holds nothing when it is done."""
    proxy = serve(config_of(simulated, server={"max_queue_wait": 0}))
    made = CLIENTS[kind](proxy.url, syncs=False)
    yield made
    await made.close()
    assert proxy.app.router.get_state_summary()["open_reservations"] == 0


@pytest.fixture(params=list(MODELS))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(provider: str) -> str:
    return MODELS[provider]


def counted(simulated: RunningSimulator) -> tuple[int, int]:
    """Return the tokens that the providers counted, input and output."""
    keys = simulated.stats()["keys"].values()
    return sum(key["input_tokens"] for key in keys), sum(key["output_tokens"] for key in keys)


async def test_chat_and_its_usage(client: Client, model: str, simulated: RunningSimulator) -> None:
    for streams in (False, True):
        simulated.reset()
        said = await client.say(model, [client.user("Hi!")], Ask("Be brief."), streams=streams)
        assert said.text.strip() == "the router finds a key with room and says"
        assert said.finish == "stop"
        assert (said.given, said.made) == counted(simulated)


async def test_cap_is_told_as_length(client: Client, model: str) -> None:
    """Some clients' own streams raise where an answer is cut short."""
    said = await client.say(model, [client.user("Hi!")], Ask(cap=5), streams=False)
    assert said.finish == "length"


@pytest.mark.parametrize("thinks", [False, True], ids=["quick", "thinking"])
@pytest.mark.parametrize("count", [1, 3])
async def test_tools_are_called_and_take_results(
    client: Client, model: str, syncs: bool, count: int, thinks: bool
) -> None:
    tools = dict(list(TOOLS.items())[:count])
    ask = Ask("Be brief.", tools, thinks=thinks)
    turns = [client.user("[[parallel]] Look!")]
    said = await client.say(model, turns, ask, streams=not syncs)
    assert said.finish == "tools"
    assert said.names == list(tools)
    assert [arguments for _, _, arguments in said.calls] == [{"place": "here"}] * count
    turns += [*said.turn, *client.results(said, "a tree")]
    then = await client.say(model, turns, ask, streams=not syncs)
    assert then.finish == "stop"
    assert then.text
    turns += [*then.turn, client.user("And now?")]
    again = await client.say(model, turns, ask, streams=not syncs)
    assert again.finish == "tools"


async def test_thoughts_are_counted_and_go_back(
    client: Client, model: str, syncs: bool, simulated: RunningSimulator
) -> None:
    """Providers refuse proofs that are not their own, and the two keys are of two accounts."""
    turns = [client.user("Hi!")]
    for _ in range(3):
        before = counted(simulated)
        said = await client.say(model, turns, Ask(thinks=True), streams=not syncs)
        assert said.text
        given, made = counted(simulated)
        assert (said.given, said.made) == (given - before[0], made - before[1])
        turns += [*said.turn, client.user("And?")]


async def test_pictures_and_documents_are_taken(client: Client, model: str) -> None:
    turn = client.user("What is it?", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4")
    assert (await client.say(model, [turn], Ask(), streams=False)).text


async def test_schemas_and_stops_are_taken(client: Client, model: str) -> None:
    ask = Ask(schema=PLACE, stop=["END"])
    assert (await client.say(model, [client.user("Where?")], ask, streams=False)).text


async def test_unknown_model_is_named(client: Client) -> None:
    with pytest.raises(client.errors["unknown"], match="none-such"):
        await client.say("none-such", [client.user("Hi!")], Ask(), streams=False)


@pytest.mark.parametrize(
    ("condition", "error", "streams"),
    [
        ({"kind": "status", "status": 400}, "invalid", False),
        ({"kind": "status", "status": 429, "retry_after_s": 7}, "limited", False),
        ({"kind": "status", "status": 529}, "overloaded", False),
        ({"kind": "cut", "chunks": 4}, "broken", True),
        ({"kind": "stream_error", "chunks": 4, "status": 529}, "broken", True),
    ],
    ids=["400", "429", "529", "cut", "stream_error"],
)
async def test_what_befalls_all_keys_is_raised(
    alone: Client, provider: str, model: str, simulated: RunningSimulator,
    condition: Any, error: str, streams: bool,
) -> None:  # fmt: skip
    simulated.condition(**condition, provider=provider)
    with pytest.raises(alone.errors[error]) as caught:
        await alone.say(model, [alone.user("Hi!")], Ask(), streams=streams)
    if error == "limited":
        answer: Any = caught.value
        told = answer.response.headers.get("retry-after")
        assert 0 < float(told) <= 8


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "revoked_key"},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 529},
        {"kind": "cut", "chunks": 0},
    ],
    ids=["revoked", "429", "529", "cut"],
)
async def test_what_befalls_one_key_is_unseen(
    alone: Client, provider: str, model: str, simulated: RunningSimulator, condition: Any
) -> None:
    simulated.condition(**condition, key=f"{provider}-1")
    for _ in range(3):
        said = await alone.say(model, [alone.user("Hi!")], Ask(), streams=True)
        assert said.text.strip().endswith("and says")
