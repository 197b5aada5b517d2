"""Lines go to stderr, secrets do not, and nothing that happens here reaches the caller."""

import io
import json
import logging
import sys
from typing import Any, get_args

import msgspec
import pytest
import structlog

from apikeyrouter.domain.feed.events import (
    AttemptEnded,
    CircuitMoved,
    Event,
    KeyMoved,
    LimitLearned,
    ScopesJoined,
)
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.observability.logger import (
    DefaultObservabilityManager,
    mask_secrets,
)

pytestmark = pytest.mark.unit

AT = 1_700_000_000.25
MOVED = KeyMoved("k1", "openai", "available", "throttled", "rate_limited", at=AT)
LEARNED = LimitLearned("s1", "requests per minute", None, 60.0, "header", at=AT)
JOINED = ScopesJoined("s1", "s2", True, "organization", 1.0, at=AT)
CIRCUIT = CircuitMoved("openai", "gpt-4o", "open", "server_error", at=AT)
ENDED = AttemptEnded("r1", "k1", "openai", "gpt-4o", "ok", 0.4, 10, 20, at=AT)
INVALID = KeyMoved("k1", "openai", "available", "invalid", "key_invalid", at=AT)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_event_becomes_one_line_with_all_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    DefaultObservabilityManager().emit(MOVED)
    [line] = _lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "key moved",
        "level": "info",
        "at": "2023-11-14T22:13:20.250+00:00",
        "key_id": "k1",
        "provider_id": "openai",
        "from_state": "available",
        "to_state": "throttled",
        "trigger": "rate_limited",
    }


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (MOVED, "info"),
        (LEARNED, "info"),
        (JOINED, "info"),
        (CIRCUIT, "warning"),
        (INVALID, "warning"),
        (ENDED, "debug"),
    ],
)
def test_each_event_has_its_level(
    capsys: pytest.CaptureFixture[str], event: Event, level: str
) -> None:
    DefaultObservabilityManager("DEBUG").emit(event)
    assert [level] == [line["level"] for line in _lines(capsys)]


@pytest.mark.parametrize(
    ("least", "written"),
    [
        ("debug", ["info", "warning", "debug", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("Warning", ["warning", "error"]),
        ("CRITICAL", []),
    ],
)
def test_what_is_below_the_level_is_not_written(
    capsys: pytest.CaptureFixture[str], least: str, written: list[str]
) -> None:
    manager = DefaultObservabilityManager(least)
    for event in (MOVED, CIRCUIT, ENDED):
        manager.emit(event)
    manager.log("error", "something broke")
    assert written == [line["level"] for line in _lines(capsys)]


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown log level 'loud'"):
        DefaultObservabilityManager("loud")


def test_line_has_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    DefaultObservabilityManager().log("info", "started", keys=3, event="mine", timestamp="now")
    [line] = _lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "started",
        "level": "info",
        "keys": 3,
        "event_": "mine",
        "timestamp_": "now",
    }


@pytest.mark.parametrize(
    "secret",
    [
        "sk-your-key-1",
        "sk-proj-AbC_123-xyz",
        "sk-ant-api03-aaaa",
        "gsk_0123456789abcdef",
        "AIzaSyA-0123456789",
        "Bearer abc.def.ghi",
        "bearer abc+def/ghi==",
        "xai-0123456789",
    ],
)
def test_secret_is_masked_wherever_it_stands(
    capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    DefaultObservabilityManager().log(
        "warning",
        f"refused: {secret}",
        text=f"Authorization: {secret}, and more",
        nested={"headers": [("authorization", secret)], secret: 1},
        error=ValueError(f"bad key {secret}"),
        raw=secret.encode(),
    )
    [line] = _lines(capsys)
    assert secret not in json.dumps(line)
    assert line["event"] == "refused: [masked]"
    assert line["text"] == "Authorization: [masked], and more"


@pytest.mark.parametrize("text", ["task-force", "the Bearer", "key 3f2a", "ask-me-anything"])
def test_ordinary_words_are_not_masked(text: str) -> None:
    assert text == mask_secrets(text)


class _Sulky:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "context", [{"value": _Sulky()}, {"value": object()}, {"value": {1: {2}}}, {"self_": "x"}]
)
def test_logging_never_raises(
    capsys: pytest.CaptureFixture[str], context: dict[str, object]
) -> None:
    manager = DefaultObservabilityManager()
    manager.log("info", "odd %s", **context)
    manager.log("strange level", "still here")
    assert "still here" in [line["event"] for line in _lines(capsys)]


@pytest.mark.parametrize("stream", [None, "closed"])
def test_logging_without_a_stderr_never_raises(
    monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    closed = io.StringIO()
    closed.close()
    manager = DefaultObservabilityManager()
    monkeypatch.setattr(sys, "stderr", closed if stream else None)
    manager.log("error", "nobody reads this")
    manager.emit(CIRCUIT)


def test_logging_of_the_host_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config(), list(logging.getLogger().handlers), logging.getLogger().level
    DefaultObservabilityManager("DEBUG").emit(MOVED)
    after = structlog.get_config(), list(logging.getLogger().handlers), logging.getLogger().level
    assert before == after
    assert not structlog.is_configured()


@pytest.mark.parametrize(
    ("least", "wanted"),
    [
        ("DEBUG", {KeyMoved, LimitLearned, ScopesJoined, CircuitMoved, AttemptEnded}),
        ("INFO", {KeyMoved, LimitLearned, ScopesJoined, CircuitMoved}),
        ("WARNING", {KeyMoved, CircuitMoved}),
        ("ERROR", set()),
    ],
)
def test_only_what_may_be_written_is_wanted(least: str, wanted: set[type[Event]]) -> None:
    manager = DefaultObservabilityManager(least)
    kinds = (KeyMoved, LimitLearned, ScopesJoined, CircuitMoved, AttemptEnded)
    assert {kind for kind in kinds if manager.wants(kind)} == wanted


def test_subclass_that_takes_events_itself_is_given_all_of_them() -> None:
    class Counting(DefaultObservabilityManager):
        def emit(self, event: Event) -> None:
            raise NotImplementedError

    class Choosy(Counting):
        def wants(self, kind: type[Event]) -> bool:
            return kind is KeyMoved

    assert Counting("CRITICAL").wants(AttemptEnded)
    assert not Choosy("CRITICAL").wants(AttemptEnded)


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__name__)
def test_every_event_has_one_line_named_by_words(
    capsys: pytest.CaptureFixture[str], kind: type[Event]
) -> None:
    facts: dict[str, Any] = {field.name: 1 for field in msgspec.structs.fields(kind)}
    DefaultObservabilityManager("DEBUG").emit(kind(**facts))
    [line] = _lines(capsys)
    facts["at"] = "1970-01-01T00:00:01.000+00:00"
    assert line["event"].replace(" ", "") == kind.__name__.lower()
    assert facts.items() <= line.items()


def test_what_an_attempt_used_stands_beside_its_other_facts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = Usage(10, 20, 4, cost_usd=0.25, exact=False)
    DefaultObservabilityManager("DEBUG").emit(msgspec.structs.replace(ENDED, usage=usage))
    [line] = _lines(capsys)
    told = {name: line[name] for name in ("cached_tokens", "cost_usd", "exact")}
    assert told == {"cached_tokens": 4, "cost_usd": 0.25, "exact": False}
    assert "usage" not in line
