"""The management API as commands use it, whoever answers."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

#: A page has at most so many.
_PAGE = 1000
_UNREACHABLE = (502, 503, 504)


class CommandError(Exception):
    """A command cannot be carried out.

    Attributes:
        status: What the command ends with.
    """

    status = 1


class UnreachableError(CommandError):
    """What a command needs does not answer: the service, the store, or a provider."""

    status = 3


@dataclass(slots=True, frozen=True)
class Order:
    """One request of the management API; its path is encoded and has no `/api/v1`."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    kind: str = "application/json"


class Management(ABC):
    """Whoever answers orders.

    Attributes:
        place: Who that is, for people.
    """

    place: str

    @abstractmethod
    async def carry_out(self, order: Order) -> tuple[int, bytes]:
        """Return the status and body of an answer.

        Raises:
            CommandError: There is none.
        """

    async def get(self, path: str, **query: object) -> Any:
        """Look at something; whatever of *query* is `None` is left out."""
        return await self._answer(Order("GET", path, _query(query)))

    async def send(self, method: str, path: str, data: object = None) -> Any:
        """Change something."""
        body = b"" if data is None else json.dumps(data).encode()
        return await self._answer(Order(method, path, body=body))

    async def send_file(self, path: str, body: bytes, kind: str) -> Any:
        """Send a body as it is."""
        return await self._answer(Order("POST", path, body=body, kind=kind))

    async def pages(self, path: str, limit: int | None = None, **query: object) -> dict[str, Any]:
        """Return the first *limit* of a list, or all of it, in the shape of one page."""
        items: list[Any] = []
        cursor = None
        while True:
            wanted = _PAGE if limit is None else min(_PAGE, limit - len(items))
            page = await self.get(path, **query, limit=wanted, cursor=cursor)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or (limit is not None and len(items) >= limit):
                return {"items": items, "next_cursor": cursor}

    async def _answer(self, order: Order) -> Any:
        status, body = await self.carry_out(order)
        if 200 <= status < 300:
            return self._read(body) if body else None
        told = _detail(body)
        if status in _UNREACHABLE:
            raise UnreachableError(f"{self.place}: {told or f'answered {status}'}")
        raise CommandError(told or f"{self.place} answered {status}, and not as ApiKeyRouter does")

    def _read(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise CommandError(f"{self.place} does not answer as ApiKeyRouter does") from None


def path_of(*parts: str) -> str:
    """Return the path of something; names may have any characters."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _detail(body: bytes) -> str | None:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    detail = problem.get("detail") if isinstance(problem, Mapping) else None
    return detail if isinstance(detail, str) else None


def _query(parts: Mapping[str, object]) -> str:
    return urlencode({name: part for name, part in parts.items() if part is not None})
