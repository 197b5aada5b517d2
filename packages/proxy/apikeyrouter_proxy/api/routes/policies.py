"""`/policies`: checked and kept; this version does not apply them yet."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from apikeyrouter_proxy.api.added.additions import Addition
from apikeyrouter_proxy.api.added.shapes import NewPolicy, PolicyChanges, PolicyFacts
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError
from apikeyrouter_proxy.api.routes.keys import IfMatch, check_match


class Policy(NewPolicy):
    """A policy.

    Attributes:
        applied: Whether requests are held to it; this version does not.
        revision: Grows with every change; it is the ETag too.
    """

    applied: Literal[False] = False
    revision: int = Field(examples=[0])


class PolicyPage(Page):
    """One page of policies, by id."""

    items: list[Policy]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of policies."""
    policies = Policies(parts)
    router = APIRouter(prefix="/policies", tags=["policies"])
    add = router.add_api_route
    add("", policies.list_policies, response_model=PolicyPage)
    add("", policies.add_policy, methods=["POST"], response_model=Policy, status_code=201)
    add("/{policy_id}", policies.get_policy, response_model=Policy)
    add("/{policy_id}", policies.change_policy, methods=["PATCH"], response_model=Policy)
    add("/{policy_id}", policies.delete_policy, methods=["DELETE"], status_code=204)
    return router


class Policies:
    """Answers what is asked of policies."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._added = parts.policies

    async def list_policies(self, limit: Limit = 100, cursor: Cursor = None) -> PolicyPage:
        """List policies."""
        shown = [_shown(policy) for policy in self._added.all()]
        found, after = page_of(shown, lambda policy: (0, policy.id), limit, cursor)
        return PolicyPage(items=found, next_cursor=after)

    async def get_policy(self, policy_id: str, response: Response) -> Policy:
        """Show one policy."""
        return _with_etag(self._found(policy_id), response)

    async def add_policy(self, policy: NewPolicy, response: Response) -> Policy:
        """Check a policy and keep it; it is not applied yet."""
        async with self._parts.changing:
            if self._added.get(policy.id) is not None:
                raise ProblemError.of_field("id", f"'{policy.id}' is taken", 409)
            facts = policy.model_dump(exclude={"id"}, exclude_none=True)
            made = await self._added.put(policy.id, PolicyFacts.model_validate(facts))
            await self._parts.audit.note("policy.add", made.id, {}, _facts(made))
        response.headers["location"] = f"/api/v1/policies/{made.id}"
        return _with_etag(made, response)

    async def change_policy(
        self, policy_id: str, changes: PolicyChanges, response: Response, if_match: IfMatch = None
    ) -> Policy:
        """Change a policy."""
        async with self._parts.changing:
            before = self._to_change(policy_id, if_match)
            facts = {**_facts(before), **changes.facts()}
            made = await self._added.put(policy_id, PolicyFacts.model_validate(facts))
            await self._parts.audit.note("policy.change", policy_id, _facts(before), _facts(made))
        return _with_etag(made, response)

    async def delete_policy(self, policy_id: str, if_match: IfMatch = None) -> Response:
        """Remove a policy."""
        async with self._parts.changing:
            before = self._to_change(policy_id, if_match)
            await self._added.remove(policy_id)
            await self._parts.audit.note("policy.delete", policy_id, _facts(before), {})
        return Response(status_code=204)

    def _to_change(self, policy_id: str, if_match: str | None) -> Addition[PolicyFacts]:
        found = self._found(policy_id)
        check_match(if_match, found.revision)
        return found

    def _found(self, policy_id: str) -> Addition[PolicyFacts]:
        found = self._added.get(policy_id)
        if found is None:
            raise ProblemError(404, f"no policy '{policy_id}'")
        return found


def _shown(policy: Addition[PolicyFacts]) -> Policy:
    return Policy(id=policy.id, revision=policy.revision, **_facts(policy))


def _facts(policy: Addition[PolicyFacts]) -> dict[str, Any]:
    return policy.facts.model_dump(mode="json", exclude_none=True)


def _with_etag(policy: Addition[PolicyFacts], response: Response) -> Policy:
    response.headers["etag"] = f'"{policy.revision}"'
    return _shown(policy)
