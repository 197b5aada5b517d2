"""Models' names, as addresses and bodies have them and as they are asked for."""

PREFIX, TUNED = "models/", "tunedModels/"


def bare(name: str) -> str:
    """Return a model's name without the `models/` before it."""
    return name.removeprefix(PREFIX)


def resource(model: str) -> str:
    """Return how addresses and bodies name *model*."""
    return model if model.startswith((PREFIX, TUNED)) else PREFIX + model
