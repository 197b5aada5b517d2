"""Anthropic's adapter: its headers, its lists, its pools, and intents it serves."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.domain.models.token_usage import TokenUsage
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.anthropic_adapter import (
    ADMISSION,
    AnthropicAdapter,
    group_of,
)
from apikeyrouter.infrastructure.adapters.provider_catalogue import custom_adapter, make_adapter
from apikeyrouter.infrastructure.adapters.transport import Transport

pytestmark = pytest.mark.unit


class Pages(Transport):
    """Answers by URL, and notes what it was asked."""

    def __init__(self, answers: Mapping[str, Any], status: int = 200) -> None:
        super().__init__()
        self.answers, self.status = answers, status
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WireResponse:
        self.asked.append((method, url, dict(headers)))
        answer = json.dumps(self.answers.get(url, {})).encode()

        async def chunks() -> AsyncIterator[bytes]:
            yield answer

        async def read() -> bytes:
            return answer

        return WireResponse(self.status, {}, chunks(), read, lambda: None)


@pytest.mark.parametrize(
    ("given", "sent"),
    [({}, "2023-06-01"), ({"anthropic-version": "2026-10-21"}, "2026-10-21")],
    ids=["none", "the client's own"],
)
async def test_version_is_the_clients_or_ours(given: dict[str, str], sent: str) -> None:
    transport = Pages({})
    adapter = AnthropicAdapter(transport=transport)
    headers = {**given, "anthropic-beta": "a,b"}
    await adapter.send(WireRequest("v1/messages", b"{}", headers, query="beta=true"), "sk-ant-1")
    assert transport.asked == [
        (
            "POST", "https://api.anthropic.com/v1/messages?beta=true",
            {
                "anthropic-version": sent, "anthropic-beta": "a,b", "x-api-key": "sk-ant-1",
                "accept-encoding": "identity",
            },
        )
    ]  # fmt: skip
    assert headers == {**given, "anthropic-beta": "a,b"}, "the request is sent again as it was"


@pytest.mark.parametrize("base", ["http://here", "http://here/v1", "http://here/v1/"])
async def test_base_url_may_name_the_version(base: str) -> None:
    transport = Pages({})
    adapter = AnthropicAdapter(base, transport=transport)
    await adapter.send(WireRequest("v1/messages", b"{}"), "k")
    assert transport.asked[0][1] == "http://here/v1/messages"
    assert await adapter.probe("k") is True
    assert transport.asked[1][:2] == ("GET", "http://here/v1/models?limit=1")


async def test_models_are_listed_page_by_page() -> None:
    url = "https://api.anthropic.com/v1/models?limit=1000"
    pages = {
        url: {"data": [{"id": "a"}, {"id": "b c"}], "has_more": True, "last_id": "b c"},
        f"{url}&after_id=b%20c": {"data": [{"id": "d"}], "has_more": False, "last_id": "d"},
    }
    adapter = AnthropicAdapter(transport=Pages(pages))
    assert await adapter.list_models("k") == ("a", "b c", "d")


async def test_list_that_never_ends_is_left() -> None:
    class Endless(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            return {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}

    transport = Pages(Endless())
    assert await AnthropicAdapter(transport=transport).list_models("k") == ("a",)
    assert len(transport.asked) == 20


async def test_refused_key_lists_nothing_and_is_no_key() -> None:
    adapter = AnthropicAdapter(transport=Pages({}, status=401))
    assert await adapter.list_models("k") == ()
    assert await adapter.probe("k") is False


@pytest.mark.parametrize(
    ("model", "group"),
    [
        ("claude-opus-4-1-20250805", "claude-opus-4"),
        ("claude-opus-4-8", "claude-opus-4"),
        ("claude-opus-4@20250514", "claude-opus-4"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-sonnet-4-6", "claude-sonnet-4"),
        ("claude-fable-5-5", "claude-fable-5"),
        ("claude-opus-5", "claude-opus-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-4-5", "claude-haiku-4-5"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("anything", "anything"),
    ],
)
def test_models_that_share_a_pool_are_one_group(model: str, group: str) -> None:
    assert group_of(model) == group
    for endpoint in ("messages", "chat/completions", "responses"):
        assert AnthropicAdapter().limit_group(model, endpoint) == group


def test_counting_has_a_pool_of_its_own_and_an_unknown_address_one_for_all() -> None:
    adapter = AnthropicAdapter()
    assert adapter.limit_group("claude-opus-4-8", "messages/count_tokens") == (
        "messages/count_tokens"
    )
    elsewhere = custom_adapter("mine", "http://here", kind="anthropic")
    assert elsewhere.limit_group("m", "messages") == ""
    assert elsewhere.limit_group("m", "messages/count_tokens") == ""


def test_row_is_anthropic_and_another_address_is_of_its_kind() -> None:
    for adapter in (make_adapter("anthropic"), custom_adapter("m", "http://h", kind="anthropic")):
        assert isinstance(adapter, AnthropicAdapter)
        assert (adapter.kind, adapter.dialects, adapter.dialect, adapter.admission) == (
            "anthropic", ("anthropic",), "anthropic", ADMISSION,
        )  # fmt: skip
    assert make_adapter("anthropic").models == ("claude-*",)


def test_cap_and_cached_input_are_not_charged() -> None:
    pool = CandidatePool("anthropic", "m", "messages", admission=ADMISSION)
    demand = Demand("m", "r", "messages", input_tokens=1000, output_cap=64000)
    amounts = pool.amounts(demand)
    assert amounts[:4] == [1.0, 1256.0, 1000.0, 256.0]
    # 900 of the 1000 tokens came from a cache.
    assert pool.actual(amounts, 1000, 50, 900)[:4] == [1.0, 150.0, 100.0, 50.0]


def test_estimate_learns_what_caches_usually_have() -> None:
    pool = CandidatePool("anthropic", "m", "messages", admission=ADMISSION)
    demand = Demand("m", "r", "messages", input_tokens=1000)
    for _ in range(60):
        pool.learn_sizes(demand, 1000, 100, 800)
    assert pool.amounts(demand)[2] == pytest.approx(200, abs=5)


@pytest.mark.parametrize(
    ("event", "content", "finish", "usage"),
    [
        ({"type": "ping"}, "", None, None),
        ({"type": "content_block_delta", "delta": {"text": "Hi"}}, "Hi", None, None),
        (
            {
                "type": "message_delta", "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 4},
            },
            "", "end_turn", TokenUsage(output_tokens=4),
        ),
    ],
    ids=["ping", "text", "end"],
)  # fmt: skip
def test_event_becomes_a_chunk(
    event: Any, content: str, finish: str | None, usage: TokenUsage | None
) -> None:
    chunk = AnthropicAdapter().normalize_chunk(json.dumps(event).encode())
    assert chunk is not None
    assert (chunk.content, chunk.finish_reason, chunk.usage) == (content, finish, usage)
    assert AnthropicAdapter().normalize_chunk(b"nonsense") is None
