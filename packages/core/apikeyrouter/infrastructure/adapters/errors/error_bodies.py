"""The bodies of refusals, in whatever shape they come, as one record.

Providers wrap an error as an object, a list, a flat text, a list of validation
findings or a page of HTML. Nothing here raises, whatever the bytes, and
`masked` is the only way by which their words go on.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

LONGEST_MESSAGE = 500
#: Beyond this a body is not taken apart.
_LONGEST_BODY = 2**20
_READ_CHARS = 8192
_LONGEST_CODE = 100
_REQUEST_ERROR = 400
#: Where an error tells its reason, most telling first.
_CODE_NAMES = ("error_code", "reason", "limit_source", "error_type", "code", "status", "type")
_TITLE = re.compile(r"<title>([^<]{1,200})</title>", re.IGNORECASE)
_SECRET = re.compile(
    r"(?:\bsk-|\bgsk_|\bxai-|\bAIza|\bAQ\.|\bpplx-|\bcsk-|\bfw_|\bhf_|\bkey-|\beyJ)[\w.\-*]{3,}"
    r"|\bBearer\s+[^\s\"']{3,}"
    r"|(?<=[?&]key=)[^\s&\"']+"
    # A name, then its value: `API key provided: ab12***`, `x-api-key: …`.
    r"|(?<=api[ _-]key provided: )\S+|(?<=api[ _-]key: )\S+|(?<=api[ _-]key=)\S+"
    r"|\b[0-9a-f]{32,}\b|\b(?=[\w\-]{0,80}\d)[\w\-]{40,}",
    re.IGNORECASE,
)


@dataclass(slots=True, frozen=True)
class ErrorBody:
    """What one refusal says.

    Attributes:
        message: The provider's words as they came, not yet masked.
        codes: Codes, reasons and types in lower case, most telling first.
        code: The first of them that has a name, as it was written.
        http_code: A status that the body tells, such as inside of a 200.
        details: Google's list of details; empty elsewhere.
        headers: Headers that the body repeats, with lower-case names.
        is_error: It has the shape of an error at all.
    """

    message: str
    codes: tuple[str, ...] = ()
    code: str | None = None
    http_code: int | None = None
    details: tuple[dict[str, Any], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    is_error: bool = False


def read_error(body: bytes) -> ErrorBody:
    """Read an error in any of the shapes that providers send; else the body's first words."""
    found = decode(body) if len(body) <= _LONGEST_BODY else None
    if isinstance(found, list) and found:
        found = found[0]
    text = body[:_READ_CHARS].decode("utf-8", "replace")
    if not isinstance(found, dict):
        return ErrorBody(text)
    response = found.get("response")
    if isinstance(response, dict) and response.get("error"):
        found = response
    error = found.get("error")
    is_error = bool(error) or found.get("type") == "error"
    if isinstance(error, dict):
        return _read_object(error, text, is_error)
    if isinstance(error, str) and error:
        return _read_object({**found, "message": error}, text, is_error)
    if found.get("choices", ()) is None:
        return _read_without_choices(found)
    return _read_object(found, text, is_error)


def _read_without_choices(found: dict[str, Any]) -> ErrorBody:
    """Read an answer whose choices are null: the request's error if it says why, else none's."""
    why = found.get("error_message")
    if isinstance(why, str) and why:
        return ErrorBody(why, http_code=_REQUEST_ERROR, is_error=True)
    return ErrorBody("the provider answered without choices", is_error=True)


def decode(data: bytes) -> Any:
    """Decode JSON; `None` when it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def masked(message: str) -> str:
    """Return *message* on one line without credentials, 500 characters at most."""
    text = _SECRET.sub("[masked]", message[:_READ_CHARS])
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:LONGEST_MESSAGE]


def title_in(page: str) -> str:
    """Return the title of a web page: all that it tells; empty if it has none."""
    found = _TITLE.search(page[:_READ_CHARS])
    return found[1] if found is not None else ""


def _read_object(error: dict[str, Any], text: str, is_error: bool) -> ErrorBody:
    raw_details = error.get("details")
    details = tuple(
        detail
        for detail in (raw_details if isinstance(raw_details, list) else ())
        if isinstance(detail, dict)
    )
    metadata = _dict_in(error, "metadata")
    sources = (
        _dict_in(error, "details"), *details, _dict_in(error, "innererror"), metadata, error,
    )  # fmt: skip
    codes = [
        code
        for name in _CODE_NAMES
        for source in sources
        if (code := _code_in(source, name)) is not None
    ]
    codes += [name for source in sources if (name := _exception_in(source)) is not None]
    return ErrorBody(
        message=_message_in(error) or text,
        codes=tuple(code.lower() for code in codes),
        code=next((code for code in codes if not code.isdecimal()), codes[0] if codes else None),
        http_code=_http_code_in(error),
        details=details,
        headers=_headers_in(metadata),
        is_error=is_error,
    )


def _dict_in(source: dict[str, Any], name: str) -> dict[str, Any]:
    found = source.get(name)
    return found if isinstance(found, dict) else {}


def _code_in(source: dict[str, Any], name: str) -> str | None:
    found = source.get(name)
    if isinstance(found, str) and found:
        return found[:_LONGEST_CODE]
    if isinstance(found, int) and not isinstance(found, bool) and 0 < found < 10**6:
        return str(found)
    return None


def _exception_in(source: dict[str, Any]) -> str | None:
    """Return the name of an AWS exception: `com.amazon#ThrottlingException`."""
    found = source.get("__type")
    return found.rpartition("#")[2][:_LONGEST_CODE] if isinstance(found, str) and found else None


def _http_code_in(error: dict[str, Any]) -> int | None:
    code = error.get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _message_in(error: dict[str, Any]) -> str:
    for name in ("message", "detail", "Message"):
        found = error.get(name)
        if isinstance(found, dict):
            found = found.get("message")
        if isinstance(found, str) and found:
            return found
        if isinstance(found, list):
            return "; ".join(filter(None, map(_finding, found[:10])))
    return ""


def _finding(found: object) -> str:
    """Tell one finding of a validation without the input that it echoes."""
    if not isinstance(found, dict):
        return found if isinstance(found, str) else ""
    told, where = found.get("msg"), found.get("loc")
    place = ".".join(str(part) for part in where[:10]) if isinstance(where, list) else ""
    text = told if isinstance(told, str) else ""
    return f"{place}: {text}" if place else text


def _headers_in(metadata: dict[str, Any]) -> dict[str, str]:
    found = metadata.get("headers")
    if not isinstance(found, dict):
        return {}
    return {
        name.lower(): str(value)
        for name, value in found.items()
        if isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 10**18)
    }
