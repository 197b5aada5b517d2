"""What all tongues say: the words of an answer, the arguments of a tool call, marks in a text."""

import base64
import hashlib
import re
from functools import lru_cache
from typing import Final

import msgspec

WORDS: Final = (
    "the ", "router ", "finds ", "a ", "key ", "with ", "room ", "and ", "says ", "why ",
)  # fmt: skip
ARGUMENTS: Final = {"place": "here"}

#: Marks in a request's text, and what they ask for.
PARALLEL: Final = b"[[parallel]]"
THINK: Final = b"[[think]]"
BLOCK: Final = b"[[block]]"
SAFETY: Final = b"[[safety]]"
#: `[[call NAME FIELD=TEXT]]`: a call of this tool with this one argument.
_CALL: Final = re.compile(rb"\[\[call ([\w.-]{1,64}) (\w{1,64})=([^\]\"\\\\]{0,400})\]\]")


@lru_cache(maxsize=512)
def text_of(tokens: int) -> str:
    """Return a text of so many tokens."""
    return "".join(WORDS[i % len(WORDS)] for i in range(tokens)).strip()


def words_of(tokens: int, echo: str = "") -> list[str]:
    """Return a text of so many tokens, one by one; a text that begins with *echo* has one more."""
    words = [f"{echo} "] if echo else []
    words += [WORDS[i % len(WORDS)] for i in range(tokens)]
    if words:
        words[-1] = words[-1].rstrip()
    return words


def last_word(text: str) -> str:
    """Return the last word of a text."""
    return text.split()[-1] if text.strip() else ""


def tools_called(names: list[str], body: bytes, chosen: str | None = None) -> list[str]:
    """Return which of the tools on offer are called: all, if marked so, the chosen, or the first.

    Args:
        chosen: The one that the client insists on.
    """
    wished = _CALL.search(body)
    if wished is not None and wished[1].decode() in names:
        return [wished[1].decode()]
    if PARALLEL in body and len(names) > 1 and chosen is None:
        return names
    return [chosen] if chosen in names else names[:1]


def arguments_of(body: bytes) -> dict[str, str]:
    """Return the arguments of a tool call: what the text asks for, or the usual ones."""
    wished = _CALL.search(body)
    return {wished[2].decode(): wished[3].decode("utf-8", "replace")} if wished else ARGUMENTS


def arguments_json(body: bytes) -> str:
    """Return the arguments of a tool call as JSON."""
    return msgspec.json.encode(arguments_of(body)).decode()


def thoughts_among(made: int) -> int:
    """Return how many of an answer's tokens are thoughts, if it thinks."""
    return made // 3


def signature_of(text: str) -> str:
    """Return what proves that a thought is ours."""
    return base64.b64encode(b"simulated:" + hashlib.sha256(text.encode()).digest()).decode()


def event(data: object, name: str | None = None) -> bytes:
    """Write one event of a stream."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"
