"""A look at a Gemini request's body: the model and whether it streams stand in its address."""

import msgspec

from apikeyrouter.dialects.gemini.names import resource
from apikeyrouter.dialects.json_members import place_of, spliced, with_member
from apikeyrouter.dialects.peeking import ABSENT, PeekReader, count_in
from apikeyrouter.dialects.streams.json_items import ItemSplitter
from apikeyrouter.domain.routing.demand import MOST_OUTPUT_TOKENS


class GeminiPeek(msgspec.Struct):
    """What a decision needs of a request.

    Attributes:
        model: As the address names it, without `models/`; a body names none.
    """

    model: str = ""
    is_stream: bool = False
    output_cap: int | None = None


class _Body(msgspec.Struct, rename="camel"):
    """Both spellings of a name are understood, as Google's servers do."""

    generation_config: msgspec.Raw = ABSENT
    generation_config_: msgspec.Raw = msgspec.field(default=ABSENT, name="generation_config")


class _Config(msgspec.Struct, rename="camel"):
    max_output_tokens: msgspec.Raw = ABSENT
    max_output_tokens_: msgspec.Raw = msgspec.field(default=ABSENT, name="max_output_tokens")
    candidate_count: msgspec.Raw = ABSENT
    candidate_count_: msgspec.Raw = msgspec.field(default=ABSENT, name="candidate_count")


class _Named(msgspec.Struct, rename="camel"):
    model: msgspec.Raw = ABSENT
    requests: msgspec.Raw = ABSENT
    generate_content_request: msgspec.Raw = ABSENT


_read = PeekReader(_Body).read
_decode_config = msgspec.json.Decoder(_Config).decode
_decode_named = msgspec.json.Decoder(_Named).decode


def peek(body: bytes) -> GeminiPeek:
    """Read the caller's output cap over all candidates."""
    seen = _read(body)
    return GeminiPeek(output_cap=_cap_in(seen.generation_config or seen.generation_config_))


def with_model(body: bytes, model: str) -> bytes:
    """Return *body* naming *model* wherever it names one; every other byte stays as it is."""
    if b'"model"' not in body and b"\\u00" not in body:
        return body
    try:
        named = _decode_named(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    if named.requests:
        start, end = place_of(body, "requests")
        body = spliced(body, start, end, _with_model_in_each(body[start:end], model))
    if named.generate_content_request:
        start, end = place_of(body, "generateContentRequest")
        body = spliced(body, start, end, with_model(body[start:end], model))
    return with_member(body, "model", resource(model)) if named.model else body


def _with_model_in_each(array: bytes, model: str) -> bytes:
    pieces, at = [], 0
    for item in ItemSplitter(len(array)).feed(array):
        start = array.index(item, at)
        pieces += [array[at:start], with_model(item, model)]
        at = start + len(item)
    return b"".join((*pieces, array[at:]))


def _cap_in(config: msgspec.Raw) -> int | None:
    if not config:
        return None
    try:
        seen = _decode_config(config)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    cap = count_in(seen.max_output_tokens or seen.max_output_tokens_)
    count = count_in(seen.candidate_count or seen.candidate_count_) or 1
    return min(cap * count, MOST_OUTPUT_TOKENS) if cap else None
