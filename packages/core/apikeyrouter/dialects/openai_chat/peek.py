"""A look at a chat's body, and splices that leave the rest of it as it was."""

import json
import re

import msgspec

from apikeyrouter.dialects.json_members import place_of, spliced
from apikeyrouter.dialects.peeking import ABSENT, PeekReader, count_in, is_true
from apikeyrouter.domain.routing.demand import MOST_OUTPUT_TOKENS

_USAGE_WISH = b'"include_usage":true'
_IS_EMPTY = re.compile(rb"\s*}")


class ChatPeek(msgspec.Struct):
    """What a decision needs of a body, as it is written there. Nothing else is looked at."""

    model: str
    stream: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT
    n: msgspec.Raw = ABSENT
    stream_options: msgspec.Raw = ABSENT
    prompt_cache_key: msgspec.Raw = ABSENT

    @property
    def is_stream(self) -> bool:
        """Whether the caller asks for a stream."""
        return is_true(self.stream)

    @property
    def output_cap(self) -> int | None:
        """The most output tokens that the caller allows, over all choices."""
        cap = count_in(self.max_completion_tokens) or count_in(self.max_tokens)
        return min(cap * (count_in(self.n) or 1), MOST_OUTPUT_TOKENS) if cap else None


class MediaPeek(msgspec.Struct):
    """What a decision needs of a request for pictures, sounds or a judgement of a text."""

    model: str = ""
    stream: msgspec.Raw = ABSENT
    stream_format: msgspec.Raw = ABSENT

    @property
    def is_stream(self) -> bool:
        """Whether the caller asks for events."""
        return is_true(self.stream) or bytes(self.stream_format) == b'"sse"'

    @property
    def output_cap(self) -> int | None:
        """Nothing: what it costs is not told in tokens of text."""
        return 0


#: Reads what a decision needs of a body that may name a model.
peek_media = PeekReader(MediaPeek, needs_model=False).read
#: Reads what a decision needs of a body.
peek = PeekReader(ChatPeek).read


def wants_usage_spliced(seen: ChatPeek) -> bool:
    """Tell whether a streamed request says nothing about usage, so that we may ask for it."""
    if bytes(seen.stream) != b"true":
        return False
    options = bytes(seen.stream_options)
    return options in (b"", b"null") or (
        options.startswith(b"{") and "include_usage" not in _object_in(options)
    )


def with_usage(body: bytes, seen: ChatPeek) -> bytes:
    """Return *body* with `stream_options.include_usage` set; it must not be set yet."""
    if not seen.stream_options:
        member = b'"stream_options":{%s}' % _USAGE_WISH
        return _with_first_member(body, body.index(b"{") + 1, member)
    start, end = place_of(body, "stream_options")
    if body.startswith(b"{", start):
        return _with_first_member(body, start + 1, _USAGE_WISH)
    return spliced(body, start, end, b"{%s}" % _USAGE_WISH)


def _object_in(written: bytes) -> dict[str, object]:
    """Read a JSON object; one that cannot be read is left alone as if it said everything."""
    try:
        return dict(json.loads(written))
    except (ValueError, RecursionError):
        return {"include_usage": None}


def _with_first_member(body: bytes, at: int, member: bytes) -> bytes:
    """Return *body* with *member* at *at*, where an object begins."""
    comma = b"" if _IS_EMPTY.match(body, at) else b","
    return spliced(body, at, at, member + comma)
