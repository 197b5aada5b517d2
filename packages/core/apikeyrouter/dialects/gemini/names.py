"""Models' names, as addresses and bodies have them and as they are asked for."""

from urllib.parse import quote

PREFIX, TUNED = "models/", "tunedModels/"
#: Signs that a model's address may have as they are.
_SAFE = "/:@!$'()*,;=~"


def bare(name: str) -> str:
    """Return a model's name without the `models/` before it."""
    return name.removeprefix(PREFIX)


def resource(model: str) -> str:
    """Return how addresses and bodies name *model*."""
    return model if model.startswith((PREFIX, TUNED)) else PREFIX + model


def address(version: str, model: str, verb: str) -> str:
    """Return where what *verb* says is asked of *model*."""
    return f"{version}/{quote(resource(model), safe=_SAFE)}:{verb}"
