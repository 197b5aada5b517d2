"""What a client asks for, by the address it asks at.

A client may be made with any base URL: what counts is the path below its version, such as
`chat/completions` of `https://api.example.com/openai/v1/chat/completions`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from apikeyrouter.dialects.catalogue import DIALECTS, GEMINI, OPENAI_CHAT, dialect_of
from apikeyrouter.dialects.dialect import BadBodyError, Dialect, Peek
from apikeyrouter.dialects.gemini import names
from apikeyrouter.dialects.gemini.peek import GeminiPeek
from apikeyrouter.gateway.queries import without_credentials

_ANTHROPIC = DIALECTS["anthropic"]
#: Endpoints with a model in their JSON -> where a provider has them.
_PATHS = {
    "chat/completions": "chat/completions",
    "completions": "completions",
    "embeddings": "embeddings",
    "responses": "responses",
    "responses/input_tokens": "responses/input_tokens",
    "responses/compact": "responses/compact",
    "messages": "v1/messages",
    "messages/count_tokens": "v1/messages/count_tokens",
}
_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
#: Google's addresses name the model and what is asked of it.
_ASKED_OF_MODEL = re.compile(r"(?:.*/)?((?:models|tunedModels)/.+):([A-Za-z]+)")
_STREAMED = "streamGenerateContent"
_READING = ("GET", "HEAD")


@dataclass(slots=True)
class Target:
    """What is asked for.

    Attributes:
        dialect: Of the client.
        endpoint: See `Demand.endpoint`.
        path_for: Says where a provider has it, by its own name of the model.
        query: What of the address's query goes to providers.
        lists_models: The models are to be shown: all, or the one of that name.
        model: Named by the address; empty if it names none.
        is_stream: The address asks for a stream.
    """

    dialect: Dialect
    endpoint: str
    path_for: Callable[[str], str]
    query: str = ""
    lists_models: bool = False
    model: str = ""
    is_stream: bool = False

    def peek(self, body: bytes) -> Peek:
        """Read what a decision needs of a request's body.

        Raises:
            BadBodyError: It is none, or the endpoint is none that is served in process.
        """
        try:
            seen = self.dialect.peek(body)
        except BadBodyError as error:
            if self.endpoint in _PATHS or self.model:
                raise
            raise BadBodyError(
                f"'{self.endpoint}' names no model in a JSON body, so no key can be chosen for it; "
                "ask a provider's own client without the router"
            ) from error
        if self.model:
            return GeminiPeek(self.model, self.is_stream, seen.output_cap)
        if not seen.model:
            raise BadBodyError("model is missing; name the model you want", "model")
        return seen


def target_of(method: str, path: str, query: str, headers: Mapping[bytes, bytes]) -> Target:
    """Return what *path* means; what is unknown is the client's own dialect's.

    Args:
        headers: By lower-case name.
    """
    rest = _below_version(path)
    if method in _READING and (rest == "models" or rest.startswith("models/")):
        return Target(
            _dialect_by(headers), "models", str,
            lists_models=True, model=unquote(rest[len("models/") :]),
        )  # fmt: skip
    asked = _ASKED_OF_MODEL.fullmatch(rest)
    if asked is not None:
        return _asked_of_model(unquote(asked[1]), asked[2], without_credentials(query))
    dialect = dialect_of(rest)
    if rest not in _PATHS and dialect is OPENAI_CHAT:
        dialect = _dialect_by(headers)
    below = f"v1/{rest}" if dialect is _ANTHROPIC else rest
    where = _PATHS.get(rest, below)
    return Target(dialect, rest, lambda _: where, query)


def _asked_of_model(name: str, verb: str, query: str) -> Target:
    is_stream = verb == _STREAMED
    is_events = is_stream and "alt=sse" in query.split("&")
    endpoint = "generateContent" if is_events else verb
    dialect = dialect_of(endpoint)
    return Target(
        dialect if isinstance(dialect, type(GEMINI)) else GEMINI,
        endpoint, lambda model: names.address("v1beta", model, verb), query,
        model=names.bare(name), is_stream=is_stream,
    )  # fmt: skip


def _below_version(path: str) -> str:
    """Return what follows the version in *path*, or the longest known end of a path without one."""
    parts = [part for part in path.split("/") if part]
    for place in range(len(parts) - 1, -1, -1):
        if _VERSION.fullmatch(parts[place]):
            return "/".join(parts[place + 1 :])
    whole = "/".join(parts)
    ends = [end for end in (*_PATHS, "models") if whole == end or whole.endswith(f"/{end}")]
    return max(ends, key=len, default=whole)


def _dialect_by(headers: Mapping[bytes, bytes]) -> Dialect:
    """Return the dialect of a client that asks for what several have, by its headers."""
    if b"x-goog-api-key" in headers:
        return GEMINI
    return _ANTHROPIC if b"anthropic-version" in headers else OPENAI_CHAT
