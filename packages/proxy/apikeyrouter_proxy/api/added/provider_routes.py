"""`/providers`: those in use and those that could be; what is added here is in effect at once."""

from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from apikeyrouter import ConfigurationError
from apikeyrouter.service import CATALOGUE, KeyState, missing_address
from apikeyrouter_proxy.api.added.additions import Addition
from apikeyrouter_proxy.api.added.provider_shapes import (
    NewProvider,
    ProviderChanges,
    ProviderFacts,
)
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import FieldError, ProblemError
from apikeyrouter_proxy.api.routes.keys import IfMatch, check_match
from apikeyrouter_proxy.composition import adapter_of, target_of

Source = Literal["configuration", "management", "catalogue"]
#: Keys that are named when they are in the way.
_NAMED = 5


class Provider(BaseModel):
    """A provider; one of the catalogue that is not configured yet needs a key alone.

    Attributes:
        source: Who says where it is: the configuration file, this API, or the catalogue alone.
        revision: Of one that was added here, and its ETag too: grows with every change.
    """

    id: str = Field(examples=["openai"])
    configured: bool
    kind: str | None = Field(default=None, examples=["openai"])
    base_url: str | None = Field(examples=["https://api.openai.com/v1"])
    dialects: list[str] = Field(examples=[["openai", "openai-responses"]])
    models: list[str] | None = Field(description="Patterns of what it serves; null admits any.")
    listed_models: int = Field(description="How many models it is known to list.")
    keys: int
    usable_keys: int
    missing: str | None = Field(description="What has to be configured before it can be used.")
    source: Source
    revision: int = 0


class ProviderPage(Page):
    """One page of providers, by name."""

    items: list[Provider]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of providers."""
    providers = Providers(parts)
    router = APIRouter(prefix="/providers", tags=["providers"])
    add = router.add_api_route
    add("", providers.list_providers, response_model=ProviderPage)
    add("", providers.add_provider, methods=["POST"], response_model=Provider, status_code=201)
    add("/{provider_id}", providers.get_provider, response_model=Provider)
    add("/{provider_id}", providers.change_provider, methods=["PATCH"], response_model=Provider)
    add("/{provider_id}", providers.delete_provider, methods=["DELETE"], status_code=204)
    return router


class Providers:
    """Answers what is asked of providers."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._router = parts.router
        self._added = parts.providers

    async def list_providers(
        self, limit: Limit = 100, cursor: Cursor = None, configured: bool | None = None
    ) -> ProviderPage:
        """List providers: those in use, and those of the catalogue that could be."""
        names = [
            name
            for name in {*self._router.routes.providers, *CATALOGUE}
            if configured is None or configured == (name in self._router.routes.providers)
        ]
        found, after = page_of(names, lambda name: (0, name), limit, cursor)
        return ProviderPage(items=[self._provider(name) for name in found], next_cursor=after)

    async def get_provider(self, provider_id: str, response: Response) -> Provider:
        """Show one provider."""
        self._refuse_unknown(provider_id)
        return self._shown(provider_id, response)

    async def add_provider(self, provider: NewProvider, response: Response) -> Provider:
        """Add a provider, or say otherwise of one of the catalogue; its keys are added next."""
        async with self._parts.changing:
            name = provider.id
            if name in self._parts.config.providers or self._added.get(name) is not None:
                raise ProblemError.of_field("id", f"'{name}' is taken", 409)
            facts = ProviderFacts.model_validate(provider.said())
            self._check(name, facts)
            made = await self._put(name, facts)
            await self._parts.audit.note("provider.add", name, {}, made.facts.said())
        response.headers["location"] = f"/api/v1/providers/{quote(name)}"
        return self._shown(name, response)

    async def change_provider(
        self,
        provider_id: str,
        changes: ProviderChanges,
        response: Response,
        if_match: IfMatch = None,
    ) -> Provider:
        """Change a provider that was added here; calls that are under way end as they began."""
        async with self._parts.changing:
            before = self._to_change(provider_id, if_match)
            facts = changes.over(before.facts)
            self._check(provider_id, facts)
            made = await self._put(provider_id, facts)
            await self._parts.audit.note(
                "provider.change", provider_id, before.facts.said(), made.facts.said()
            )
        return self._shown(provider_id, response)

    async def delete_provider(self, provider_id: str, if_match: IfMatch = None) -> Response:
        """Remove a provider that was added here and that no key and no alias needs."""
        async with self._parts.changing:
            before = self._to_change(provider_id, if_match)
            self._refuse_needed(provider_id)
            await self._added.remove(provider_id)
            await self._parts.use_providers()
            await self._parts.audit.note("provider.delete", provider_id, before.facts.said(), {})
        return Response(status_code=204)

    async def _put(self, name: str, facts: ProviderFacts) -> Addition[ProviderFacts]:
        made = await self._added.put(name, facts)
        await self._parts.use_providers()
        return made

    def _check(self, name: str, facts: ProviderFacts) -> None:
        """Refuse what no adapter can be made of."""
        missing = missing_address(CATALOGUE[name]) if name in CATALOGUE else ""
        if missing and facts.base_url is None:
            raise ProblemError.of_field("base_url", missing)
        if name not in CATALOGUE and facts.base_url is None:
            raise ProblemError.of_field("base_url", "is missing: say where the provider is")
        try:
            adapter_of(name, facts.config())
        except (ConfigurationError, ValueError) as error:
            raise ProblemError(422, str(error)) from None

    def _to_change(self, name: str, if_match: str | None) -> Addition[ProviderFacts]:
        self._refuse_unknown(name)
        found = self._added.get(name)
        if found is None or name in self._parts.config.providers:
            where = "of the catalogue: add it first to say otherwise of it"
            if name in self._parts.config.providers:
                where = "of the configuration file: change it there"
            raise ProblemError(
                409,
                f"provider '{name}' is {where}",
                errors=[FieldError("id", "was not added here")],
            )
        check_match(if_match, found.revision)
        return found

    def _refuse_unknown(self, name: str) -> None:
        if name not in self._router.routes.providers and name not in CATALOGUE:
            raise ProblemError(404, f"no provider '{name}'")

    def _refuse_needed(self, name: str) -> None:
        entry = self._router.routes.providers.get(name)
        slots = entry.slots.values() if entry is not None else ()
        keys = [slot.id for slot in slots if slot.record.state is not KeyState.DISABLED]
        if keys:
            raise _needed(name, "keys", keys, "revoke them first")
        aliases = [
            alias.id
            for alias in self._parts.aliases.all()
            if any(target_of(target)[0] == name for target in alias.facts.targets)
        ]
        if aliases:
            raise _needed(name, "aliases", aliases, "remove them first")

    def _shown(self, name: str, response: Response) -> Provider:
        shown = self._provider(name)
        if shown.source == "management":
            response.headers["etag"] = f'"{shown.revision}"'
        return shown

    def _provider(self, name: str) -> Provider:
        entry, row = self._router.routes.providers.get(name), CATALOGUE.get(name)
        said: dict[str, Any] = {"source": self._source(name)}
        added = self._added.get(name)
        if said["source"] == "management" and added is not None:
            said |= {"revision": added.revision, "kind": added.facts.kind}
        elif said["source"] == "configuration":
            said["kind"] = self._parts.config.providers[name].kind
        if not said.get("kind"):
            said["kind"] = row.kind if row is not None else "openai"
        if entry is None:
            missing = missing_address(row) if row is not None else ""
            return Provider(
                id=name, configured=False, base_url=None, dialects=[], models=None,
                listed_models=0, keys=0, usable_keys=0, missing=missing or None, **said,
            )  # fmt: skip
        return Provider(
            id=name, configured=True,
            base_url=getattr(entry.adapter, "base_url", None),
            dialects=list(getattr(entry.adapter, "dialects", ())),
            models=list(entry.models) if entry.models is not None else None,
            listed_models=len(entry.known_models), keys=len(entry.slots),
            usable_keys=sum(slot.is_in_use for slot in entry.slots.values()), missing=None, **said,
        )  # fmt: skip

    def _source(self, name: str) -> Source:
        if name in self._parts.config.providers:
            return "configuration"
        return "catalogue" if self._added.get(name) is None else "management"


def _needed(name: str, kind: str, needing: list[str], advice: str) -> ProblemError:
    listed = ", ".join(needing[:_NAMED]) + (", …" if len(needing) > _NAMED else "")
    return ProblemError(
        409, f"provider '{name}' is needed by {kind} {listed}: {advice}",
        errors=[FieldError(kind, f"{len(needing)} need it")],
    )  # fmt: skip
