"""Which endpoint answers a request, by its path and method.

The endpoints that count are found by one look-up, those with parameters by their pattern. Any
other path is corrected where that is possible (a base URL with one `/v1` too many or too few);
else the refusal says what would be right, in the dialect of the path.
"""

from collections.abc import Collection
from difflib import get_close_matches
from functools import lru_cache

from apikeyrouter.service import DIALECTS, OPENAI_CHAT, Dialect, is_loopback
from apikeyrouter_proxy.api.endpoint import is_management
from apikeyrouter_proxy.dataplane.asgi import SOCKET, Endpoint, Receive, Request, Send
from apikeyrouter_proxy.dataplane.auth import is_exposed
from apikeyrouter_proxy.dataplane.errors import NO_CLIENTS, ErrorAnswer, refusal
from apikeyrouter_proxy.dataplane.front_doors.catalogue import dialect_below
from apikeyrouter_proxy.dataplane.front_doors.routes import RouteTable
from apikeyrouter_proxy.dataplane.refusals import endpoint_refusing
from apikeyrouter_proxy.middleware.cors import Cors
from apikeyrouter_proxy.middleware.origin_guard import OriginGuard
from apikeyrouter_proxy.middleware.security_headers import HeaderList, SecurityHeaders

_is_loopback = lru_cache(maxsize=64)(is_loopback)
_LONGEST_SHOWN = 200
_MOST_SHOWN = 12


class Dispatcher:
    """Finds endpoints, and adds to requests what belongs to every answer.

    Args:
        is_open: Nobody is asked for a token, so only this machine is answered.
        most_bytes: So much is read of the body of a refused request.
        management: Answers what the management API is asked, if there is one.
        providers: Those with a raw way; they are told where nobody needs a token.
    """

    def __init__(
        self,
        routes: RouteTable,
        *,
        is_open: bool,
        cors: Cors,
        security: SecurityHeaders,
        most_bytes: int,
        management: Endpoint | None = None,
        providers: Collection[str] = (),
    ) -> None:
        self._providers = providers
        self._management = management
        self._routes = routes
        self._posts = routes.posts
        self._cors = cors
        self.guard(is_open=is_open)
        self._security = security
        self._most_bytes = most_bytes

    def guard(self, *, is_open: bool) -> None:
        """Answer this machine alone while nobody is asked for a token, else other ones too."""
        self._guard = OriginGuard(self._cors) if is_open else None

    def endpoint_for(self, request: Request) -> Endpoint:
        """Return who answers *request*; a mended path is written into it."""
        headers = request.headers
        request.answer_headers += self._security.for_request(
            request.scope.get("scheme", "http"), headers
        )
        origin = headers.get(b"origin")
        if origin is not None:
            request.answer_headers += self._cors.headers_for(origin)
        if self._guard is not None:
            refused = self._refusal_of_stranger(self._guard, request)
            # The management API asks everybody for a key of its own.
            if refused is not None and not is_management(request.path):
                return self._refusing(request, refused)
        if request.method == "POST":
            endpoint = self._posts.get(request.path)
            if endpoint is not None:
                return endpoint
        return self._uncommon_endpoint_for(request)

    def _refusal_of_stranger(self, guard: OriginGuard, request: Request) -> ErrorAnswer | None:
        server = request.scope.get("server")
        if not server:
            return None
        if is_exposed(server[0]):
            return NO_CLIENTS
        # No browser reaches a unix socket or the server that a test client makes up.
        return guard.refusal_of(request.headers) if _is_loopback(server[0]) else None

    def _uncommon_endpoint_for(self, request: Request) -> Endpoint:
        is_upgrade = request.headers.get(b"upgrade", b"").lower() == b"websocket"
        if is_upgrade and request.method != SOCKET:
            return self._refusing(request, _NO_WEBSOCKET)
        if self._management is not None and not is_upgrade and is_management(request.path):
            return self._management_for(request, self._management)
        match = self._routes.find(request, request.path) if "//" not in request.path else None
        if match is None:
            request.path = self._mended(request)
            match = self._routes.find(request, request.path)
        if match is not None:
            request.params = match.params
            request.speak(_dialect_named(match.route.dialect))
            return match.route.endpoint
        methods = self._routes.methods_of(request, request.path)
        if methods == (SOCKET,):
            return self._refusing(request, _SOCKET_ALONE)
        methods = tuple(method for method in methods if method != SOCKET)
        if request.method == "OPTIONS" and methods:
            return self._options(request, methods)
        if methods:
            return self._refusing(request, _wrong_method(request.method, methods))
        return self._refusing(request, self._unknown(request.path))

    def _management_for(self, request: Request, endpoint: Endpoint) -> Endpoint:
        if request.method == "OPTIONS" and self._cors.preflight_headers(request.headers):
            return self._options(request, ())
        return endpoint

    def _options(self, request: Request, methods: tuple[str, ...]) -> Endpoint:
        """Tell what may be asked here; to a browser that asks for a page, what the page may do."""
        headers = self._cors.preflight_headers(request.headers)
        if headers is None:
            return _answering_nothing([(b"allow", _listed(methods))])
        if not self._cors.allows(request.headers[b"origin"]):
            return self._refusing(request, _NOT_NAMED)
        return _answering_nothing(headers)

    def _mended(self, request: Request) -> str:
        """Return the path that was meant, or the one that was asked for."""
        path = request.path
        if "//" not in path and self._routes.methods_of(request, path):
            return path
        parts = [part for part in path.split("/") if part]
        while parts[:1] == ["v1"] or _has_a_version_too_many(parts):
            del parts[0]
        bare = "/".join(parts)
        if not bare:
            # Nobody means the root who asks for more.
            return path
        for meant in (f"/v1/{bare}", f"/{bare}"):
            if bare and self._routes.methods_of(request, meant):
                return meant
        return path

    def _unknown(self, path: str) -> ErrorAnswer:
        known = [name for name in self._routes.paths if name != "/"]
        path = path[:_LONGEST_SHOWN]
        # A base URL that ends with the endpoint has it twice.
        by_rest = {name.removeprefix("/v1"): name for name in known}
        nearest = [rest for rest in by_rest if path.rstrip("/").endswith(rest)]
        nearest = nearest[:1] or get_close_matches(path.removeprefix("/v1"), by_rest, 1, 0.5)
        hint = (
            f"; did you mean {by_rest[nearest[0]]}?"
            if nearest
            else f"; known are {_some_of(known)}"
        )
        if self._guard is not None and self._providers:
            raw = _some_of([f"/{name}/" for name in self._providers])
            hint += f"; forwarded as it is: what is below {raw}"
        return refusal(404, f"there is nothing at {path}{hint}", code="unknown_url")

    def _refusing(self, request: Request, error: ErrorAnswer) -> Endpoint:
        """Return who tells *error*, in the dialect of the path."""
        name = self._routes.dialect_of(request, request.path) or dialect_below(request)
        request.speak(_dialect_named(name))
        return endpoint_refusing(error, most_bytes=self._most_bytes)


def _has_a_version_too_many(parts: list[str]) -> bool:
    """Tell whether a base URL with a version stands before a path with one."""
    return parts[:1] == ["v1beta"] and parts[1:2] in (["v1"], ["v1beta"], ["upload"])


def _dialect_named(name: str) -> Dialect:
    return DIALECTS.get(name, OPENAI_CHAT)


def _some_of(paths: list[str]) -> str:
    """List *paths*, of many the first ones."""
    more = " and others" if len(paths) > _MOST_SHOWN else ""
    return ", ".join(paths[:_MOST_SHOWN]) + more


def _wrong_method(method: str, methods: tuple[str, ...]) -> ErrorAnswer:
    message = f"{method[:_LONGEST_SHOWN]} is not possible here, {' and '.join(methods)} is"
    error = refusal(405, message, code="method_not_allowed")
    error.headers = [(b"allow", _listed(methods))]
    return error


def _listed(methods: tuple[str, ...]) -> bytes:
    return ", ".join((*methods, "OPTIONS")).encode()


def _answering_nothing(headers: HeaderList) -> Endpoint:
    async def answer(request: Request, receive: Receive, send: Send) -> None:
        del receive
        await request.begin(send, 204, list(headers))
        await send({"type": "http.response.body", "body": b""})

    return answer


_NO_WEBSOCKET = refusal(
    426,
    'WebSockets are not served here: send a POST, with "stream": true for answers in parts',
    code="upgrade_required",
)
_NO_WEBSOCKET.headers = [(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade, close")]
_SOCKET_ALONE = refusal(
    426, "this is served over a WebSocket alone: ask for an upgrade", code="upgrade_required"
)
_SOCKET_ALONE.headers = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
_NOT_NAMED = refusal(
    403, "CORS_ORIGINS does not name the origin of this page", code="foreign_origin"
)
