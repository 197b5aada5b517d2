"""`/aliases`: model names of one's own; those of the configuration file are changed there."""

from typing import Literal
from urllib.parse import quote

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from apikeyrouter.service import Text
from apikeyrouter_proxy.api.added.additions import Addition
from apikeyrouter_proxy.api.added.shapes import AliasFacts, fitting_name
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import FieldError, ProblemError
from apikeyrouter_proxy.api.routes.keys import IfMatch, check_match
from apikeyrouter_proxy.composition import target_of


class NewAlias(AliasFacts):
    """An alias to add."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "fast", "targets": ["openai/gpt-4.1-mini", "groq/llama-3.3-70b"]}]
        }
    )

    name: Text

    @field_validator("name")
    @classmethod
    def _name_fits_an_address(cls, value: str) -> str:
        return fitting_name(value)


class Alias(BaseModel):
    """An alias.

    Attributes:
        targets: In order of preference.
        revision: Grows with every change; it is the ETag too.
    """

    name: str = Field(examples=["fast"])
    targets: list[str] = Field(examples=[["openai/gpt-4.1-mini"]])
    source: Literal["management", "configuration"]
    revision: int


class AliasPage(Page):
    """One page of aliases, by name."""

    items: list[Alias]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of aliases."""
    aliases = Aliases(parts)
    router = APIRouter(prefix="/aliases", tags=["aliases"])
    add = router.add_api_route
    add("", aliases.list_aliases, response_model=AliasPage)
    add("", aliases.add_alias, methods=["POST"], response_model=Alias, status_code=201)
    # Names of a configuration file may have slashes in them.
    add("/{name:path}", aliases.get_alias, response_model=Alias)
    add("/{name:path}", aliases.change_alias, methods=["PATCH"], response_model=Alias)
    add("/{name:path}", aliases.delete_alias, methods=["DELETE"], status_code=204)
    return router


class Aliases:
    """Answers what is asked of aliases."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._added = parts.aliases

    async def list_aliases(self, limit: Limit = 100, cursor: Cursor = None) -> AliasPage:
        """List aliases, those of the configuration file too."""
        configured = self._parts.config.models
        shown = [
            *map(self._of_configuration, configured),
            *(_shown(alias) for alias in self._added.all() if alias.id not in configured),
        ]
        found, after = page_of(shown, lambda alias: (0, alias.name), limit, cursor)
        return AliasPage(items=found, next_cursor=after)

    async def get_alias(self, name: str, response: Response) -> Alias:
        """Show one alias."""
        if name in self._parts.config.models:
            return self._of_configuration(name)
        return _with_etag(self._found(name), response)

    async def add_alias(self, alias: NewAlias, response: Response) -> Alias:
        """Add an alias; it may be asked for at once."""
        async with self._parts.changing:
            self._refuse_configured(alias.name)
            if self._added.get(alias.name) is not None:
                raise ProblemError.of_field("name", f"'{alias.name}' is taken", 409)
            made = await self._put(alias.name, alias)
            await self._parts.audit.note("alias.add", made.id, {}, _facts(made))
        response.headers["location"] = f"/api/v1/aliases/{quote(made.id)}"
        return _with_etag(made, response)

    async def change_alias(
        self, name: str, alias: AliasFacts, response: Response, if_match: IfMatch = None
    ) -> Alias:
        """Give an alias other targets."""
        async with self._parts.changing:
            before = self._to_change(name, if_match)
            made = await self._put(name, alias)
            await self._parts.audit.note("alias.change", name, _facts(before), _facts(made))
        return _with_etag(made, response)

    async def delete_alias(self, name: str, if_match: IfMatch = None) -> Response:
        """Remove an alias; its name means what providers have of that name."""
        async with self._parts.changing:
            before = self._to_change(name, if_match)
            await self._added.remove(name)
            self._parts.use_aliases()
            await self._parts.audit.note("alias.delete", name, _facts(before), {})
        return Response(status_code=204)

    async def _put(self, name: str, alias: AliasFacts) -> Addition[AliasFacts]:
        self._refuse_unknown(alias.targets)
        made = await self._added.put(name, AliasFacts(targets=alias.targets))
        self._parts.use_aliases()
        return made

    def _refuse_unknown(self, targets: list[str]) -> None:
        known = self._parts.router.routes.providers
        unknown = [
            FieldError(f"targets.{index}", f"provider '{target_of(target)[0]}' is not in use")
            for index, target in enumerate(targets)
            if target_of(target)[0] not in known
        ]
        if unknown:
            detail = f"{unknown[0].field}: {unknown[0].message}; in use are {', '.join(known)}"
            raise ProblemError(422, detail, errors=unknown)

    def _refuse_configured(self, name: str) -> None:
        if name in self._parts.config.models:
            detail = f"alias '{name}' is of the configuration file: change it there"
            raise ProblemError(409, detail, errors=[FieldError("name", "is the file's")])

    def _to_change(self, name: str, if_match: str | None) -> Addition[AliasFacts]:
        self._refuse_configured(name)
        found = self._found(name)
        check_match(if_match, found.revision)
        return found

    def _found(self, name: str) -> Addition[AliasFacts]:
        found = self._added.get(name)
        if found is None:
            raise ProblemError(404, f"no alias '{name}'")
        return found

    def _of_configuration(self, name: str) -> Alias:
        targets = list(self._parts.config.models[name])
        return Alias(name=name, targets=targets, source="configuration", revision=0)


def _shown(alias: Addition[AliasFacts]) -> Alias:
    return Alias(
        name=alias.id, targets=alias.facts.targets, source="management", revision=alias.revision
    )


def _facts(alias: Addition[AliasFacts]) -> dict[str, object]:
    return {"targets": list(alias.facts.targets)}


def _with_etag(alias: Addition[AliasFacts], response: Response) -> Alias:
    response.headers["etag"] = f'"{alias.revision}"'
    return _shown(alias)
