"""A look at a request's body without taking it apart, and splices that leave the rest as it was.

A partial decode reads the few fields that a decision needs, and judges only the
model's name: whether the others make sense is for the provider to say. What the
decoder cannot read although it is JSON (half a surrogate pair) is read by
slower means.
"""

import json
import re

import msgspec

from apikeyrouter.service import MOST_OUTPUT_TOKENS
from apikeyrouter_proxy.dataplane.bodies.members import place_of, spliced

_USAGE_WISH = b'"include_usage":true'
_LONGEST_NUMBER = 400
_NONE = msgspec.Raw(b"")


class BadBodyError(Exception):
    """The body is not a request; `param` names the field at fault, if one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Peek(msgspec.Struct):
    """What a decision needs of a body, as it is written there. Nothing else is looked at."""

    model: str
    stream: msgspec.Raw = _NONE
    max_tokens: msgspec.Raw = _NONE
    max_completion_tokens: msgspec.Raw = _NONE
    n: msgspec.Raw = _NONE
    stream_options: msgspec.Raw = _NONE

    @property
    def is_stream(self) -> bool:
        """Whether the caller asks for a stream; some providers take `"true"` for `true`."""
        return bool(self.stream) and bytes(self.stream).strip(b'"').lower() == b"true"

    @property
    def output_cap(self) -> int | None:
        """The most output tokens that the caller allows, over all choices."""
        cap = _count_in(self.max_completion_tokens) or _count_in(self.max_tokens)
        return min(cap * (_count_in(self.n) or 1), MOST_OUTPUT_TOKENS) if cap else None


_decoder = msgspec.json.Decoder(Peek)
_FIELDS = Peek.__struct_fields__
_FIELD = re.compile(r"at `\$\.?([^`]*)`")
_IS_EMPTY = re.compile(rb"\s*}")
_MISSING = re.compile(r"required field `([^`]*)`")


def peek(body: bytes) -> Peek:
    """Read what a decision needs.

    Raises:
        BadBodyError: No JSON object, or no name of a model in it.
    """
    try:
        seen = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        seen = _peek_slowly(body, str(error))
    except RecursionError:
        raise BadBodyError("the body nests too deeply") from None
    if not seen.model:
        raise BadBodyError("model is empty; name the model you want", "model")
    return seen


def with_model(body: bytes, model: str) -> bytes:
    """Return *body* asking for *model*; every other byte stays as it is."""
    start, end = place_of(body, "model")
    return spliced(body, start, end, json.dumps(model, ensure_ascii=False).encode())


def wants_usage_spliced(seen: Peek) -> bool:
    """Tell whether a streamed request says nothing about usage, so that we may ask for it."""
    if bytes(seen.stream) != b"true":
        return False
    options = bytes(seen.stream_options)
    return options in (b"", b"null") or (
        options.startswith(b"{") and "include_usage" not in _object_in(options)
    )


def with_usage(body: bytes, seen: Peek) -> bytes:
    """Return *body* with `stream_options.include_usage` set; it must not be set yet."""
    if not seen.stream_options:
        member = b'"stream_options":{%s}' % _USAGE_WISH
        return _with_first_member(body, body.index(b"{") + 1, member)
    start, end = place_of(body, "stream_options")
    if body.startswith(b"{", start):
        return _with_first_member(body, start + 1, _USAGE_WISH)
    return spliced(body, start, end, b"{%s}" % _USAGE_WISH)


def _count_in(raw: msgspec.Raw) -> int | None:
    """Return the whole number above zero that is written there, as a number or in quotes."""
    if not raw:
        return None
    digits = bytes(raw).strip(b'" ')
    if len(digits) > _LONGEST_NUMBER:
        return MOST_OUTPUT_TOKENS if digits.isdigit() else None
    try:
        return int(min(max(float(digits), 0.0), MOST_OUTPUT_TOKENS)) or None
    except ValueError:
        return None


def _object_in(written: bytes) -> dict[str, object]:
    """Read a JSON object; one that cannot be read is left alone as if it said everything."""
    try:
        return dict(json.loads(written))
    except (ValueError, RecursionError):
        return {"include_usage": None}


def _explain(text: str) -> BadBodyError:
    missing = _MISSING.search(text)
    if missing:
        return BadBodyError(f"{missing[1]} is missing; name the model you want", missing[1])
    field = _FIELD.search(text)
    what = text.split(" - at ")[0]
    if field and field[1]:
        return BadBodyError(f"{field[1]}: {what[0].lower()}{what[1:]}", field[1])
    return BadBodyError(f"the body should be a JSON object: {what[0].lower()}{what[1:]}")


def _peek_slowly(body: bytes, why: str) -> Peek:
    """Read a body that the decoder takes for none, for one it is if it is valid by the grammar.

    Args:
        why: What the decoder said.
    """
    try:
        whole = json.loads(body.decode(), parse_constant=_refuse_constant, parse_int=float)
    except RecursionError:
        raise BadBodyError("the body nests too deeply") from None
    except ValueError:
        raise BadBodyError(f"the body is not valid JSON: {why}") from None
    if not isinstance(whole, dict):
        raise BadBodyError("the body should be a JSON object")
    if "model" not in whole:
        raise _explain("Object missing required field `model`")
    model = whole["model"]
    if not isinstance(model, str):
        raise _explain("Expected `str` - at `$.model`")
    try:
        model.encode()
    except UnicodeEncodeError:
        raise BadBodyError("model: should be valid Unicode text", "model") from None
    fields = {name: _raw_of(whole[name]) for name in _FIELDS[1:] if name in whole}
    return Peek(model, **fields)


def _raw_of(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _with_first_member(body: bytes, at: int, member: bytes) -> bytes:
    """Return *body* with *member* at *at*, where an object begins."""
    comma = b"" if _IS_EMPTY.match(body, at) else b","
    return spliced(body, at, at, member + comma)
