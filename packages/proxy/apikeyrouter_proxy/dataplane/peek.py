"""A look at a request's body without taking it apart, and splices that leave the rest as it was.

A partial typed decode reads the few fields that a decision needs. What has to
change (an alias, a missing `stream_options.include_usage`) is replaced in the
bytes; every splice is verified by reading the result again.
"""

import json
import re

import msgspec

_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_OPTIONS = re.compile(rb'(?<!\\)"stream_options"\s*:\s*\{')
_USAGE_WISH = b'"stream_options":{"include_usage":true}'


class BadBodyError(Exception):
    """The body is not a request; `param` names the field at fault, if one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class StreamOptions(msgspec.Struct):
    """The part of `stream_options` that concerns us."""

    include_usage: bool | None = None


class Peek(msgspec.Struct):
    """What a decision needs of a body. Anything else in it is not looked at."""

    model: str
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stream_options: StreamOptions | None = None

    @property
    def output_cap(self) -> int | None:
        """The most output tokens that the caller allows, over all choices."""
        cap = self.max_completion_tokens if self.max_completion_tokens else self.max_tokens
        return cap * max(1, self.n or 1) if cap is not None and cap > 0 else None


_decoder = msgspec.json.Decoder(Peek)
_FIELD = re.compile(r"at `\$\.?([^`]*)`")
_MISSING = re.compile(r"required field `([^`]*)`")


def peek(body: bytes) -> Peek:
    """Read what a decision needs.

    Raises:
        BadBodyError: No JSON object, no model, or a field of the wrong type.
    """
    try:
        seen = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBodyError(f"the body is not valid JSON: {error}") from None
    if not seen.model:
        raise BadBodyError("model is empty; name the model you want", "model")
    return seen


def with_model(body: bytes, model: str) -> bytes:
    """Return *body* asking for *model*; every other byte stays as it is."""
    name = json.dumps(model, ensure_ascii=False).encode()
    for match in _MODEL.finditer(body):
        spliced = body[: match.start(1)] + name + body[match.end(1) :]
        if _decoder.decode(spliced).model == model:
            return spliced
    # The name of the field is itself escaped: no writer of requests does that, but JSON may.
    whole = json.loads(body)
    whole["model"] = model
    return json.dumps(whole, ensure_ascii=False).encode()


def with_usage(body: bytes) -> bytes:
    """Return *body* with `stream_options.include_usage` set; it must not be set yet."""
    for match in _OPTIONS.finditer(body):
        at = match.end()
        comma = b"" if body[at:].lstrip().startswith(b"}") else b","
        spliced = body[:at] + b'"include_usage":true' + comma + body[at:]
        options = _decoder.decode(spliced).stream_options
        if options is not None and options.include_usage:
            return spliced
    start = body.index(b"{") + 1
    return body[:start] + _USAGE_WISH + b"," + body[start:]


def wants_usage_spliced(seen: Peek, body: bytes) -> bool:
    """Tell whether a streamed request says nothing about usage, so that we may ask for it."""
    if not seen.stream:
        return False
    if seen.stream_options is not None:
        return seen.stream_options.include_usage is None and b'"include_usage"' not in body
    return b'"stream_options"' not in body


def _explain(text: str) -> BadBodyError:
    missing = _MISSING.search(text)
    if missing:
        return BadBodyError(f"{missing[1]} is missing; name the model you want", missing[1])
    field = _FIELD.search(text)
    what = text.split(" - at ")[0]
    if field and field[1]:
        return BadBodyError(f"{field[1]}: {what[0].lower()}{what[1:]}", field[1])
    return BadBodyError(f"the body should be a JSON object: {what[0].lower()}{what[1:]}")
