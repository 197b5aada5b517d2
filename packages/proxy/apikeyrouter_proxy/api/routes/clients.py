"""`/clients`: who may call, with a token of its own."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from apikeyrouter.infrastructure.config.model import ClientConfig
from apikeyrouter.service import Limits, Patterns, Share, Text, Whole
from apikeyrouter_proxy.api.added.shapes import fitting_name
from apikeyrouter_proxy.api.clients import ClientRecord
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError
from apikeyrouter_proxy.api.routes.keys import IfMatch, check_match, has_tag

_LONGEST_OVERLAP_S = 30 * 86_400


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ClientChanges(_Given):
    """What is to be changed of a client; what is not named stays.

    Attributes:
        models: Names or patterns of what it may ask for; null admits all.
        limits: In the place of all that there are.
        expires_at: Its tokens end then; null for never.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"limits": {"rpm": 60}}]})

    models: Patterns | None = None
    limits: Limits = Field(default_factory=dict)
    weight: Share = 1.0
    priority: Whole = 0
    tags: dict[str, str] = Field(default_factory=dict)
    expires_at: AwareDatetime | None = None

    @field_validator("expires_at")
    @classmethod
    def _is_to_come(cls, value: datetime | None) -> datetime | None:
        if value is not None and value <= datetime.now(UTC):
            raise ValueError("should be in the future")
        return value


class NewClient(ClientChanges):
    """A client to add; it gets a token."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "search-team", "models": ["gpt-*"], "limits": {"rpm": 60}}]
        }
    )

    name: Text

    @field_validator("name")
    @classmethod
    def _name_fits_an_address(cls, value: str) -> str:
        return fitting_name(value)


class ShownClient(BaseModel):
    """A client.

    Attributes:
        source: One of the configuration file is changed there.
        token_hints: The last characters of each token that is good.
        revision: Grows with every change; it is the ETag too.
    """

    name: str = Field(examples=["search-team"])
    models: list[str] | None
    limits: dict[str, float]
    weight: float
    priority: int
    tags: dict[str, str]
    created_at: datetime | None
    expires_at: datetime | None
    source: Literal["management", "configuration"]
    token_hints: list[str]
    revision: int


class IssuedClient(ShownClient):
    """A client that was added; its token is shown here and never again."""

    token: str = Field(examples=["akr-…"])


class Overlap(_Given):
    """How long the token before may be used beside the new one."""

    overlap_s: Annotated[
        float, Field(strict=True, ge=0, le=_LONGEST_OVERLAP_S, allow_inf_nan=False)
    ] = 0.0


class NewToken(BaseModel):
    """A token; it is shown here and never again."""

    token: str = Field(examples=["akr-…"])


class ClientPage(Page):
    """One page of clients, by name."""

    items: list[ShownClient]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of clients."""
    clients = Clients(parts)
    router = APIRouter(prefix="/clients", tags=["clients"])
    add = router.add_api_route
    add("", clients.list_clients, response_model=ClientPage)
    add("", clients.add_client, methods=["POST"], response_model=IssuedClient, status_code=201)
    # Names of a configuration file may have slashes in them.
    add("/{name:path}/rotate", clients.rotate_client, methods=["POST"], response_model=NewToken)
    add("/{name:path}", clients.get_client, response_model=ShownClient)
    add("/{name:path}", clients.change_client, methods=["PATCH"], response_model=ShownClient)
    add("/{name:path}", clients.delete_client, methods=["DELETE"], status_code=204)
    return router


class Clients:
    """Answers what is asked of clients."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._managed = parts.clients

    @property
    def _configured(self) -> dict[str, ClientConfig]:
        return {client.name: client for client in self._parts.config.clients}

    async def list_clients(
        self, limit: Limit = 100, cursor: Cursor = None, tag: str | None = None
    ) -> ClientPage:
        """List clients, those of the configuration file too."""
        shown = [
            *map(_of_configuration, self._configured.values()),
            *map(_shown, self._managed.all()),
        ]
        wanted = [client for client in shown if tag is None or has_tag(client.tags, tag)]
        found, after = page_of(wanted, lambda client: (0, client.name), limit, cursor)
        return ClientPage(items=found, next_cursor=after)

    async def get_client(self, name: str, response: Response) -> ShownClient:
        """Show one client."""
        if name in self._configured:
            return _of_configuration(self._configured[name])
        return _with_etag(self._found(name), response)

    async def add_client(self, client: NewClient, response: Response) -> IssuedClient:
        """Add a client; its token is in this answer alone."""
        async with self._parts.changing:
            if client.name in self._configured or self._managed.get(client.name) is not None:
                raise ProblemError.of_field("name", f"'{client.name}' is taken", 409)
            record, token = await self._managed.add(client.model_dump())
            await self._note("client.add", None, record)
        response.headers["location"] = f"/api/v1/clients/{quote(record.name)}"
        return IssuedClient(**_with_etag(record, response).model_dump(), token=token)

    async def change_client(
        self, name: str, changes: ClientChanges, response: Response, if_match: IfMatch = None
    ) -> ShownClient:
        """Change what a client may do; its tokens stay."""
        async with self._parts.changing:
            record = self._to_change(name, if_match)
            facts: dict[str, Any] = changes.model_dump(exclude_unset=True)
            changed = await self._managed.change(record, facts)
            await self._note("client.change", record, changed)
            return _with_etag(changed, response)

    async def delete_client(self, name: str, if_match: IfMatch = None) -> Response:
        """Revoke a client: its tokens are good no more."""
        async with self._parts.changing:
            record = self._to_change(name, if_match)
            await self._managed.revoke(record)
            await self._note("client.revoke", record, None)
        return Response(status_code=204)

    async def rotate_client(self, name: str, overlap: Overlap | None = None) -> NewToken:
        """Give a client another token; the one before is good for *overlap_s* more."""
        async with self._parts.changing:
            record = self._to_change(name, None)
            lasts = timedelta(seconds=overlap.overlap_s if overlap is not None else 0.0)
            rotated, token = await self._managed.rotate(record, datetime.now(UTC) + lasts)
            await self._note("client.rotate", record, rotated)
        return NewToken(token=token)

    async def _note(
        self, action: str, before: ClientRecord | None, after: ClientRecord | None
    ) -> None:
        named = after or before
        if named is not None:
            await self._parts.audit.note(action, named.name, _facts(before), _facts(after))

    def _to_change(self, name: str, if_match: str | None) -> ClientRecord:
        if name in self._configured:
            raise ProblemError(
                409, f"client '{name}' is of the configuration file: change it there"
            )
        record = self._found(name)
        check_match(if_match, record.revision)
        return record

    def _found(self, name: str) -> ClientRecord:
        record = self._managed.get(name)
        if record is None:
            raise ProblemError(404, f"no client '{name}'")
        return record


def _shown(record: ClientRecord) -> ShownClient:
    now = datetime.now(UTC)
    is_over = record.expires_at is not None and record.expires_at <= now
    good = [] if is_over else [one for one in record.tokens if one.until is None or one.until > now]
    facts = record.model_dump(exclude={"tokens", "revoked_at"})
    return ShownClient(**facts, source="management", token_hints=[one.hint for one in good])


def _facts(record: ClientRecord | None) -> dict[str, Any]:
    return _shown(record).model_dump(mode="json") if record is not None else {}


def _of_configuration(client: ClientConfig) -> ShownClient:
    return ShownClient(
        name=client.name, models=client.models, limits=dict(client.limits), weight=client.weight,
        priority=client.priority, tags={}, created_at=None, expires_at=None,
        source="configuration", token_hints=[], revision=0,
    )  # fmt: skip


def _with_etag(record: ClientRecord, response: Response) -> ShownClient:
    response.headers["etag"] = f'"{record.revision}"'
    return _shown(record)
