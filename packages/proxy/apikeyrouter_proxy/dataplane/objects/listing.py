"""Lists of objects: of every account, one after the other.

Each account lists what it has, and no provider knows of the others. A page goes on where the one
before ended, in the account that has the object it ended with, and ends with the last account.
"""

from collections.abc import Callable
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

import msgspec

from apikeyrouter import Demand, NoEligibleKeysError
from apikeyrouter.service import Answer, FailureClass, Outgoing, Owner
from apikeyrouter_proxy.dataplane.asgi import Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.bodies.reader import RefusedBodyError
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer, for_no_key, refusal
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.objects.forwarder import CURSORS, ObjectForwarder, kind_of
from apikeyrouter_proxy.dataplane.refusals import send_refusal

#: A page that has anything ends with this account at the latest.
_MOST_ACCOUNTS = 32
#: Of one account, where all that it lists is of other clients.
_MOST_PAGES = 32
_NOT_FOUND = FailureClass.NOT_FOUND


class Page:
    """One page, put together of what several accounts list.

    Args:
        query: Of the client, without what is for us alone.
        is_shown: Tells whether the client may see an object, by its id.
        cursor: Names the object after which a list goes on.
    """

    def __init__(self, query: str, is_shown: Callable[[str], bool], cursor: str) -> None:
        self._is_shown = is_shown
        self._cursor = cursor
        self._last_id = ""
        self._query = parse_qsl(query, keep_blank_values=True)
        told = next((value for name, value in self._query if name == "limit"), "")
        self._limit = int(told) if told.isascii() and told.isdigit() and len(told) < 10 else None
        self._answer: dict[str, object] = {}
        self._entries: list[object] = []
        self.has_more = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more has a place in it."""
        return self.has_more or (self._limit is not None and len(self._entries) >= self._limit)

    @property
    def has_entries(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._entries)

    def query_for(self, *, is_first: bool) -> str:
        """Return the query for the next account; only the first goes on in the middle of a list."""
        query = [(n, v) for n, v in self._query if is_first or n not in CURSORS]
        if self._limit is not None:
            left = str(self._limit - len(self._entries))
            query = [(name, left if name == "limit" else value) for name, value in query]
        return urlencode(query)

    def query_on(self, query: str) -> str | None:
        """Return the query for more of the account that *query* went to, if none is of use yet."""
        if self._entries or not self.has_more or not self._last_id:
            return None
        pairs = parse_qsl(query, keep_blank_values=True)
        if any(name in CURSORS and name != self._cursor for name, _ in pairs):
            return None
        kept = [pair for pair in pairs if pair[0] != self._cursor]
        return urlencode([*kept, (self._cursor, self._last_id)])

    def take(self, body: bytes) -> bool:
        """Add what an account lists; tell whether it is a list."""
        try:
            listed = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if not isinstance(listed, dict) or not isinstance(listed.get("data"), list):
            return False
        self._answer = self._answer or listed
        for entry in listed["data"]:
            name = entry.get("id") if isinstance(entry, dict) else None
            self._last_id = name if isinstance(name, str) else ""
            if self._is_shown(self._last_id):
                self._entries.append(entry)
        self.has_more = listed.get("has_more") is True
        return True

    def body(self, *, has_more: bool) -> bytes:
        """Return the page."""
        ids = [entry.get("id") for entry in self._entries if isinstance(entry, dict)]
        ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
        known = {name: ends[name] for name in ends if name in self._answer}
        return msgspec.json.encode(
            {**self._answer, "data": self._entries, "has_more": has_more, **known}
        )


def _unreadable(owner: Owner) -> ErrorAnswer:
    message = f"the list of the account of key '{owner.key_id}' cannot be read"
    return refusal(502, message, kind="server_error", code="upstream_error")


class ListForwarder(ObjectForwarder):
    """Lists the objects of all accounts, but for those that other clients have made.

    Attributes:
        cursor: Parameter that names the object after which a list goes on.
    """

    cursor: ClassVar[str] = "after"

    async def _answer(
        self,
        demand: Demand,
        outgoing: Outgoing,
        client: Client | None,
        request: Request,
        send: Send,
    ) -> None:
        accounts = self._router.routes.accounts_of(self._endpoint, key_id=demand.key_id)
        owners = [o for o in accounts if demand.provider_id in (None, o.provider_id)]
        if not owners or (len(owners) < 2 and not demand.client):
            await super()._answer(demand, outgoing, client, request, send)
            return
        places = [n for n, owner in enumerate(owners) if owner.key_id == demand.key_id]
        first = places[0] if places else 0
        try:
            answer = await self._gather(demand, owners[first:], outgoing, client, request)
        except NoEligibleKeysError as error:
            await send_refusal(send, request, for_no_key(error))
            return
        answer.body = self.retold(answer.body, request)
        # What it tells of is noted by account already.
        await Forwarder._pass_on(self, answer, demand, client, request, send)

    async def _gather(
        self,
        demand: Demand,
        owners: list[Owner],
        outgoing: Outgoing,
        client: Client | None,
        request: Request,
    ) -> Answer:
        """Return one page of what *owners* list; the answer of whoever fails in its place."""
        kind = kind_of(request.path)
        page = Page(
            outgoing.query,
            lambda name: not self._objects.is_others(demand.client, kind, name),
            self.cursor,
        )
        found: Answer | None = None
        if demand.deadline is None:
            demand.deadline = self._router.now() + self._router.settings.request_timeout_seconds
        for number, owner in enumerate(owners, 1):
            outgoing.query = page.query_for(is_first=number == 1)
            answer = await self._list_of(owner, page, demand, outgoing, client, request)
            is_missing = answer.failure is not None and answer.failure.kind is _NOT_FOUND
            if is_missing and number < len(owners):
                continue
            if is_missing and found is not None:
                break
            if answer.failure is not None:
                return answer
            found = answer
            if page.is_full or (page.has_entries and number >= _MOST_ACCOUNTS):
                break
        assert found is not None  # noqa: S101 - the last account's answer is returned otherwise
        found.body = page.body(has_more=page.has_more or number < len(owners))
        return found

    async def _list_of(
        self,
        owner: Owner,
        page: Page,
        demand: Demand,
        outgoing: Outgoing,
        client: Client | None,
        request: Request,
    ) -> Answer:
        """Add what one account lists to *page*; where it is all of others, what it lists next."""
        pinned = msgspec.structs.replace(demand, key_id=owner.key_id, may_leave_key=False)
        for _ in range(_MOST_PAGES):
            answer = await self._router.forward(
                pinned, outgoing.request_for,
                accounts=client.accounts if client is not None else (),
            )  # fmt: skip
            if answer.failure is not None:
                break
            if not page.take(answer.body):
                raise RefusedBodyError(_unreadable(owner), is_unread=False)
            self.remember(answer, demand, request)
            query = page.query_on(outgoing.query)
            if query is None:
                break
            outgoing.query = query
        return answer
