"""One thing that a process has learned, as it tells the others; and what is refused of them.

Notices are MessagePack maps: fields that a reader does not know are skipped, and so is a notice
of a later version whole. They never carry a secret: of keys and clients they say that something
has changed, and the store says what.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

VERSION = 1
#: What is longer was not written by a router.
MOST_BYTES, LONGEST_NAME, LONGEST_KIND = 64 * 1024, 1024, 64


@dataclass(slots=True, frozen=True)
class Notice:
    """What was learned.

    Attributes:
        kind: What it is about, such as `key`; names are unique within a kind.
        body: As it is now; `None` when there is no such thing any more.
        at: When it was observed, in seconds by the reader's own clock.
        ahead_s: How far its writer's clock is ahead of the reader's.
        by: The process that has written it.
    """

    kind: str
    name: str
    body: Mapping[str, Any] | None
    at: float
    ahead_s: float = 0.0
    by: str = ""


class _Wire(msgspec.Struct):
    """A notice between processes; *behind* is what its writer's clock lacks to the server's."""

    v: int
    by: str
    kind: str
    name: str
    behind: float
    body: dict[str, Any] | None = None


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_Wire)


def write_notice(
    kind: str, name: str, body: Mapping[str, Any] | None, *, by: str, behind_s: float
) -> bytes | None:
    """Return a notice as bytes; `None` if it is too long for others to read."""
    if len(name) > LONGEST_NAME:
        return None
    told = None if body is None else dict(body)
    data = _encoder.encode(_Wire(VERSION, by, kind, name, behind_s, told))
    return data if len(data) <= MOST_BYTES else None


def read_notice(data: bytes, *, observed_at: float, behind_s: float) -> Notice | None:
    """Read a notice; `None` if it is none of this version.

    Args:
        observed_at: By the server's clock.
        behind_s: What the reader's clock lacks to the server's.
    """
    if len(data) > MOST_BYTES:
        return None
    try:
        told = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    if told.v != VERSION or len(told.kind) > LONGEST_KIND or len(told.name) > LONGEST_NAME:
        return None
    ahead_s, at = behind_s - told.behind, observed_at - behind_s
    if not (math.isfinite(ahead_s) and math.isfinite(at)):
        return None
    return Notice(told.kind, told.name, told.body, at, ahead_s, told.by)
