"""Models' names, as addresses and bodies have them and as they are asked for."""

from urllib.parse import quote

from apikeyrouter.dialects.dialect import BadBodyError

PREFIX, TUNED = "models/", "tunedModels/"
#: Signs that a model's address may have as they are.
_SAFE = "/:@!$'()*,;=~"
_STEPS = frozenset({".", ".."})


def bare(name: str) -> str:
    """Return a model's name without the `models/` before it."""
    return name.removeprefix(PREFIX)


def resource(model: str) -> str:
    """Return how addresses and bodies name *model*."""
    return model if model.startswith((PREFIX, TUNED)) else PREFIX + model


def address(version: str, model: str, verb: str) -> str:
    """Return where what *verb* says is asked of *model*.

    Raises:
        BadBodyError: The name would lead to another address.
    """
    if "." in model and not _STEPS.isdisjoint(model.split("/")):
        raise BadBodyError("model: has '.' or '..' as a part; name the model you want", "model")
    return f"{version}/{quote(resource(model), safe=_SAFE)}:{verb}"
