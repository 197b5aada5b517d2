"""A look at a request's body without taking it apart.

A partial decode reads the few fields that a decision needs, and judges only the
model's name: whether the others make sense is for the provider to say. What the
decoder cannot read although it is JSON (half a surrogate pair) is read by
slower means.
"""

import json
import re
from typing import Generic, TypeVar

import msgspec

from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.domain.routing.demand import MOST_OUTPUT_TOKENS

#: A field that is not there.
ABSENT = msgspec.Raw(b"")
_LONGEST_NUMBER = 400
_FIELD = re.compile(r"at `\$\.?([^`]*)`")
_MISSING = re.compile(r"required field `([^`]*)`")
_P = TypeVar("_P", bound=msgspec.Struct)


class PeekReader(Generic[_P]):
    """Reads bodies into a struct whose fields are raw but for `model`.

    Args:
        struct: Its first field may be `model: str`; all others are `msgspec.Raw`, and absent by
            default.
        needs_model: Whether a body has to name a model; else the struct has a default.
    """

    def __init__(self, struct: type[_P], *, needs_model: bool = True) -> None:
        self._struct = struct
        self._decode = msgspec.json.Decoder(struct).decode
        self._fields = dict(
            zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
        )
        self._has_model = struct.__struct_fields__[:1] == ("model",)
        self._needs_model = needs_model and self._has_model

    def read(self, body: bytes) -> _P:
        """Read what a decision needs.

        Raises:
            BadBodyError: No JSON object, or no name of a model in it where one is needed.
        """
        try:
            seen = self._decode(body)
        except msgspec.ValidationError as error:
            raise _explain(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            seen = self._read_slowly(body, str(error))
        except RecursionError:
            raise BadBodyError("the body nests too deeply") from None
        if self._needs_model and not seen.model:  # type: ignore[attr-defined] # its first field
            raise BadBodyError("model is empty; name the model you want", "model")
        return seen

    def _read_slowly(self, body: bytes, why: str) -> _P:
        """Read a body that the decoder takes for none, for one it is if the grammar says so.

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
        raw = {field: _raw_of(whole[name]) for field, name in self._fields.items() if name in whole}
        if self._needs_model or "model" in raw:
            return self._struct(**{**raw, "model": _model_in(whole)})
        return self._struct(**raw)


def is_true(raw: msgspec.Raw) -> bool:
    """Tell whether `true` is written there; some providers take `"true"` for it."""
    return bool(raw) and bytes(raw).strip(b'"').lower() == b"true"


def text_in(raw: msgspec.Raw, member: str = "") -> str:
    """Return the text that is written there, or that a *member* of it has; empty if none is."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if member:
        found = found.get(member) if isinstance(found, dict) else ""
    return found if isinstance(found, str) else ""


def count_in(raw: msgspec.Raw) -> int | None:
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


def _model_in(whole: dict[str, object]) -> str:
    if "model" not in whole:
        raise _explain("Object missing required field `model`")
    model = whole["model"]
    if not isinstance(model, str):
        raise _explain("Expected `str` - at `$.model`")
    try:
        model.encode()
    except UnicodeEncodeError:
        raise BadBodyError("model: should be valid Unicode text", "model") from None
    return model


def _explain(text: str) -> BadBodyError:
    missing = _MISSING.search(text)
    if missing:
        return BadBodyError(f"{missing[1]} is missing; name the model you want", missing[1])
    field = _FIELD.search(text)
    what = text.split(" - at ")[0]
    if field and field[1]:
        return BadBodyError(f"{field[1]}: {what[0].lower()}{what[1:]}", field[1])
    return BadBodyError(f"the body should be a JSON object: {what[0].lower()}{what[1:]}")


def _raw_of(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def _refuse_constant(name: str) -> object:
    raise ValueError(name)
