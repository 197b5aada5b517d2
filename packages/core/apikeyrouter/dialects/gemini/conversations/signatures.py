"""What proves that a thought is the model's own, in the one field that Gemini has for it.

Gemini's own signatures pass as they are. Those of other dialects are wrapped into the same
field with the thought that they belong to, since clients of Gemini send that field back
unchanged, and often nothing else of a thought.
"""

import base64
import binascii
import re

import msgspec

from apikeyrouter.dialects.conversation import Thinking

ORIGIN = "gemini"
#: Understood by Gemini as: there is no signature, since another model made this call.
NONE_KNOWN = "skip_thought_signature_validator"
_MARK = b"\xffapikeyrouter\x00"
#: A wrapped one in a body: the mark's own bytes, in either alphabet of base64.
_WRAPPED = re.compile(rb'"[/_]2FwaWtleXJvdXRlcg[A-Za-z0-9+/=_-]*"')
_decode = msgspec.json.Decoder(tuple[str, str, str, str, str]).decode


def wrapped(thought: Thinking) -> str:
    """Return what a client is told as the signature of *thought*; empty when it has none."""
    if thought.origin in (ORIGIN, ""):
        return thought.signature
    if not (thought.signature or thought.encrypted):
        return ""
    facts = (thought.origin, thought.text, thought.signature, thought.encrypted, thought.id)
    return base64.urlsafe_b64encode(_MARK + msgspec.json.encode(facts)).decode()


def without_wrapped(body: bytes) -> bytes:
    """Return *body* for Gemini itself, which takes no notice of what others have signed."""
    if b"2FwaWtleXJvdXRlcg" not in body:
        return body
    return _WRAPPED.sub(b'"%s"' % NONE_KNOWN.encode(), body)


def unwrapped(signature: str) -> Thinking | None:
    """Return the thought of another dialect that is wrapped there; `None` if it is Gemini's."""
    try:
        data = base64.b64decode(signature.replace("-", "+").replace("_", "/") + "==")
    except (binascii.Error, ValueError):
        return None
    if not data.startswith(_MARK):
        return None
    try:
        origin, text, own, encrypted, name = _decode(data[len(_MARK) :])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Thinking(text=text, signature=own, encrypted=encrypted, id=name, origin=origin)
