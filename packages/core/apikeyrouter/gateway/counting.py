"""Counts of tokens that nobody but us is asked for.

Agents ask how large a message is before they send it. Where its model is served by translation
no provider counts as its dialect does, and nobody knows better than an estimate.
"""

import msgspec

from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.route_table import RouteTable

_COUNT, _MESSAGES = "messages/count_tokens", "messages"
#: Headers of such an answer.
ESTIMATED = ((b"content-type", b"application/json"), (b"x-token-count", b"estimated"))


def estimated_count(demand: Demand, routes: RouteTable) -> bytes | None:
    """Return the answer to who asks for a count; `None` if a provider is to be asked, or nobody."""
    if demand.endpoint != _COUNT or routes.serves(demand.model, _COUNT):
        return None
    if not routes.serves(demand.model, _MESSAGES):
        return None
    return msgspec.json.encode({"input_tokens": demand.input_tokens})
