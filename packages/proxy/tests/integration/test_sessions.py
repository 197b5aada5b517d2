"""Requests of one session go where its prompt cache is."""

from typing import Any

import httpx2
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
TEXT = "hello there " * 1000
SAYS = [{"role": "user", "content": TEXT}]
CASES: dict[str, tuple[str, dict[str, Any], dict[str, str], int]] = {
    "chat": ("chat/completions", {"messages": SAYS, "prompt_cache_key": "one"}, {}, 1),
    "responses": ("responses", {"input": TEXT, "prompt_cache_key": "one"}, {}, 1),
    "any body": (
        "chat/completions", {"messages": SAYS}, {"x-claude-code-session-id": "one"}, 1,
    ),
    "no session": ("chat/completions", {"messages": SAYS}, {}, 2),
    "no name": ("chat/completions", {"messages": SAYS, "prompt_cache_key": 7}, {}, 2),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "headers", "used"), CASES.values(), ids=CASES)
async def test_session_stays_with_a_key(
    path: str, body: dict[str, Any], headers: dict[str, str], used: int, proxy: Any,
    simulator: RunningSimulator,
) -> None:  # fmt: skip
    """The two keys are of two accounts, and take turns otherwise."""
    async with httpx2.AsyncClient(base_url=f"{proxy.url}/v1", timeout=20) as client:
        answers = [
            await client.post(path, json={"model": "small", **body}, headers=headers)
            for _ in range(6)
        ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.headers["x-key-used"] for answer in answers}) == used
