"""Judges the beginning of an answer to a request for a stream, before anybody sees it.

Until a piece carries something (text, a tool call, a finish reason), another
provider can still take over; so the beginning is held back that long. It is
told by its bytes what it is, whatever it is labelled as.
"""

from collections.abc import Callable, Iterator
from enum import Enum

from apikeyrouter.dialects.dialect import Verdict
from apikeyrouter.dialects.streams.event_tap import BLANK_LINE, data_of_event
from apikeyrouter.dialects.streams.json_items import ItemSplitter

#: What is longer is passed on without being understood. Responses begin with two events that
#: repeat the instructions and tools of their request.
LONGEST_HEAD_BYTES = 2**18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST_FIELD = max(map(len, _FIELDS))


class Form(Enum):
    """What an answer is by its first bytes."""

    UNCLEAR = 0
    EVENTS = 1
    WHOLE = 2
    TEXT = 3


def form_of(head: bytes, *, takes_arrays: bool = False) -> Form:
    """Tell events, a whole JSON body and other text apart; unclear while too little has come.

    Args:
        takes_arrays: An array counts as events.
    """
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if not text or _BYTE_ORDER_MARK.startswith(head):
        return Form.UNCLEAR
    if text.startswith(b"[") and takes_arrays:
        return Form.EVENTS
    if text.startswith((b"{", b"[")):
        return Form.WHOLE
    if text.startswith(_FIELDS):
        return Form.EVENTS
    is_cut = len(text) < _LONGEST_FIELD and any(field.startswith(text) for field in _FIELDS)
    return Form.UNCLEAR if is_cut else Form.TEXT


class StreamHead:
    """The held-back beginning of a stream of events.

    Args:
        judge: Tells what the data of one event carries.
        any_event: Whatever is no error carries something.
        takes_arrays: It may be an array, whose items are judged like the data of events.

    Attributes:
        text: All of it.
        verdict: `CARRIES` or `FAILED` once an event decides; the other events came before.
        event: The event that failed it.
        has_comment: The provider keeps the connection alive: it may take its time.
    """

    __slots__ = (
        "_any_event", "_items", "_judge_data", "_judged", "_takes_arrays",
        "event", "has_comment", "text", "verdict",
    )  # fmt: skip

    def __init__(
        self,
        judge: Callable[[bytes], Verdict],
        *,
        any_event: bool = False,
        takes_arrays: bool = False,
    ) -> None:
        self._judge_data = judge
        self._any_event = any_event
        self._takes_arrays = takes_arrays
        #: Splits an array, once it is known to be one.
        self._items: ItemSplitter | None = None
        self.text = b""
        self.verdict = Verdict.NOTHING
        self.event = b""
        self.has_comment = False
        #: Where the events end that have been judged.
        self._judged = 0

    def feed(self, chunk: bytes) -> bool:
        """Add *chunk*; tell whether the beginning need not be held back any longer."""
        self.text += chunk
        if self._takes_arrays and not self._judged and _is_array(self.text):
            self._items = self._items or ItemSplitter(LONGEST_HEAD_BYTES)
        is_array = self._items is not None
        for piece in self._items.feed(chunk) if self._items else self._new_events():
            (self._judge_piece if is_array else self._judge)(piece)
            if self.verdict is not Verdict.NOTHING:
                return True
        return len(self.text) > LONGEST_HEAD_BYTES

    def end(self) -> None:
        """Judge what is left: the last event may lack its blank line."""
        if self.verdict is Verdict.NOTHING and self._items is None:
            self._judge(self.text[self._judged :])

    def _new_events(self) -> Iterator[bytes]:
        for blank in BLANK_LINE.finditer(self.text, self._judged):
            event = self.text[self._judged : blank.end()]
            self._judged = blank.end()
            yield event
        # A comment is whole with its line.
        rest = self.text[self._judged :]
        if rest.startswith(b":") and b"\n" in rest:
            self.has_comment = True

    def _judge(self, event: bytes) -> None:
        if event.startswith(b":"):
            self.has_comment = True
        data = data_of_event(event.removeprefix(_BYTE_ORDER_MARK))
        if not data:
            return
        self._judge_piece(data)
        if self.verdict is Verdict.FAILED:
            self.event = event

    def _judge_piece(self, data: bytes) -> None:
        self.verdict = self._judge_data(data)
        if self._any_event and self.verdict is Verdict.NOTHING:
            self.verdict = Verdict.CARRIES
        if self.verdict is Verdict.FAILED:
            self.event = data


def _is_array(text: bytes) -> bool:
    return text.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"[")
