"""The models that a router knows by name, as the clients of each dialect list them."""

import msgspec

from apikeyrouter.errors import UnknownModelError
from apikeyrouter.gateway.model_cards import card_of
from apikeyrouter.integrations.addresses import Target
from apikeyrouter.router import ApiKeyRouter


def show_models(router: ApiKeyRouter, target: Target) -> bytes:
    """Return the list of all models on one page, or the one that is asked for.

    Raises:
        UnknownModelError: Nobody serves it.
    """
    name, dialect = target.model, target.dialect.name
    if name:
        owner = router.owner_of(name)
        if owner is None:
            raise UnknownModelError(name, router.nearest_models(name))
        return msgspec.json.encode(card_of(dialect, name, owner))
    owners: dict[str, str] = {}
    for model, provider_id in router.known_models():
        owners.setdefault(model, provider_id or "apikeyrouter")
    cards = [card_of(dialect, model, owner) for model, owner in owners.items()]
    names = list(owners)
    page: dict[str, object] = {"object": "list", "data": cards}
    if dialect == "gemini":
        page = {"models": cards}
    elif dialect == "anthropic":
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {}
        page = {"data": cards, "has_more": False, "first_id": None, "last_id": None, **ends}
    return msgspec.json.encode(page)
