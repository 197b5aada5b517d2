"""Signatures of other dialects, carried by a message's blocks of thought.

A client of Anthropic's sends back blocks of thought as it got them, their signature too. So
whatever else has to come back with a reply (reasoning that another provider has encrypted, the
signature of a call) is packed into such a signature, and found there again.
"""

import base64
import binascii

import msgspec

from apikeyrouter.dialects.conversation import Thinking, ToolCall

ORIGIN = "anthropic"
_MARK = "apikeyrouter-1."


class _Carried(msgspec.Struct, omit_defaults=True):
    origin: str = ""
    signature: str = ""
    encrypted: str = ""
    id: str = ""
    call: str = ""


_decode = msgspec.json.Decoder(_Carried).decode


def is_own(thought: Thinking) -> bool:
    """Tell whether a thought is Claude's, by whatever gateway it came."""
    return thought.origin.startswith(ORIGIN)


def packed(thought: Thinking) -> str:
    """Return the signature that a block of this thought has."""
    if is_own(thought):
        return thought.signature
    carried = _Carried(thought.origin, thought.signature, thought.encrypted, thought.id)
    return "" if carried == _Carried() else _packed(carried)


def packed_call(call: ToolCall) -> str:
    """Return the signature of a block that stands before *call* and carries its own."""
    return _packed(_Carried(signature=call.signature, call=call.id))


def unpacked(text: str, signature: str) -> Thinking | ToolCall:
    """Return the thought of a block, or the call (no more than id and signature) it stands for."""
    if not signature.startswith(_MARK):
        return Thinking(text=text, signature=signature, origin=ORIGIN)
    try:
        found = _decode(base64.urlsafe_b64decode(signature[len(_MARK) :]))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return Thinking(text=text)
    if found.call:
        return ToolCall(id=found.call, name="", signature=found.signature)
    return Thinking(
        text=text, signature=found.signature, encrypted=found.encrypted,
        id=found.id, origin=found.origin,
    )  # fmt: skip


def _packed(carried: _Carried) -> str:
    return _MARK + base64.urlsafe_b64encode(msgspec.json.encode(carried)).decode()
