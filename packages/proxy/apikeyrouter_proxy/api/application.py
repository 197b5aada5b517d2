"""The FastAPI application of the management API: its routes, its errors, its description."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException

from apikeyrouter import ApiKeyRouterError, ConfigurationError, __version__
from apikeyrouter.service import (
    EncryptionError,
    InvalidStateTransitionError,
    KeyNotFoundError,
    KeyRegistrationError,
    StateConflictError,
    StateStoreError,
)
from apikeyrouter_proxy.api.added import budgets, provider_routes
from apikeyrouter_proxy.api.description import describe_problems
from apikeyrouter_proxy.api.endpoint import REQUEST
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import MEDIA_TYPE, FieldError, ProblemError
from apikeyrouter_proxy.api.routes import (
    accounts,
    aliases,
    audit,
    clients,
    configuration,
    key_import,
    keys,
    overview,
    policies,
    requests,
    usage,
)

_PREFIX = "/api/v1"
#: What makes the routes of each kind of resource.
_ROUTES: tuple[Callable[[ManagementParts], APIRouter], ...] = (
    key_import.routes,
    keys.routes,
    audit.routes,
    clients.routes,
    aliases.routes,
    policies.routes,
    budgets.routes,
    accounts.routes,
    provider_routes.routes,
    overview.routes,
    requests.routes,
    usage.routes,
    configuration.routes,
)
#: Kind of error -> the status that it is told with; the first that fits.
_STATUS_OF: tuple[tuple[type[ApiKeyRouterError], int], ...] = (
    (KeyNotFoundError, 404),
    (StateConflictError, 409),
    (InvalidStateTransitionError, 409),
    (KeyRegistrationError, 422),
    (ConfigurationError, 422),
    (StateStoreError, 503),
    (EncryptionError, 503),
)


def make_application(parts: ManagementParts) -> FastAPI:
    """Return the application; whoever calls it has let the caller in."""
    app = FastAPI(
        title="ApiKeyRouter management", version=__version__,
        docs_url="/docs", redoc_url=None, openapi_url="/openapi.json",
        swagger_ui_oauth2_redirect_url=None, redirect_slashes=False,
    )  # fmt: skip
    # The key is checked before anything comes here; this is for the description.
    ways_in = [
        Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
        Security(HTTPBearer(auto_error=False)),
    ]
    known: list[APIRoute] = []
    for routes in _ROUTES:
        router = routes(parts)
        known += [route for route in router.routes if isinstance(route, APIRoute)]
        for each in (_refusing(router), router):
            app.include_router(each, prefix=_PREFIX, dependencies=ways_in)
    app.state.known = known
    app.add_exception_handler(ProblemError, _tell)
    app.add_exception_handler(HTTPException, _tell)
    app.add_exception_handler(RequestValidationError, _tell)
    app.add_exception_handler(ApiKeyRouterError, _tell)
    _describe(app)
    return app


def _refusing(router: APIRouter) -> APIRouter:
    """Answer 405 to other methods of `…/{id}/verb`: names have slashes, and it would be one."""

    async def refuse() -> None:
        raise HTTPException(405)

    refusing = APIRouter()
    for route in router.routes:
        if isinstance(route, APIRoute) and _is_verb(route):
            refusing.add_api_route(
                route.path, refuse, include_in_schema=False,
                methods=["GET", "PUT", "PATCH", "DELETE"],
            )  # fmt: skip
    return refusing


def _is_verb(route: APIRoute) -> bool:
    return ":path}/" in route.path and route.methods == {"POST"}


def _allowed(request: Request) -> str:
    """Return every method that is possible at an address, for `Allow`."""
    path = request.url.path.removeprefix(_PREFIX)
    here = [route for route in request.app.state.known if route.path_regex.match(path)]
    plain = [route for route in here if "{" not in route.path]
    methods = {method for route in plain or here for method in route.methods}
    return "POST" if any(map(_is_verb, here)) else ", ".join(sorted(methods))


def _describe(app: FastAPI) -> None:
    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            app.openapi_schema = describe_problems(schema)
        return app.openapi_schema

    app.openapi = description  # type: ignore[method-assign]  # FastAPI's own way to extend it


async def _tell(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    kind = request.headers.get("content-type", "json")
    if "json" not in kind and _is_of_body(error):
        # Clients that are told nothing of the kind of a body call it a form.
        problem = ProblemError(415, "send JSON, with Content-Type: application/json")
    body = problem.body(request.scope[REQUEST].id)
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    if problem.status == 405:
        headers["allow"] = _allowed(request)
    return Response(body, problem.status, headers, MEDIA_TYPE)


def _is_of_body(error: Exception) -> bool:
    if not isinstance(error, RequestValidationError):
        return False
    return any(mistake["loc"][:1] == ("body",) for mistake in error.errors())


def problem_of(error: Exception) -> ProblemError:
    """Return how *error* is told."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, RequestValidationError):
        return mistakes(error.errors())
    if isinstance(error, HTTPException):
        headers = [(k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items()]
        return ProblemError(
            error.status_code, _HINTS.get(error.status_code, error.detail), headers=headers
        )
    status = next((status for kind, status in _STATUS_OF if isinstance(error, kind)), 500)
    return ProblemError(status, str(error))


def mistakes(errors: Any) -> ProblemError:
    """Return one problem of all that pydantic found; values stay out, for they may be secrets."""
    found = [
        FieldError(_field_of(error["loc"]), error["msg"].removeprefix("Value error, "))
        for error in errors
    ]
    return ProblemError(422, "; ".join(f"{e.field}: {e.message}" for e in found), errors=found)


def _field_of(path: tuple[int | str, ...]) -> str:
    where = path[1:] if path and path[0] in ("body", "query", "path", "header") else path
    return ".".join(map(str, where)) or "body"


_HINTS = {
    400: "the body should be JSON in UTF-8",
    404: "there is nothing at this address; /docs lists what there is",
    405: "this method is not possible here; Allow says which are",
}
