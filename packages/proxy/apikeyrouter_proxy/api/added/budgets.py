"""`/budgets`: what may be spent; those of the configuration file are changed there."""

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from apikeyrouter.infrastructure.config.model import BudgetConfig
from apikeyrouter.service import Budget, Name, budget_of
from apikeyrouter_proxy.api.added.additions import Addition
from apikeyrouter_proxy.api.added.shapes import Given
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import FieldError, ProblemError
from apikeyrouter_proxy.api.routes.keys import IfMatch, check_match
from apikeyrouter_proxy.composition import wrong_when_over

BudgetId = Annotated[Name, Field(max_length=200)]


class NewBudget(BudgetConfig):
    """A budget to add, as a configuration file has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "day", "limit_usd": 100, "period": "daily", "mode": "hard"}]
        }
    )

    id: BudgetId


class BudgetChanges(Given):
    """What is to be changed of a budget; what is not named stays, and so does what it spent."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit_usd": 150}]})

    scope: Any = None
    scope_id: Any = None
    limit_usd: Any = None
    period: Any = None
    mode: Any = None
    timezone: Any = None
    alert_at: Any = None
    when_over: Any = None


class BudgetView(BaseModel):
    """A budget, and how it stands.

    Attributes:
        spent_usd: What is spent, or set aside by other processes.
        held_usd: What is set aside for requests that are under way here.
        resets_at: When its period ends; none for `total`.
        revision: Grows with every change; it is the ETag too.
    """

    id: str = Field(examples=["day"])
    scope: str
    scope_id: str | None
    limit_usd: float
    period: str
    mode: Literal["hard", "soft"]
    timezone: str
    alert_at: list[float]
    when_over: dict[str, str]
    spent_usd: float
    held_usd: float
    resets_at: AwareDatetime | None
    source: Literal["management", "configuration"]
    revision: int


class BudgetPage(Page):
    """One page of budgets, by id."""

    items: list[BudgetView]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of budgets."""
    budgets = Budgets(parts)
    router = APIRouter(prefix="/budgets", tags=["budgets"])
    add = router.add_api_route
    add("", budgets.list_budgets, response_model=BudgetPage)
    add("", budgets.add_budget, methods=["POST"], response_model=BudgetView, status_code=201)
    # Ids of a configuration file may have slashes in them.
    add("/{budget_id:path}", budgets.get_budget, response_model=BudgetView)
    add("/{budget_id:path}", budgets.change_budget, methods=["PATCH"], response_model=BudgetView)
    add("/{budget_id:path}", budgets.delete_budget, methods=["DELETE"], status_code=204)
    return router


class Budgets:
    """Answers what is asked of budgets."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._added = parts.budgets
        self._costs = parts.router.cost_controller

    async def list_budgets(
        self,
        limit: Limit = 100,
        cursor: Cursor = None,
        scope: str | None = None,
        scope_id: str | None = None,
    ) -> BudgetPage:
        """List budgets, those of the configuration file too."""
        shown = [
            self._shown(budget)
            for budget in await self._costs.list_budgets()
            if scope in (None, budget.scope) and scope_id in (None, budget.scope_id)
        ]
        found, after = page_of(shown, lambda budget: (0, budget.id), limit, cursor)
        return BudgetPage(items=found, next_cursor=after)

    async def get_budget(self, budget_id: str, response: Response) -> BudgetView:
        """Show one budget, and what of it is spent."""
        if not self._costs.is_configured(budget_id):
            self._found(budget_id)
        return self._with_etag(budget_id, response)

    async def add_budget(self, budget: NewBudget, response: Response) -> BudgetView:
        """Add a budget; it is stored, then it counts, from the next request on."""
        async with self._parts.changing:
            self._refuse_configured(budget.id)
            if self._added.get(budget.id) is not None:
                raise ProblemError.of_field("id", f"'{budget.id}' is taken", 409)
            made = await self._put(budget)
            await self._parts.audit.note("budget.add", made.id, {}, _facts(made))
        response.headers["location"] = f"/api/v1/budgets/{quote(made.id)}"
        return self._with_etag(made.id, response)

    async def change_budget(
        self, budget_id: str, changes: BudgetChanges, response: Response, if_match: IfMatch = None
    ) -> BudgetView:
        """Change a budget; what was spent of it stays spent."""
        async with self._parts.changing:
            before = self._to_change(budget_id, if_match)
            made = await self._put(_changed(before, changes))
            await self._parts.audit.note("budget.change", made.id, _facts(before), _facts(made))
        return self._with_etag(budget_id, response)

    async def delete_budget(self, budget_id: str, if_match: IfMatch = None) -> Response:
        """Remove a budget; one of the same id that is added later keeps what was spent."""
        async with self._parts.changing:
            before = self._to_change(budget_id, if_match)
            await self._added.remove(budget_id)
            self._parts.use_budgets()
            await self._parts.audit.note("budget.delete", budget_id, _facts(before), {})
        return Response(status_code=204)

    async def _put(self, budget: NewBudget) -> Addition[Budget]:
        wrong = wrong_when_over(budget)
        if wrong:
            raise ProblemError.of_field("when_over", wrong)
        made = await self._added.put(budget.id, budget_of(budget, budget.id))
        self._parts.use_budgets()
        return made

    def _refuse_configured(self, budget_id: str) -> None:
        if self._costs.is_configured(budget_id):
            detail = f"budget '{budget_id}' is of the configuration file: change it there"
            raise ProblemError(409, detail, errors=[FieldError("id", "is the file's")])

    def _to_change(self, budget_id: str, if_match: str | None) -> Addition[Budget]:
        self._refuse_configured(budget_id)
        found = self._found(budget_id)
        check_match(if_match, found.revision)
        return found

    def _found(self, budget_id: str) -> Addition[Budget]:
        found = self._added.get(budget_id)
        if found is None:
            raise ProblemError(404, f"no budget '{budget_id}'")
        return found

    def _with_etag(self, budget_id: str, response: Response) -> BudgetView:
        shown = self._shown(self._costs.budget(budget_id))
        response.headers["etag"] = f'"{shown.revision}"'
        return shown

    def _shown(self, budget: Budget) -> BudgetView:
        is_configured = self._costs.is_configured(budget.id)
        added = None if is_configured else self._added.get(budget.id)
        return BudgetView(
            **_told(budget),
            spent_usd=float(budget.current_spend),
            held_usd=float(budget.held),
            resets_at=budget.reset_at,
            source="configuration" if is_configured else "management",
            revision=added.revision if added is not None else 0,
        )


def _told(budget: Budget) -> dict[str, Any]:
    """Return a budget by the names of a configuration file."""
    return {
        "id": budget.id,
        "scope": budget.scope.value,
        "scope_id": budget.scope_id,
        "limit_usd": float(budget.limit_amount),
        "period": budget.period,
        "mode": budget.enforcement_mode.value,
        "timezone": budget.timezone,
        "alert_at": list(budget.alert_at),
        "when_over": dict(budget.when_over),
    }


def _facts(budget: Addition[Budget]) -> dict[str, Any]:
    return _told(budget.facts)


def _changed(before: Addition[Budget], changes: BudgetChanges) -> NewBudget:
    """Return a budget with its changes, checked as if it were new.

    Raises:
        RequestValidationError: They cannot be; each by its field.
    """
    named = changes.model_dump(exclude_unset=True)
    try:
        return NewBudget.model_validate({**_facts(before), **named})
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False)
        raise RequestValidationError(
            [{**mistake, "loc": ("body", *mistake["loc"])} for mistake in found]
        ) from None
