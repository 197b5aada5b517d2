"""Requests for responses: what they build upon is in one account, and so is what they make."""

from itertools import chain

from apikeyrouter import Demand
from apikeyrouter.service import (
    Answer,
    Attempt,
    BadBodyError,
    EventParser,
    ObjectRegister,
    Owner,
    Peek,
    ResponsesPeek,
    read_told,
)
from apikeyrouter_proxy.dataplane.asgi import Message, Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.objects.binding import owner_of_all
from apikeyrouter_proxy.dataplane.objects.ids import names_in_talk

KIND = "responses"


class ResponsesForwarder(Forwarder):
    """Forwards what makes, counts or compacts responses."""

    def _demand_of(
        self, seen: Peek, body: bytes, request: Request, client: Client | None
    ) -> Demand:
        demand = super()._demand_of(seen, body, request, client)
        if isinstance(seen, ResponsesPeek):
            bind(demand, seen, body, self._objects)
        return demand

    async def _pass_on(
        self, answer: Answer, demand: Demand, client: Client | None, request: Request, send: Send
    ) -> None:
        # What was translated is stored nowhere.
        if answer.failure is None and answer.translation is None:
            if answer.stream is None:
                note(read_id(answer.body), answer.attempt, demand, self._objects)
            else:
                send = _noting(send, answer, demand, self._objects)
        await super()._pass_on(answer, demand, client, request, send)


def bind(demand: Demand, seen: ResponsesPeek, body: bytes, objects: ObjectRegister) -> None:
    """Bind *demand* to the key that has what it builds upon, and what it names besides.

    Raises:
        BadBodyError: No model is named, and what could tell it is not known.
        RefusedBodyError: It is not all in one account.
    """
    names = chain(seen.stored_ids, names_in_talk(body))
    owner = owner_of_all(objects, demand.client, names)
    if owner is not None:
        demand.key_id = owner.key_id
    elif not seen.model:
        raise _without_model(seen)


def note(response_id: str, attempt: Attempt, demand: Demand, objects: ObjectRegister) -> None:
    """Remember whose a response is; one without an id is nothing."""
    if response_id:
        owner = Owner(attempt.provider.id, attempt.slot.id, attempt.account)
        objects.note(demand.client, KIND, response_id, owner, is_new=False, is_made=True)


def read_id(data: bytes) -> str:
    """Return the name of the response that *data* is, or is an event of; empty if it tells none."""
    told = read_told(data)
    return told.response_id if told is not None else ""


def _noting(send: Send, answer: Answer, demand: Demand, objects: ObjectRegister) -> Send:
    """Return what sends a stream, and remembers whose the response is once it tells its name."""
    parser: EventParser | None = EventParser()

    async def pass_on(message: Message) -> None:
        nonlocal parser
        if parser is not None and message.get("body"):
            for _, data in parser.feed(message["body"]):
                if response_id := read_id(data):
                    note(response_id, answer.attempt, demand, objects)
                    parser = None
                    break
        await send(message)

    return pass_on


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
