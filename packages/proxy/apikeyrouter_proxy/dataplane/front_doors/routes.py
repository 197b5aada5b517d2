"""Routes: who answers which methods of which paths.

Paths without parameters are found by one look-up, the others among the few patterns that begin
alike. The first route that fits is taken; those with a condition come before those without.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from apikeyrouter_proxy.dataplane.asgi import Endpoint, Request

#: Methods that change nothing; whoever answers GET answers HEAD too.
READ = ("GET", "HEAD")
_PARAMETER = re.compile(r"\{(\w+)(\.\.\.)?\}")
_NO_PARAMS: Mapping[str, str] = {}

Condition = Callable[[Request, Mapping[str, str]], bool]


@dataclass(slots=True, frozen=True, eq=False)
class Route:
    """One row of a table of routes.

    Attributes:
        path: `{name}` in it stands for a part without slashes, `{name...}` for any text; the
            endpoint finds what stood there as `Request.params`.
        dialect: In which refusals are told; OpenAI's if no dialect has this name.
        when: Tells by the request and its parameters whether the route is meant, where another
            one has the same path.
    """

    methods: tuple[str, ...]
    path: str
    endpoint: Endpoint
    dialect: str = "openai"
    when: Condition | None = None


@dataclass(slots=True, frozen=True, eq=False)
class Match:
    """A route that fits a path, and its parameters."""

    route: Route
    params: Mapping[str, str]


class RouteTable:
    """All routes.

    Attributes:
        posts: Path -> who answers POST there, whatever else the request is.
        paths: Those without parameters, most used first.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        ordered = sorted(routes, key=lambda route: route.when is None)
        self._exact: dict[str, list[Route]] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        for route in ordered:
            if "{" in route.path:
                pattern = re.compile(_expression_of(route.path), re.DOTALL)
                self._patterns.setdefault(_beginning_of(route.path), []).append((pattern, route))
            else:
                self._exact.setdefault(route.path, []).append(route)
        self.posts = {
            path: route.endpoint
            for path, found in self._exact.items()
            for route in [next((r for r in found if "POST" in r.methods), None)]
            if route is not None and route.when is None
        }
        self.paths = [*self.posts, *(path for path in self._exact if path not in self.posts)]
        # Everything is like it.
        self.paths = [path for path in self.paths if path != "/"]

    def find(self, request: Request, path: str) -> Match | None:
        """Return what *request* means if its path is *path*; `None` if nothing is there."""
        method = request.method
        return next((m for m in self._matches(request, path) if method in m.route.methods), None)

    def methods_of(self, request: Request, path: str) -> tuple[str, ...]:
        """Return the methods of *path*; none if nothing is there."""
        routes = [match.route for match in self._matches(request, path)]
        return tuple(dict.fromkeys(method for route in routes for method in route.methods))

    def dialect_of(self, request: Request, path: str) -> str | None:
        """Return the name of the dialect of *path*; `None` if nothing is there."""
        return next((match.route.dialect for match in self._matches(request, path)), None)

    def _matches(self, request: Request, path: str) -> Iterator[Match]:
        for route in self._exact.get(path, ()):
            if route.when is None or route.when(request, _NO_PARAMS):
                yield Match(route, _NO_PARAMS)
        for beginning in (_beginning_of(path), ""):
            for pattern, route in self._patterns.get(beginning, ()):
                found = pattern.fullmatch(path)
                if found is None:
                    continue
                params = found.groupdict()
                if route.when is None or route.when(request, params):
                    yield Match(route, params)


def has_header(*names: bytes) -> Condition:
    """Return a condition that requests with any of these headers (lower case) meet."""

    def is_met(request: Request, params: Mapping[str, str]) -> bool:
        del params
        return any(name in request.headers for name in names)

    return is_met


def _beginning_of(path: str) -> str:
    """Return the first two parts of *path*; nothing where a pattern begins with a parameter."""
    beginning = "/".join(path.split("/", 3)[1:3])
    return "" if "{" in beginning else beginning


def _expression_of(path: str) -> str:
    """Return the regular expression of a route's path."""
    expression, at = "", 0
    for found in _PARAMETER.finditer(path):
        text = ".+" if found[2] else "[^/]+"
        expression += f"{re.escape(path[at : found.start()])}(?P<{found[1]}>{text})"
        at = found.end()
    return expression + re.escape(path[at:])
