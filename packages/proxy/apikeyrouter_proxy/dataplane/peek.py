"""A look at a request's body without taking it apart, and splices that leave the rest as it was.

A partial typed decode reads the few fields that a decision needs. What has to
change (an alias, a missing `stream_options.include_usage`) is replaced in the
bytes; every splice is verified by reading the result again. What the decoder
cannot read although it is JSON (half a surrogate pair, names of fields that are
escaped) is read and spliced by slower means.
"""

import json
import re

import msgspec

_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_OPTIONS = re.compile(rb'(?<!\\)"stream_options"\s*:\s*\{')
_USAGE_WISH = b'"stream_options":{"include_usage":true}'
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{},]', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
#: More output than any limit is as much as no provider ever gives.
_MOST_TOKENS = 10**12


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
        if cap is None or cap <= 0:
            return None
        return min(cap * max(1, self.n or 1), _MOST_TOKENS)


_decoder = msgspec.json.Decoder(Peek)
_FIELDS = Peek.__struct_fields__
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
        seen = _peek_slowly(body, str(error))
    except RecursionError:
        raise BadBodyError("the body nests too deeply") from None
    if not seen.model:
        raise BadBodyError("model is empty; name the model you want", "model")
    return seen


def with_model(body: bytes, model: str) -> bytes:
    """Return *body* asking for *model*; every other byte stays as it is."""
    name = json.dumps(model, ensure_ascii=False).encode()
    for match in _MODEL.finditer(body):
        spliced = body[: match.start(1)] + name + body[match.end(1) :]
        seen = _read(spliced)
        if seen is None:
            break
        if seen.model == model:
            return spliced
    start, end = _places(body)["model"]
    return body[:start] + name + body[end:]


def with_usage(body: bytes) -> bytes:
    """Return *body* with `stream_options.include_usage` set; it must not be set yet."""
    for match in _OPTIONS.finditer(body):
        spliced = _with_first_member(body, match.end(), b'"include_usage":true')
        seen = _read(spliced)
        if seen is None:
            break
        if seen.stream_options is not None and seen.stream_options.include_usage:
            return spliced
    start, _ = _places(body).get("stream_options", (0, 0))
    if start and body.startswith(b"{", start):
        return _with_first_member(body, start + 1, b'"include_usage":true')
    return _with_first_member(body, body.index(b"{") + 1, _USAGE_WISH)


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


def _read(body: bytes) -> Peek | None:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _peek_slowly(body: bytes, why: str) -> Peek:
    """Read a body that the decoder takes for none, for one it is if it is valid by the grammar.

    Args:
        why: What the decoder said.
    """
    try:
        whole = json.loads(body.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise BadBodyError("the body nests too deeply") from None
    except ValueError:
        raise BadBodyError(f"the body is not valid JSON: {why}") from None
    if not isinstance(whole, dict):
        raise BadBodyError("the body should be a JSON object")
    try:
        seen = msgspec.convert({k: v for k, v in whole.items() if k in _FIELDS}, Peek)
        seen.model.encode()
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except UnicodeEncodeError:
        raise BadBodyError(f"{', '.join(_FIELDS)}: should be valid Unicode text") from None
    return seen


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _places(body: bytes) -> dict[str, tuple[int, int]]:
    """Return where the members of a valid JSON object have their values; the last of a name counts.

    Needs no stack, so any depth will do.
    """
    places: dict[str, tuple[int, int]] = {}
    depth, name, start = 0, None, 0
    for token in _TOKEN.finditer(body):
        sign = token[0][:1]
        if depth == 1 and name is None and sign == b'"':
            colon = _COLON.match(body, token.end())
            name, start = json.loads(token[0]), colon.end() if colon else token.end()
        elif depth == 1 and name is not None and sign in b",}":
            places[name] = start, start + len(body[start : token.start()].rstrip())
            name = None
        depth += (sign in b"{[") - (sign in b"}]")
    return places


def _with_first_member(body: bytes, at: int, member: bytes) -> bytes:
    """Return *body* with *member* at *at*, where an object begins."""
    comma = b"" if body[at:].lstrip().startswith(b"}") else b","
    return body[:at] + member + comma + body[at:]
