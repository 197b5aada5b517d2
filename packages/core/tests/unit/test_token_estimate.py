"""Estimates stay near what a tokenizer counts; attachments are no text; size hardly costs time."""

import base64
import json
import random

import pytest

from apikeyrouter.domain.token_estimate import estimate_tokens

pytestmark = pytest.mark.unit

ENGLISH = (
    "Routing a request is a matter of arithmetic: every key has a limit, every limit refills at "
    "its own pace, and the cheapest candidate that still has room should win. When none has room, "
    "waiting a moment is usually better than failing. "
)
CODE = """
    def reserve(self, lines, now):
        for window, amount in lines:
            if window.used + window.held + amount > window.capacity:
                return Shortfall(window, amount, window.room_at(now))
        for window, amount in lines:
            window.held += amount
        return Reservation(self, lines)
"""
JSON = json.dumps(
    [{"id": i, "name": f"item {i}", "price": i * 1.25, "active": i % 2 == 0} for i in range(20)]
)
GERMAN = (
    "Heute ist das Wetter schön, und wir haben beschlossen, in den Park zu gehen. Am Abend werde "
    "ich ein Buch über Reisen lesen. "
)
JAPANESE = (
    "私たちは毎日たくさんの情報に触れています。新しい技術を学ぶことはとても大切です。"
    "東京の天気は晴れです。"
)
KOREAN = "오늘 날씨가 매우 좋습니다. 우리는 공원에서 산책을 하고 점심을 먹었습니다. "
RUSSIAN = "Сегодня хорошая погода, и мы решили пойти в парк. Вечером я буду читать книгу. "


def _body(*texts: str, ascii_only: bool = False) -> bytes:
    messages = [{"role": "user", "content": text} for text in texts]
    asked = {"model": "gpt-4o-mini", "messages": messages}
    return json.dumps(asked, ensure_ascii=ascii_only).encode()


#: Text, times repeated, tokens of it all that o200k_base counts.
COUNTED = {
    "a question": ("What is the capital of France, and how many people live there today?", 1, 22),
    "prose": (ENGLISH, 1, 57),
    "long prose": (ENGLISH, 300, 14708),
    "code": (CODE, 4, 272),
    "long code": (CODE, 100, 6608),
    "JSON": (JSON, 1, 548),
    "German": (GERMAN, 8, 224),
    "Japanese": (JAPANESE, 8, 319),
    "Korean": (KOREAN, 8, 184),
    "Russian": (RUSSIAN, 8, 184),
}


@pytest.mark.parametrize("ascii_only", [False, True], ids=["UTF-8", "escaped"])
@pytest.mark.parametrize(("text", "times", "tokens"), COUNTED.values(), ids=COUNTED)
def test_estimate_is_near_the_count(text: str, times: int, tokens: int, ascii_only: bool) -> None:
    estimate = estimate_tokens(_body(text * times, ascii_only=ascii_only))
    assert estimate == pytest.approx(tokens, rel=0.25)


def test_json_around_short_messages_hardly_counts() -> None:
    texts = ("What about number one?", "It is fine, thank you for asking.") * 10
    assert estimate_tokens(_body(*texts)) == pytest.approx(223, rel=0.25)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model":"m","input":""}', b"\xff" * 9000])
def test_estimate_is_at_least_one(body: bytes) -> None:
    assert estimate_tokens(body) >= 1


def _with_picture(size: int) -> bytes:
    picture = base64.b64encode(random.Random(7).randbytes(size)).decode()
    return json.dumps(
        {
            "model": "gpt-4o-mini",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": ENGLISH},
                        {
                            "type": "image_url",
                            "image_url": {"url": f"data:image/png;base64,{picture}"},
                        },
                    ],
                }
            ],
        }
    ).encode()


@pytest.mark.parametrize("size", [4_000, 50_000, 2_000_000])
def test_picture_counts_the_same_whatever_its_size(size: int) -> None:
    without = estimate_tokens(_body(ENGLISH))
    assert estimate_tokens(_with_picture(size)) == pytest.approx(without + 765, rel=0.05)


def test_every_attachment_counts() -> None:
    sound = base64.b64encode(random.Random(7).randbytes(30_000)).decode()
    part = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
    body = json.dumps({"messages": [{"role": "user", "content": [part] * 5}]}).encode()
    assert estimate_tokens(body) == pytest.approx(5 * 765, rel=0.05)


def test_text_after_a_picture_still_counts() -> None:
    picture, text = _with_picture(100_000), _body(ENGLISH * 200)
    assert estimate_tokens(picture[:-1] + b"," + text[1:]) == pytest.approx(
        estimate_tokens(picture) + estimate_tokens(text), rel=0.05
    )
