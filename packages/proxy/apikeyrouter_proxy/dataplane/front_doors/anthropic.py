"""Anthropic's endpoints."""

from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import Route


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    del parts
    return []
