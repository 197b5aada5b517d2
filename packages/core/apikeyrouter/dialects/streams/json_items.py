"""The items of a JSON array that comes in pieces.

Some providers stream an answer as one array, an object a piece. Items are found by
their brackets; whether they are JSON is for whoever decodes them.
"""

import re

_OUTSIDE = re.compile(rb'["\[\]{}]')
_INSIDE = re.compile(rb'"|\\.', re.DOTALL)


class ItemSplitter:
    """Takes objects out of the array that they come in, however its bytes are split.

    Args:
        longest_bytes: An item beyond this size is left out.

    Attributes:
        is_over: The array's end has come.
    """

    __slots__ = ("_depth", "_in_text", "_longest_bytes", "_looked", "_rest", "_start", "is_over")

    def __init__(self, longest_bytes: int) -> None:
        self._longest_bytes = longest_bytes
        #: What is not part of a whole item, and how much of it was looked at.
        self._rest = b""
        self._looked = 0
        #: Where in the rest the item begins; -1 between items.
        self._start = -1
        self._depth = 0
        self._in_text = False
        self.is_over = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the items that are whole by now."""
        text = self._rest + chunk
        items = []
        at = self._looked
        while (found := (_INSIDE if self._in_text else _OUTSIDE).search(text, at)) is not None:
            at = found.end()
            item = self._take(text, found.start(), at)
            if item:
                items.append(item)
        self._keep(text, at)
        return items

    def _take(self, text: bytes, start: int, end: int) -> bytes:
        """Take one sign; return the item that it ends, else nothing."""
        sign = text[start]
        if sign == ord('"'):
            self._in_text = not self._in_text
        elif sign == ord("{") or sign == ord("["):
            if self._depth == 1:
                self._start = start
            self._depth += 1
        elif sign != ord("\\"):
            self._depth -= 1
            self.is_over = self._depth <= 0
            if self._depth == 1 and self._start >= 0:
                item = text[self._start : end]
                self._start = -1
                return item
        return b""

    def _keep(self, text: bytes, at: int) -> None:
        # A backslash at the end belongs to the sign that comes next.
        looked = len(text) - (1 if self._in_text and text.endswith(b"\\", at) else 0)
        start = self._start if self._start >= 0 else looked
        if self._depth >= 1 and looked - start > self._longest_bytes:
            # The item passes without being looked at.
            self._start, start = -1, looked
        elif self._start >= 0:
            self._start = 0
        self._rest = text[start:]
        self._looked = looked - start
