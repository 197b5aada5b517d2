"""Every manner that ships as a scenario: what it admits, charges, gives back and tells, and when.

Requests go to the application itself, with a clock that is given.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from apikeyrouter_simulator import create_app
from apikeyrouter_simulator.library import find, names, summary_of
from apikeyrouter_simulator.quotas.limits import Admission, Shortfall
from apikeyrouter_simulator.scenario import ReplyFacts
from apikeyrouter_simulator.world import World

pytestmark = pytest.mark.unit

MANNERS = [name for name in names() if name != "demo"]
#: 100 bytes of body are 25 tokens by the body, 20 of text.
TEXT_TOKENS, REPLY_TOKENS, CAP = 20, 30, 400


def body(size: int = 0) -> bytes:
    """Return a request whose text is 20 tokens; the body is filled up to *size* bytes."""
    text = "x" * (TEXT_TOKENS * 4 - 16)
    data = {
        "model": "m",
        "max_tokens": CAP,
        "messages": [{"role": "user", "content": text}],
        "user": "",
    }
    data["user"] = "u" * max(0, size - len(json.dumps(data)))
    return json.dumps(data).encode()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    data: Any

    def told(self) -> dict[str, str]:
        """Return the headers that tell of limits."""
        return {
            name.removeprefix("x-ratelimit-"): value
            for name, value in self.headers.items()
            if name.startswith(("x-ratelimit-", "retry-after"))
        }


class Lab:
    """A scenario at work, with answers that are made at once and a clock that is set."""

    def __init__(self, name: str) -> None:
        scenario = find(name)
        scenario.providers["lab"].reply = ReplyFacts(tokens=REPLY_TOKENS)
        self.now = 1000.0
        self.app = create_app(scenario, lambda: self.now)

    def at(self, seconds: float) -> "Lab":
        """Let it be so many seconds after the start."""
        self.now = 1000.0 + seconds
        return self

    def ask(self, key: str = "a", size: int = 0) -> Answer:
        return asyncio.run(self._ask(key, body(size)))

    def ask_many(self, times: int, key: str = "a") -> Answer:
        """Ask so often, and return the last answer."""
        for _ in range(times - 1):
            self.ask(key)
        return self.ask(key)

    async def _ask(self, key: str, content: bytes) -> Answer:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content}

        async def send(message: Any) -> None:
            sent.append(message)

        authorization = (b"authorization", f"Bearer sk-sim-{key}".encode())
        path = "/v1/chat/completions"
        scope = {"type": "http", "method": "POST", "path": path, "headers": [authorization]}
        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, json.loads(sent[1]["body"]))


def test_full_headers_tell_limit_rest_and_time_until_full() -> None:
    told = Lab("full-headers").ask_many(3).told()
    assert told["limit-requests"] == "300"
    assert told["remaining-requests"] == "297"
    assert told["reset-requests"] == "600ms"
    assert told["limit-tokens"] == "400000"


def test_full_headers_refuse_with_figures_and_wait() -> None:
    refused = Lab("full-headers").ask_many(301)
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["retry-after-ms"] == "200"
    assert refused.data["error"]["code"] == "rate_limit_exceeded"
    assert "Limit 300, Used 300, Requested 1" in refused.data["error"]["message"]
    assert "try again in 200ms" in refused.data["error"]["message"]


def test_full_headers_admit_one_more_after_the_wait() -> None:
    lab = Lab("full-headers")
    lab.ask_many(301)
    assert [lab.at(0.2).ask().status, lab.ask().status] == [200, 429]


@pytest.mark.parametrize(
    ("name", "key", "limit", "charged"),
    [
        ("charged-for-cap", "a", 72_000, 400 // 4 + CAP),
        ("charged-then-settled", "a", 36_000, TEXT_TOKENS + REPLY_TOKENS),
        ("charged-when-done", "a", 36_000, TEXT_TOKENS + REPLY_TOKENS),
        ("three-classes", "e", 30_000, 400 // 4 + CAP),
    ],
)
def test_tokens_are_charged_in_its_manner_once_the_answer_is_done(
    name, key, limit, charged
) -> None:
    answer = Lab(name).ask(key, size=400)
    assert answer.data["usage"]["total_tokens"] == TEXT_TOKENS + REPLY_TOKENS
    assert answer.told()["limit-tokens"] == str(limit)
    assert answer.told()["remaining-tokens"] == str(limit - charged)


@pytest.mark.parametrize(
    ("name", "while_running"),
    [("charged-for-cap", 500), ("charged-then-settled", 500), ("charged-when-done", 0)],
)
def test_tokens_are_held_in_its_manner_while_the_answer_is_made(name, while_running) -> None:
    world = World(find(name), 0.0)
    key = world.keys["lab", "sk-sim-a"]
    assert isinstance(world.admit(key, 500, 100, 0.0), Admission)
    (used,) = (r.used for r in key.scope.limits.readings() if r.kind.name == "tpm")
    assert used == while_running


def test_charge_when_done_admits_while_anything_is_left_and_may_overdraw() -> None:
    world = World(find("charged-when-done"), 0.0)
    key = world.keys["lab", "sk-sim-f"]
    first, second = (world.admit(key, 1, 1, 0.0) for _ in range(2))
    assert isinstance(first, Admission)
    assert isinstance(second, Admission)
    world.settle(key, first, (13_000, 999), 0.0, "accepted")
    third = world.admit(key, 20_000, 20_000, 0.0)
    assert isinstance(third, Admission)
    world.settle(key, second, (1_401, 0), 0.0, "accepted")
    assert isinstance(world.admit(key, 1, 1, 5.9), Shortfall)
    assert isinstance(world.admit(key, 1, 1, 6.1), Admission)


def test_tokens_that_never_come_back_are_refilled_alone() -> None:
    lab = Lab("charged-for-cap")
    before = int(lab.ask("f", size=400).told()["remaining-tokens"])
    after = int(lab.at(0.5).ask("f", size=400).told()["remaining-tokens"])
    assert after == before + 28_000 // 120 - 500


def test_remaining_alone_is_told() -> None:
    told = Lab("remaining-only").ask().told()
    assert set(told) == {"remaining-requests", "remaining-tokens"}
    assert told["remaining-requests"] == "299"


def test_remaining_alone_is_told_with_a_refusal_too_and_no_wait() -> None:
    refused = Lab("remaining-only").ask_many(91, "f")
    assert refused.status == 429
    assert set(refused.told()) == {"remaining-requests", "remaining-tokens"}
    assert refused.told()["remaining-requests"] == "0"
    assert refused.data["error"]["message"] == "Too many requests."


def test_keys_of_one_organization_share_and_nothing_says_so() -> None:
    lab = Lab("shared-organization")
    lab.ask_many(480)
    refused = lab.ask("b")
    assert refused.status == 429
    assert "openai-organization" not in refused.headers
    assert "org" not in refused.data["error"]["message"]
    assert lab.ask("c").status == 200


@pytest.mark.parametrize(
    ("name", "key", "limit", "told"),
    [
        ("retry-after-only", "f", 90, {"retry-after": "1"}),
        ("no-hint", "f", 90, {}),
        ("sliding-minute", "f", 150, {}),
    ],
)
def test_without_headers_only_a_refusal_tells_anything(name, key, limit, told) -> None:
    lab = Lab(name)
    served, refused = lab.ask_many(limit, key), lab.ask(key)
    assert (served.status, served.told()) == (200, {})
    assert (refused.status, refused.told()) == (429, told)
    assert refused.data["error"]["message"] == "Too many requests."


def test_retry_after_is_true() -> None:
    lab = Lab("retry-after-only")
    lab.ask_many(91, "f")
    assert lab.at(1.0).ask("f").status == 200


def test_sliding_minute_gives_back_what_is_a_minute_old() -> None:
    lab = Lab("sliding-minute")
    lab.ask_many(100)
    lab.at(30).ask_many(50)
    assert lab.at(59.9).ask().status == 429
    lab.at(60).ask_many(100)
    assert lab.ask().status == 429


def test_only_two_calls_at_once_are_let_in() -> None:
    world = World(find("calls-at-once"), 0.0)
    key = world.keys["lab", "sk-sim-a"]
    first, _ = (world.admit(key, 1, 1, 0.0) for _ in range(2))
    assert isinstance(world.admit(key, 1, 1, 0.0), Shortfall)
    assert isinstance(first, Admission)
    world.settle(key, first, (1, 1), 0.4, "accepted")
    assert isinstance(world.admit(key, 1, 1, 0.4), Admission)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hidden-calls-at-once", {"limit-requests", "remaining-requests", "reset-requests"}),
        ("hidden-tokens", {"limit-requests", "remaining-requests", "reset-requests"}),
    ],
)
def test_what_is_scarce_is_told_by_no_header(name, told) -> None:
    assert set(Lab(name).ask().told()) == told


def test_hidden_tokens_are_refused_with_their_wait() -> None:
    world = World(find("hidden-tokens"), 0.0)
    key = world.keys["lab", "sk-sim-f"]
    assert isinstance(world.admit(key, 14_000, 1, 0.0), Admission)
    refused = world.admit(key, 1_400, 1, 0.0)
    assert isinstance(refused, Shortfall)
    assert (refused.limit_name, refused.wait_s) == ("tpm", pytest.approx(6.0))


def test_only_three_calls_at_once_are_let_in_though_the_minute_has_room() -> None:
    world = World(find("hidden-calls-at-once"), 0.0)
    key = world.keys["lab", "sk-sim-a"]
    admitted = [isinstance(world.admit(key, 1, 1, 0.0), Admission) for _ in range(4)]
    assert admitted == [True, True, True, False]


@pytest.mark.parametrize(("at", "remaining"), [(0, 300 - 5 - 1), (3, 300 - 5 - 1), (2.9, 299)])
def test_somebody_else_takes_a_third_of_what_is_refilled(at, remaining) -> None:
    told = Lab("used-by-others").at(at).ask().told()
    assert told["remaining-requests"] == str(remaining)


def test_fixed_minute_ends_at_its_reset_and_then_every_minute() -> None:
    lab = Lab("fixed-minute")
    refused = lab.ask_many(301)
    assert (refused.status, refused.told()["reset-requests"]) == (429, "25s")
    assert lab.at(24.9).ask().status == 429
    assert lab.at(25).ask().told()["remaining-requests"] == "299"
    assert lab.at(25).ask().told()["reset-requests"] == "1m0s"


@pytest.mark.parametrize("name", MANNERS)
def test_every_manner_has_six_keys_and_says_what_it_is(name) -> None:
    scenario = find(name)
    assert sum(len(provider.keys) for provider in scenario.providers.values()) == 6
    assert 20 < len(summary_of(name)) < 90


@pytest.mark.parametrize("name", MANNERS)
def test_answers_differ_in_size_and_are_the_same_in_every_run(name) -> None:
    draws = []
    for _ in range(2):
        world = World(find(name), 0.0)
        key = world.keys["lab", "sk-sim-a"]
        draws.append([world.draw_reply(key, 1000) for _ in range(200)])
    assert draws[0] == draws[1]
    assert len({reply.tokens for reply in draws[0]}) > 20
