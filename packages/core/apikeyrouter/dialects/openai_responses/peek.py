"""A look at the body of a request for a response."""

import msgspec

from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.peeking import ABSENT, PeekReader, count_in, is_true, text_in

_LONGEST_ID = 256


class ResponsesPeek(msgspec.Struct):
    """What a decision needs of a body, as it is written there. Nothing else is looked at.

    Attributes:
        model: Empty where a stored object names it.
    """

    model: str = ""
    stream: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT
    background: msgspec.Raw = ABSENT
    previous_response_id: msgspec.Raw = ABSENT
    conversation: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    prompt_cache_key: msgspec.Raw = ABSENT

    @property
    def is_stream(self) -> bool:
        """Whether the caller asks for a stream."""
        return is_true(self.stream)

    @property
    def output_cap(self) -> int | None:
        """The most output tokens that the caller allows."""
        return count_in(self.max_output_tokens)

    @property
    def is_background(self) -> bool:
        """Whether it is made while nobody waits."""
        return is_true(self.background)

    @property
    def stored_ids(self) -> tuple[tuple[str, str], ...]:
        """Kind and id of the objects that it builds upon: a response, a conversation."""
        written = (
            ("responses", _id_in(self.previous_response_id)),
            ("conversations", _id_in(self.conversation)),
        )
        return tuple(name for name in written if name[1])


_read = PeekReader(ResponsesPeek, needs_model=False).read


def peek(body: bytes) -> ResponsesPeek:
    """Read what a decision needs.

    Raises:
        BadBodyError: It is no request, or nothing in it tells the model.
    """
    seen = _read(body)
    if not seen.model and not (seen.prompt or seen.stored_ids):
        raise BadBodyError("model is missing; name the model you want", "model")
    return seen


def _id_in(raw: msgspec.Raw) -> str:
    """Return the id that is written there: a text, or an object that has it."""
    if not raw or len(raw) > _LONGEST_ID:
        return ""
    return text_in(raw) or text_in(raw, "id")
