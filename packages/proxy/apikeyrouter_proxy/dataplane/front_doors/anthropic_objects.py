"""Anthropic's batches and files, which stay with the account that made them."""

import re

from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.front_doors.anthropic import is_anthropic
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Condition, Route
from apikeyrouter_proxy.dataplane.objects.forwarder import ObjectForwarder, own_address
from apikeyrouter_proxy.dataplane.objects.listing import ListForwarder

_RESULTS = re.compile(rb'("results_url"\s*:\s*")https?://[^/"\\]+(/v1/messages/batches/)')


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of them."""
    return [
        *_object_routes(parts, "messages/batches", "/v1/messages/batches"),
        *_object_routes(parts, "messages/files", "/v1/files", is_anthropic),
    ]


class AnthropicObjects(ObjectForwarder):
    """Forwards what is about batches and files."""

    beginning = "/"

    def retold(self, body: bytes, request: Request) -> bytes:
        """Lead clients here for results: they follow the address, with the token that is ours."""
        return _RESULTS.sub(rb"\1%s\2" % own_address(request), body)


class AnthropicLists(AnthropicObjects, ListForwarder):
    """Lists batches and files."""

    cursor = "after_id"


def _object_routes(
    parts: ServiceParts, endpoint: str, path: str, when: Condition | None = None
) -> list[Route]:
    forwarder = parts.forwarder(endpoint, kind=AnthropicObjects)
    lists = parts.forwarder(endpoint, kind=AnthropicLists)
    below = path + "/{rest...}"
    return [
        Route(("GET",), path, lists, "anthropic", when),
        Route(("HEAD", "POST"), path, forwarder, "anthropic", when),
        Route((*READ, "POST", "DELETE"), below, forwarder, "anthropic", when),
    ]
