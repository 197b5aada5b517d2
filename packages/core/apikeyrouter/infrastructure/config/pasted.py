"""What comes along when a secret is copied: blanks, quotes, byte order marks, whole lists.

What stands around a secret is taken away, since no secret has it there. What is
inside of one is left to the check that refuses it.
"""

import json
import re

#: Blanks that `str.strip` does not know: byte order mark, zero-width characters, word joiner.
_UNSEEN = "\ufeff\u200b\u200c\u200d\u2060"
_QUOTES = ('""', "''", "``", "“”", "‘’", "«»")
_BETWEEN = re.compile(r"[,;\s]+")


def trimmed(text: str) -> str:
    """Return *text* without the blanks and the pair of quotes around it."""
    before = None
    while before != text:
        before, text = text, text.strip().strip(_UNSEEN)
        if len(text) > 1 and text[0] + text[-1] in _QUOTES:
            text = text[1:-1]
    return text


def split_list(text: str) -> list[str]:
    """Return the entries of a list: of JSON, or with commas, semicolons or lines between them.

    Blank entries are left out.

    Raises:
        ValueError: It begins like a list of JSON, and is none of texts.
    """
    text = trimmed(text)
    entries: object = _BETWEEN.split(text)
    if text.startswith(("[", "{")):
        try:
            entries = json.loads(text)
        except ValueError:
            entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError('should be a list such as a,b or ["a","b"], with nothing but texts in it')
    return [entry for part in entries if (entry := trimmed(part))]
