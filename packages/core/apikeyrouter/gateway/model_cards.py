"""One model, as the clients of each dialect read it; its limits are not known here."""

from collections.abc import Callable

from apikeyrouter.dialects.gemini.names import resource

Card = dict[str, object]
#: Nobody here knows when a model was made; clients need some instant.
_UNKNOWN_INSTANT = "1970-01-01T00:00:00Z"


def _openai(model: str, owner: str) -> Card:
    return {"id": model, "object": "model", "created": 0, "owned_by": owner}


def _anthropic(model: str, owner: str) -> Card:
    return {
        "type": "model", "id": model, "display_name": model, "created_at": _UNKNOWN_INSTANT,
        "lifecycle": "active", "owned_by": owner,
    }  # fmt: skip


def _gemini(model: str, owner: str) -> Card:
    methods = ["generateContent", "countTokens"]
    if "embed" in model.lower():
        methods = ["embedContent", "batchEmbedContents", "countTokens"]
    return {
        "name": resource(model), "version": "001", "displayName": model,
        "description": f"served by {owner}", "supportedGenerationMethods": methods,
    }  # fmt: skip


#: Dialects whose clients read cards of their own.
_CARDS: dict[str, Callable[[str, str], Card]] = {"anthropic": _anthropic, "gemini": _gemini}


def card_of(dialect: str, model: str, owner: str) -> Card:
    """Describe a model to clients of the dialect of that name."""
    return _CARDS.get(dialect, _openai)(model, owner)
