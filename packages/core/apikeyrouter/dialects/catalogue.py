"""Which dialect an endpoint belongs to.

To add a dialect, add its folder and a row here; a dialect of a user's own comes by
`register_dialect`.
"""

from collections.abc import Mapping

from apikeyrouter.dialects.anthropic.dialect import Anthropic
from apikeyrouter.dialects.dialect import Dialect
from apikeyrouter.dialects.gemini.dialect import Gemini, GeminiArrays
from apikeyrouter.dialects.gemini.interactions import GeminiInteractions
from apikeyrouter.dialects.openai_chat.dialect import OpenAIChat
from apikeyrouter.dialects.openai_responses.dialect import OpenAIResponses
from apikeyrouter.domain.interfaces.provider_adapter import Serving

OPENAI_CHAT = OpenAIChat()
OPENAI_RESPONSES = OpenAIResponses()
GEMINI = Gemini()
_by_name: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, Anthropic(), GEMINI)
}
#: Dialect by name.
DIALECTS: Mapping[str, Dialect] = _by_name
#: Dialect by endpoint, or by the first part of its path; whatever is in no row is OpenAI's.
_BY_ENDPOINT: dict[str, Dialect] = {
    endpoint: dialect
    for dialect in (*DIALECTS.values(), GeminiArrays(), GeminiInteractions())
    for endpoint in (dialect.endpoint, *dialect.json_endpoints)
}
#: The endpoint of whatever is forwarded as it is, to a provider that its caller has named.
RAW = "raw"


def register_dialect(dialect: Dialect) -> None:
    """Let providers speak *dialect*, and clients whose requests name one of its endpoints.

    Raises:
        ValueError: Its name or one of its endpoints is another's.
    """
    endpoints = {dialect.endpoint, *dialect.json_endpoints}
    taken = endpoints & _BY_ENDPOINT.keys()
    if dialect.name in _by_name or taken:
        what = ", ".join(sorted(taken)) or dialect.name
        raise ValueError(f"dialect '{dialect.name}': {what} is another dialect's")
    _by_name[dialect.name] = dialect
    _BY_ENDPOINT.update(dict.fromkeys(endpoints, dialect))


def dialect_of(endpoint: str) -> Dialect:
    """Return the dialect of *endpoint*, such as of `messages/count_tokens`."""
    known = _BY_ENDPOINT.get(endpoint)
    return known or _BY_ENDPOINT.get(endpoint.partition("/")[0]) or OPENAI_CHAT


def serving_of(endpoint: str, spoken: tuple[str, ...]) -> Serving:
    """Say how a provider that speaks the dialects *spoken* serves *endpoint*.

    Only conversations are translated.
    """
    dialect = dialect_of(endpoint)
    if dialect.name in spoken or endpoint == RAW:
        return Serving.NATIVE
    target = DIALECTS[spoken[0]]
    if dialect.endpoint != endpoint or not dialect.rendering or not target.rendering:
        return Serving.NONE
    return Serving.TRANSLATED
