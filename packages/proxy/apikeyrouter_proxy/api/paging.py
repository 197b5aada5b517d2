"""Lists in pages that neither miss nor repeat anything while others write."""

import base64
import binascii
import heapq
import json
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from apikeyrouter_proxy.api.problems import ProblemError

T = TypeVar("T")
#: Where something stands in its list.
Place = tuple[int, str]

Limit = Annotated[int, Query(ge=1, le=1000, description="How many a page has at most.")]
Cursor = Annotated[
    str | None, Query(max_length=2000, description="`next_cursor` of the page before.")
]


class Page(BaseModel):
    """One page of a list; `next_cursor` asks for the next, and is null on the last."""

    next_cursor: str | None = Field(examples=[None])


def page_of(
    items: Iterable[T], place_of: Callable[[T], Place], limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """Return the *limit* first of *items* by their places after *cursor*, and the next cursor."""
    if cursor is not None:
        after = _place_in(cursor)
        items = (item for item in items if place_of(item) > after)
    found = heapq.nsmallest(limit + 1, items, key=place_of)
    if len(found) <= limit:
        return found, None
    return found[:limit], _cursor_at(place_of(found[limit - 1]))


def _cursor_at(place: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _place_in(cursor: str) -> Place:
    try:
        moment, name = json.loads(base64.b64decode(cursor, b"-_", validate=True))
        if isinstance(moment, int) and isinstance(name, str):
            return moment, name
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise ProblemError.of_field("cursor", "is none of ours: take it from next_cursor of a page")
