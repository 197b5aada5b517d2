"""OpenAI's endpoints."""

from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Route
from apikeyrouter_proxy.dataplane.objects.forwarder import MediaForwarder, ObjectForwarder
from apikeyrouter_proxy.dataplane.objects.listing import ListForwarder

#: Endpoints with a model in their JSON.
_WITH_MODEL = ("chat/completions", "completions", "embeddings")
#: Those that may name one, in JSON or in a form.
_MEDIA = (
    "moderations", "images/generations", "images/edits", "images/variations",
    "audio/speech", "audio/transcriptions", "audio/translations",
)  # fmt: skip
#: Endpoint, and where its objects are made and listed.
_OBJECTS = {
    "files": "files", "uploads": "uploads", "batches": "batches",
    "vector_stores": "vector_stores", "conversations": "conversations", "videos": "videos",
    "containers": "containers", "fine_tuning": "fine_tuning/jobs",
}  # fmt: skip


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    found = [Route(("POST",), f"/v1/{name}", parts.forwarder(name)) for name in _WITH_MODEL]
    for name in _MEDIA:
        forwarder = parts.forwarder(name, kind=MediaForwarder)
        found.append(Route(("POST",), f"/v1/{name}", forwarder))
    for name, path in _OBJECTS.items():
        found += object_routes(parts, name, f"/v1/{path}")
    return found


def object_routes(parts: ServiceParts, endpoint: str, path: str) -> list[Route]:
    """Return what is served of one kind of objects."""
    forwarder = parts.forwarder(endpoint, kind=ObjectForwarder)
    return [
        Route(("GET",), path, parts.forwarder(endpoint, kind=ListForwarder)),
        Route(("HEAD", "POST"), path, forwarder),
        Route((*READ, "POST", "DELETE"), path + "/{rest...}", forwarder),
    ]
