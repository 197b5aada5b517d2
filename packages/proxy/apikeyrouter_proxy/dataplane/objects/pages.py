"""Lists in pages with tokens: of every account, one after the other.

A token says whose page comes next; what it says besides is the provider's own. A page is of one
account, and no token leads to an empty one, which clients take badly: what comes next is looked at.
"""

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

import msgspec

from apikeyrouter import Demand, NoEligibleKeysError
from apikeyrouter.service import Answer, BadBodyError, Failure, FailureClass, Outgoing, Owner
from apikeyrouter_proxy.dataplane.asgi import Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.errors import for_no_key
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.objects.forwarder import ObjectForwarder, kind_of
from apikeyrouter_proxy.dataplane.refusals import send_refusal

_TOKEN, _NEXT = "pageToken", "nextPageToken"
#: So many empty pages are passed over for one that has something.
_MOST_PAGES = 32


class _Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a list goes on: in which account, and there."""

    provider_id: str
    account: str
    token: str = ""


class _Spot(msgspec.Struct):
    """Where a list goes on: at a token of the first of these accounts; nowhere if there is none."""

    owners: Sequence[Owner]
    token: str = ""


class _Found(msgspec.Struct):
    """A page that has something, or the last one.

    Attributes:
        answer: Of whoever told it; `None` if nobody told anything.
        at: Where it was.
        after: Where what follows it is.
    """

    answer: Answer | None
    at: _Spot
    after: _Spot
    shown: list[object] = []
    rest: dict[str, object] = {}


class PageForwarder(ObjectForwarder):
    """Lists the objects of all accounts, but for those that other clients have made."""

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
        place = _place_in(outgoing.query)
        if not owners:
            await super()._answer(demand, outgoing, client, request, send)
            return
        token = place.token if place is not None else ""
        spot = _Spot(owners[_first_of(owners, place) :], token)
        if demand.deadline is None:
            demand.deadline = self._router.now() + self._router.settings.request_timeout_seconds
        try:
            answer = await self._page(spot, demand, outgoing, client, request)
        except NoEligibleKeysError as error:
            await send_refusal(send, request, for_no_key(error))
            return
        await Forwarder._pass_on(self, answer, demand, client, request, send)

    async def _page(
        self,
        spot: _Spot,
        demand: Demand,
        outgoing: Outgoing,
        client: Client | None,
        request: Request,
    ) -> Answer:
        """Return the page at *spot*; the answer of whoever fails in its place."""
        query = outgoing.query
        found = await self._find(spot, query, demand, outgoing, client, request)
        assert found.answer is not None  # noqa: S101 - there is an account that answered
        if found.answer.failure is not None:
            return found.answer
        after = found.after
        # Nobody else's objects are left out of pages that go on in the same account.
        if after.owners and (demand.client or not after.token):
            ahead = await self._find(after, query, demand, outgoing, client, request)
            is_more = bool(ahead.shown) or _failure_of(ahead) is not None
            after = ahead.at if is_more else _Spot(())
        found.answer.body = _page_of(found, after, kind_of(request.path))
        return found.answer

    async def _find(
        self,
        spot: _Spot,
        query: str,
        demand: Demand,
        outgoing: Outgoing,
        client: Client | None,
        request: Request,
    ) -> _Found:
        """Return the first page from *spot* on that has something for the client."""
        kind, found = kind_of(request.path), _Found(None, spot, spot)
        for _ in range(_MOST_PAGES):
            spot = found.after
            outgoing.query = _query_for(query, spot.token)
            owner = spot.owners[0]
            answer = await self._router.forward(
                msgspec.structs.replace(demand, key_id=owner.key_id, may_leave_key=False),
                outgoing.request_for,
                accounts=client.accounts if client is not None else (),
            )
            next_owners = _Spot(spot.owners[1:])
            if answer.failure is not None:
                is_missing = answer.failure.kind is FailureClass.NOT_FOUND
                if not is_missing or (len(spot.owners) == 1 and found.answer is None):
                    return _Found(answer, spot, next_owners)
                found = _Found(found.answer, spot, next_owners, [], found.rest)
            else:
                told = _told_in(answer.body, kind)
                self.remember(answer, demand, request)
                others = self._objects.is_others
                shown = [e for e in told.entries if not others(demand.client, kind, _name_of(e))]
                after = _Spot(spot.owners, told.token) if told.token else next_owners
                found = _Found(answer, spot, after, shown, told.rest)
            if found.shown or not found.after.owners:
                break
        return found


def _failure_of(found: _Found) -> Failure | None:
    return found.answer.failure if found.answer is not None else None


class _Told(msgspec.Struct):
    """What a provider's page tells: its entries, its token, and whatever else."""

    entries: list[object] = []
    token: str = ""
    rest: dict[str, object] = {}


def _told_in(body: bytes, kind: str) -> _Told:
    try:
        rest = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Told()
    if not isinstance(rest, dict):
        return _Told()
    token, entries = rest.pop(_NEXT, None), rest.pop(kind, None)
    return _Told(
        entries if isinstance(entries, list) else [], token if isinstance(token, str) else "", rest
    )


def _page_of(found: _Found, after: _Spot, kind: str) -> bytes:
    """Return what a client is told."""
    page = {kind: found.shown, **found.rest} if found.shown else dict(found.rest)
    if after.owners:
        owner = after.owners[0]
        place = _Place(owner.provider_id, _account_of(owner), after.token)
        page[_NEXT] = base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")
    return msgspec.json.encode(page)


def _place_in(query: str) -> _Place | None:
    """Return where a list is to go on; `None` for its beginning.

    Raises:
        BadBodyError: The token is none of ours.
    """
    token = dict(parse_qsl(query)).get(_TOKEN, "")
    if not token:
        return None
    try:
        told = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        return msgspec.json.decode(told, type=_Place)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise _unknown_token() from None


def _first_of(owners: Sequence[Owner], place: _Place | None) -> int:
    if place is None:
        return 0
    for number, owner in enumerate(owners):
        if (owner.provider_id, _account_of(owner)) == (place.provider_id, place.account):
            return number
    raise _unknown_token()


def _unknown_token() -> BadBodyError:
    return BadBodyError(f"{_TOKEN}: is of no list that is known; leave it out", _TOKEN)


def _account_of(owner: Owner) -> str:
    return owner.account or owner.key_id


def _query_for(query: str, token: str) -> str:
    pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != _TOKEN]
    return urlencode([*pairs, (_TOKEN, token)] if token else pairs)


def _name_of(entry: object) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name.rpartition("/")[2] if isinstance(name, str) else ""
