"""What an estimate costs, whatever the size of the body and whatever is in it."""

import base64
import json
import random
from pathlib import Path

import pytest

from apikeyrouter.domain.token_estimate import estimate_tokens

pytestmark = pytest.mark.benchmark

TEXTS = json.loads((Path(__file__).parents[1] / "data" / "texts.json").read_text(encoding="utf-8"))


def _body(content: object, ascii_only: bool = False) -> bytes:
    messages = [{"role": "user", "content": content}]
    return json.dumps({"model": "m", "messages": messages}, ensure_ascii=ascii_only).encode()


def _picture(size: int) -> bytes:
    data = base64.b64encode(random.Random(7).randbytes(size * 3 // 4)).decode()
    return _body([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}])


@pytest.mark.parametrize("size", [250, 2_000, 20_000, 300_000, 2_000_000])
@pytest.mark.parametrize("kind", ["English", "Chinese", "escaped Chinese", "JSON", "picture"])
def test_estimate(benchmark, median, report, kind: str, size: int) -> None:
    if kind == "picture":
        body = _picture(size)
    else:
        text = TEXTS[kind.removeprefix("escaped ")]
        body = _body((text * (size // len(text) + 1))[:size], kind.startswith("escaped"))
    took_us = median(lambda: estimate_tokens(body), 300)
    benchmark.extra_info["ratio"] = report(f"estimate of {len(body):,} bytes, {kind}", took_us)
    benchmark(estimate_tokens, body)
