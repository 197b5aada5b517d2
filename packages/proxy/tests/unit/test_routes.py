"""A path and a method find the route that is meant, and its parameters."""

import asyncio
from typing import Any

import pytest

from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.dispatch import Dispatcher
from apikeyrouter_proxy.dataplane.front_doors.catalogue import dialect_below
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Route, RouteTable, has_header
from apikeyrouter_proxy.middleware.cors import Cors
from apikeyrouter_proxy.middleware.security_headers import SecurityHeaders


async def _nothing(request: Any, receive: Any, send: Any) -> None: ...


async def _other(request: Any, receive: Any, send: Any) -> None: ...


ANTHROPIC = has_header(b"anthropic-version")
ROUTES = [
    Route(("POST",), "/v1/chat", _nothing),
    Route(("POST",), "/v1/files", _nothing),
    Route(READ, "/v1/files", _nothing),
    Route(("POST", "GET"), "/v1/files", _other, when=ANTHROPIC),
    Route(READ, "/v1/files/{id}", _nothing),
    Route(("DELETE",), "/v1/files/{id}", _nothing),
    Route(READ, "/v1/files/{id}/content", _other),
    Route(("POST",), "/v1/models/{model...}:count", _nothing),
    Route(READ, "/v1/models/{model...}", _nothing),
    Route(("PATCH",), "/{provider}/{rest...}", _nothing, when=lambda _, p: p["provider"] == "x"),
]
TABLE = RouteTable(ROUTES)


def request_to(method: str, path: str, *headers: bytes) -> Request:
    pairs = [(name, b"1") for name in headers]
    return Request({"type": "http", "method": method, "path": path, "headers": pairs})


@pytest.mark.parametrize(
    ("method", "path", "number", "params"),
    [
        ("POST", "/v1/chat", 0, {}),
        ("HEAD", "/v1/files", 2, {}),
        ("GET", "/v1/files/a b", 4, {"id": "a b"}),
        ("DELETE", "/v1/files/a:b.c", 5, {"id": "a:b.c"}),
        ("GET", "/v1/files/a/content", 6, {"id": "a"}),
        ("GET", "/v1/files/a/b", None, None),
        ("GET", "/v1/files/", None, None),
        ("PUT", "/v1/files/a", None, None),
        ("POST", "/v1/models/p/m:online:count", 7, {"model": "p/m:online"}),
        ("GET", "/v1/models/p/m", 8, {"model": "p/m"}),
        ("GET", "/v1/models/a\nb", 8, {"model": "a\nb"}),
        ("POST", "/v1/models/p/m", None, None),
        ("PATCH", "/x/v1/files", 9, {"provider": "x", "rest": "v1/files"}),
        ("PATCH", "/y/v1/files", None, None),
        ("GET", "/x/v1/files", None, None),
    ],
)
def test_path_finds_its_route(method: str, path: str, number: int | None, params: Any) -> None:
    match = TABLE.find(request_to(method, path), path)
    if number is None:
        assert match is None
    else:
        assert match is not None
        assert (match.route, match.params) == (ROUTES[number], params)


def test_route_with_a_condition_comes_first_where_it_is_met() -> None:
    for method in ("GET", "POST"):
        match = TABLE.find(request_to(method, "/v1/files", b"anthropic-version"), "/v1/files")
        assert match is not None
        assert match.route is ROUTES[3]


def test_only_what_depends_on_nothing_is_found_by_one_look_up() -> None:
    assert TABLE.posts == {"/v1/chat": _nothing}


def test_methods_of_all_routes_of_a_path_are_told() -> None:
    request = request_to("PUT", "/v1/files/a")
    assert TABLE.methods_of(request, "/v1/files/a") == ("GET", "HEAD", "DELETE")
    assert TABLE.methods_of(request, "/v1/nothing") == ()


@pytest.mark.parametrize(
    ("path", "header", "name"),
    [
        ("/v1/messages/x/y", b"a", "anthropic"),
        ("/v1beta/models/x:y", b"a", "gemini"),
        ("/upload/v1beta/x", b"a", "gemini"),
        ("/v1/x", b"a", "openai"),
        ("/v1/x", b"anthropic-version", "anthropic"),
    ],
)
def test_unknown_path_has_a_dialect(path: str, header: bytes, name: str) -> None:
    assert dialect_below(request_to("GET", path, header)) == name


def test_parameters_are_handed_to_the_endpoint() -> None:
    seen: list[Any] = []

    async def note(request: Request, receive: Any, send: Any) -> None:
        seen.append((request.path, request.params))

    dispatcher = Dispatcher(
        RouteTable([Route(("POST",), "/v1/responses/{id}/cancel", note)]),
        is_open=False, cors=Cors(), security=SecurityHeaders(hsts=False), most_bytes=1,
    )  # fmt: skip
    for path in ("/v1/responses/r-1/cancel", "/v1/v1//responses/r-1/cancel/"):
        request = request_to("POST", path)
        endpoint = dispatcher.endpoint_for(request)
        asyncio.run(endpoint(request, None, None))  # type: ignore[arg-type] # it asks for neither
    assert seen == [("/v1/responses/r-1/cancel", {"id": "r-1"})] * 2
