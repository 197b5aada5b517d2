"""Which tongue a request is made in: by its path, and by its signs where paths are shared."""

from collections.abc import Mapping, Sequence
from typing import Final

from apikeyrouter_simulator.dialects.anthropic.dialect import AnthropicDialect
from apikeyrouter_simulator.dialects.dialect import Dialect, Incoming
from apikeyrouter_simulator.dialects.gemini.dialect import GeminiDialect
from apikeyrouter_simulator.dialects.openai.dialect import OpenAIDialect
from apikeyrouter_simulator.dialects.responses.dialect import ResponsesDialect

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (OpenAIDialect(), ResponsesDialect(), AnthropicDialect(), GeminiDialect())
}


def tongue_of(incoming: Incoming, speaks: Sequence[str]) -> Dialect:
    """Return the tongue that answers, out of those that a provider speaks.

    Of those that know the path it is the one whose signs the request bears, else the first; if
    none knows it, the same of all, which then refuses it.
    """
    if len(speaks) == 1:
        return DIALECTS[speaks[0]]
    spoken = [DIALECTS[name] for name in speaks]
    knowing = [dialect for dialect in spoken if dialect.knows(incoming)] or spoken
    return next((dialect for dialect in knowing if dialect.is_meant(incoming)), knowing[0])
