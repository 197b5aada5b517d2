"""Requests for responses."""

from apikeyrouter.service import BadBodyError, Peek, ResponsesPeek
from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.forward import Forwarder


class ResponsesForwarder(Forwarder):
    """Forwards what makes, counts or compacts responses."""

    def peek(self, request: Request, body: bytes) -> Peek:
        """Read what a decision needs.

        Raises:
            BadBodyError: It is no request, or only an object that is not known tells its model.
        """
        seen = super().peek(request, body)
        if isinstance(seen, ResponsesPeek) and not seen.model:
            raise _without_model(seen)
        return seen


def _without_model(seen: ResponsesPeek) -> BadBodyError:
    named = next(
        name
        for name in ("previous_response_id", "conversation", "prompt")
        if name == "prompt" or getattr(seen, name)
    )
    return BadBodyError(
        f"model is missing, and what {named} names is not known here; name the model you want",
        "model",
    )
