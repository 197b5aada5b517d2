"""Gemini's endpoints: the model and what is wanted of it stand in the address.

A client's key may stand there too, as `key`; it is neither logged nor sent on.
"""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from apikeyrouter.service import (
    BadBodyError,
    GeminiPeek,
    Peek,
    card_of,
    gemini_names,
)
from apikeyrouter_proxy.dataplane.asgi import Endpoint, Receive, Request, Send
from apikeyrouter_proxy.dataplane.errors import refusal
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.front_doors.info import Info
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Condition, Route
from apikeyrouter_proxy.dataplane.refusals import refuse_unread

_VERSIONS = ("v1beta", "v1")
_PLAIN = ("generateContent", "countTokens", "embedContent", "batchEmbedContents", "predict")
_STREAMED = "streamGenerateContent"
_VERBS = (*_PLAIN, _STREAMED)
_KEY_HEADER = b"x-goog-api-key"
_PAGE_SIZE, _LARGEST_PAGE = 50, 1000
_LONGEST_VERB, _MOST_UNREAD_BYTES = 100, 2**20


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    found = []
    for version in _VERSIONS:
        for verb in _PLAIN:
            found += _routes_of(parts, version, verb, verb)
        # The stream of events comes first: it has a condition.
        found += _routes_of(parts, version, _STREAMED, "generateContent", when=_asks_for_events)
        found += _routes_of(parts, version, _STREAMED, _STREAMED)
    found += [
        Route(("POST",), f"/{version}/{where}", _refuse_verb, "gemini", _asks_for_unknown)
        for version in _VERSIONS
        for where in ("models/{model...}", "tunedModels/{model...}")
    ]
    return [*found, *_routes_of_models(parts)]


def _routes_of(
    parts: ServiceParts, version: str, verb: str, endpoint: str, when: Condition | None = None
) -> list[Route]:
    answer = keyed(parts.forwarder(endpoint, f"{version}:{verb}", kind=GeminiForwarder))
    return [
        Route(("POST",), f"/{version}/{where}:{verb}", answer, "gemini", when)
        for where in ("models/{model...}", "tunedModels/{tuned...}")
    ]


def _routes_of_models(parts: ServiceParts) -> list[Route]:
    models = GeminiModels(parts.router, parts.clients, parts.models)
    listed, shown = keyed(models.list_models), keyed(models.show_model)
    return [
        Route(READ, f"/{version}/models{rest}", answer, "gemini", when)
        for version, when in (("v1beta", None), ("v1", bears_a_key))
        for rest, answer in (("", listed), ("/{model...}", shown))
    ]


class GeminiForwarder(Forwarder):
    """Forwards what is asked of a model that the address names.

    Its `path` is the version, a colon, and what is asked.
    """

    def peek(self, request: Request, body: bytes) -> Peek:
        """Read what a decision needs of address and body."""
        is_stream = self._path.endswith(_STREAMED)
        return GeminiPeek(model_in(request), is_stream, super().peek(request, body).output_cap)

    def path_for(self, request: Request) -> Callable[[str], str]:
        """Return what names a provider's own model in the address."""
        del request
        version, _, verb = self._path.partition(":")
        return lambda model: gemini_names.address(version, model, verb)


class GeminiModels(Info):
    """Shows models as Google does."""

    def name_in(self, request: Request) -> str:
        """Return the name of the model that is to be shown."""
        return model_in(request)

    def listing(self, request: Request, owners: Mapping[str, str]) -> object:
        """Describe a page of the models; its token is the last name of the page before."""
        size, after = _page_of(request)
        names = list(owners)
        start = names.index(after) + 1 if after in owners else 0
        if after and not start:
            raise BadBodyError("pageToken: is of no list that is known; leave it out", "pageToken")
        page = names[start : start + size]
        listed: dict[str, object] = {"models": [self.card(name, owners[name]) for name in page]}
        if start + size < len(names):
            listed["nextPageToken"] = page[-1]
        return listed

    def card(self, model: str, owner: str) -> dict[str, object]:
        """Describe one model; its limits are not known here."""
        return card_of("gemini", model, owner)


def model_in(request: Request) -> str:
    """Return the model that an address names, as it is asked for."""
    tuned = request.params.get("tuned")
    return (
        f"tunedModels/{tuned}" if tuned is not None else gemini_names.bare(request.params["model"])
    )


async def _refuse_verb(request: Request, receive: Receive, send: Send) -> None:
    """Tell that what is wanted of a model is nothing that is served."""
    verb = request.path.rpartition("/")[2].rpartition(":")[2][:_LONGEST_VERB]
    error = refusal(404, f"there is no :{verb} of a model here; known are {', '.join(_VERBS)}")
    await refuse_unread(send, receive, request, error, most_bytes=_MOST_UNREAD_BYTES)


def keyed(endpoint: Endpoint) -> Endpoint:
    """Return *endpoint* for clients whose key may stand in the address, as `key`."""

    async def answer(request: Request, receive: Receive, send: Send) -> None:
        key = parameters_of(request).get("key")
        if key and _KEY_HEADER not in request.headers:
            request.headers[_KEY_HEADER] = key[-1].encode()
        await endpoint(request, receive, send)

    return answer


def _asks_for_unknown(request: Request, params: Mapping[str, str]) -> bool:
    _, colon, verb = params["model"].rpartition(":")
    return request.method == "POST" and bool(colon) and verb not in _VERBS


def _asks_for_events(request: Request, params: Mapping[str, str]) -> bool:
    del params
    asked = parameters_of(request)
    return asked.get("alt", asked.get("$alt")) == ["sse"]


def bears_a_key(request: Request, params: Mapping[str, str]) -> bool:
    """Tell whether a request for a path of several dialects is Google's by its credential."""
    del params
    return _KEY_HEADER in request.headers or "key" in parameters_of(request)


def _page_of(request: Request) -> tuple[int, str]:
    """Return how many models are wanted, and after which one."""
    asked = parameters_of(request)
    size = asked.get("pageSize", [""])[-1][:9] or "0"
    if not size.isdecimal():
        raise BadBodyError("pageSize: should be a whole number", "pageSize")
    return min(int(size) or _PAGE_SIZE, _LARGEST_PAGE), asked.get("pageToken", [""])[-1]


def parameters_of(request: Request) -> dict[str, list[str]]:
    """Return the parameters of the address."""
    query = request.scope["query_string"]
    return parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {}
