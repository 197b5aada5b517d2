"""A look at the body of a message's request."""

import msgspec

from apikeyrouter.dialects.peeking import ABSENT, PeekReader, count_in, is_true


class MessagesPeek(msgspec.Struct):
    """What a decision needs of a body, as it is written there. Nothing else is looked at."""

    model: str
    stream: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT

    @property
    def is_stream(self) -> bool:
        """Whether the caller asks for a stream."""
        return is_true(self.stream)

    @property
    def output_cap(self) -> int | None:
        """The most output tokens that the caller allows."""
        return count_in(self.max_tokens)


#: Reads what a decision needs of a body.
peek = PeekReader(MessagesPeek).read
