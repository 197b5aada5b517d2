"""Requests of many sizes, the same ones in every run."""

import math
import random
from collections.abc import Iterator

_WORDS = (
    "limits", "are", "learned", "from", "what", "a", "provider", "says", "and", "does", "while",
    "requests", "of", "every", "size", "wait", "for", "room", "on", "some", "key",
)  # fmt: skip
_CAPS = (40, 80, 120, 200, 400)


def sizes(seed: int = 0) -> Iterator[tuple[int, int]]:
    """Yield characters of the prompt and `max_tokens`, without end: most small, a few large."""
    chance = random.Random(seed)
    while True:
        characters = round(400 * math.exp(chance.gauss(0.0, 0.9)))
        yield min(6000, max(20, characters)), chance.choice(_CAPS)


def prompt(characters: int) -> str:
    """Return a text of about so many characters."""
    words, length = [], 0
    while length < characters:
        word = _WORDS[len(words) % len(_WORDS)]
        words.append(word)
        length += len(word) + 1
    return " ".join(words)
