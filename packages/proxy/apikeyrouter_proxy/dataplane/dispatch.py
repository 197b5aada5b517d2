"""Which endpoint answers a request, by its path and method.

The endpoints that count are found by one look-up. Any other path is
corrected where that is possible (a base URL with one `/v1` too many or too few);
else the refusal says what would be right.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache

from apikeyrouter.service import is_loopback
from apikeyrouter_proxy.dataplane.asgi import Endpoint, Receive, Request, Send
from apikeyrouter_proxy.dataplane.auth import is_exposed
from apikeyrouter_proxy.dataplane.errors import NO_CLIENTS, ErrorAnswer, refusal
from apikeyrouter_proxy.dataplane.refusals import endpoint_refusing
from apikeyrouter_proxy.middleware.cors import Cors
from apikeyrouter_proxy.middleware.origin_guard import OriginGuard
from apikeyrouter_proxy.middleware.security_headers import HeaderList, SecurityHeaders

_is_loopback = lru_cache(maxsize=64)(is_loopback)
_MODEL = "/v1/models/"
_LONGEST_SHOWN = 200


class Dispatcher:
    """Finds endpoints, and adds to requests what belongs to every answer.

    Args:
        gets: Path -> who answers GET and HEAD there.
        posts: Path -> who answers POST there.
        show_model: Answers GET for everything below `/v1/models/`.
        is_open: Nobody is asked for a token, so only this machine is answered.
        most_bytes: So much is read of the body of a refused request.
    """

    def __init__(
        self,
        gets: Mapping[str, Endpoint],
        posts: Mapping[str, Endpoint],
        *,
        show_model: Endpoint,
        is_open: bool,
        cors: Cors,
        security: SecurityHeaders,
        most_bytes: int,
    ) -> None:
        self._gets = gets
        self._posts = posts
        self._show_model = show_model
        self._guard = OriginGuard(cors) if is_open else None
        self._cors = cors
        self._security = security
        self._most_bytes = most_bytes

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
            if refused is not None:
                return self._refusing(refused)
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
        if request.headers.get(b"upgrade", b"").lower() == b"websocket":
            return self._refusing(_NO_WEBSOCKET)
        request.path = self._mended(request.path)
        methods = self._methods_of(request.path)
        if request.method == "OPTIONS" and methods:
            return self._options(request, methods)
        if request.method in methods:
            if request.method == "POST":
                return self._posts[request.path]
            return self._gets.get(request.path, self._show_model)
        if methods:
            return self._refusing(_wrong_method(request.method, methods))
        return self._refusing(self._unknown(request))

    def _options(self, request: Request, methods: tuple[str, ...]) -> Endpoint:
        """Tell what may be asked here; to a browser that asks for a page, what the page may do."""
        headers = self._cors.preflight_headers(request.headers)
        if headers is None:
            return _answering_nothing([(b"allow", _listed(methods))])
        if not self._cors.allows(request.headers[b"origin"]):
            return self._refusing(_NOT_NAMED)
        return _answering_nothing(headers)

    def _methods_of(self, path: str) -> tuple[str, ...]:
        if path in self._gets or (path.startswith(_MODEL) and path != _MODEL):
            return ("GET", "HEAD")
        return ("POST",) if path in self._posts else ()

    def _mended(self, path: str) -> str:
        """Return the path that was meant, or *path* itself."""
        if self._methods_of(path) and "//" not in path:
            return path
        parts = [part for part in path.split("/") if part]
        while parts[:1] == ["v1"]:
            del parts[0]
        bare = "/".join(parts)
        for meant in (f"/v1/{bare}", f"/{bare}"):
            if self._methods_of(meant):
                return meant
        return path

    def _unknown(self, request: Request) -> ErrorAnswer:
        known = [*self._posts, *self._gets]
        path = request.path[:_LONGEST_SHOWN]
        # A base URL that ends with the endpoint has it twice.
        nearest = [name for name in known if path.rstrip("/").endswith(name.removeprefix("/v1"))]
        nearest = nearest[:1] or get_close_matches(path, known, 1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(known)}"
        message = f"there is nothing at {path}{hint}"
        return refusal(404, message, code="unknown_url")

    def _refusing(self, error: ErrorAnswer) -> Endpoint:
        return endpoint_refusing(error, most_bytes=self._most_bytes)


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
_NOT_NAMED = refusal(
    403, "CORS_ORIGINS does not name the origin of this page", code="foreign_origin"
)
