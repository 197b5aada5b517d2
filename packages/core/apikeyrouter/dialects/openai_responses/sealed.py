"""Reasoning that an account has encrypted: no other account can read it.

A conversation that moves to another account goes on without it, as it would have if
nobody had kept it.
"""

from typing import Any

import msgspec

from apikeyrouter.dialects.json_values import text_in

#: Code of the refusal of what another account has encrypted.
FOREIGN = b"invalid_encrypted_content"
#: By these ids the provider would look for the reasoning that belongs to an item.
_LINKED = frozenset({"message", "function_call", "custom_tool_call"})


def without_reasoning(body: bytes) -> bytes | None:
    """Return a request without the encrypted reasoning in it; `None` if there is none."""
    try:
        request = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    items = request.get("input")
    if not isinstance(items, list):
        return None
    kept = [item for item in items if not _is_encrypted(item)]
    if len(kept) == len(items):
        return None
    request["input"] = [_unlinked(item) for item in kept]
    return msgspec.json.encode(request)


def _is_encrypted(item: object) -> bool:
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    return bool(item.get("encrypted_content"))


def _unlinked(item: object) -> object:
    if not isinstance(item, dict) or text_in(item.get("type")) not in _LINKED:
        return item
    return {name: value for name, value in item.items() if name != "id"}
