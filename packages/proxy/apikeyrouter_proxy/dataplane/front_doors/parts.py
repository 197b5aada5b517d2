"""What endpoints are made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

from apikeyrouter import ApiKeyRouter
from apikeyrouter.service import MemoryObjectRegister, ModelLists, ObjectRegister
from apikeyrouter_proxy.dataplane.asgi import ShutdownState
from apikeyrouter_proxy.dataplane.auth import ClientRegister
from apikeyrouter_proxy.dataplane.bodies.reader import BodyReader
from apikeyrouter_proxy.dataplane.forward import Forwarder


def _no_trouble() -> None:
    return None


@dataclass(slots=True, eq=False)
class ServiceParts:
    """What the endpoints of one service share.

    Attributes:
        objects: Who has what clients made.
        config_trouble: Tells why the configuration file is not what runs; `None` if it is.
        spreading_trouble: Tells why other processes are not told what is learned; `None` or empty
            if they are.
        store_id: Tells its store from those of other services.
        comment_after_s: Silence in a stream after which the client gets a comment; 0 for none.
    """

    router: ApiKeyRouter
    clients: ClientRegister
    models: ModelLists
    bodies: BodyReader
    ending: ShutdownState
    comment_after_s: float
    objects: ObjectRegister = field(default_factory=MemoryObjectRegister)
    config_trouble: Callable[[], str | None] = _no_trouble
    spreading_trouble: Callable[[], str | None] = _no_trouble
    store_id: str = ""

    def forwarder(
        self, endpoint: str, path: str = "", *, kind: type[Forwarder] = Forwarder
    ) -> Forwarder:
        """Return what forwards *endpoint*.

        Args:
            endpoint: See `Demand.endpoint`.
            path: Below a provider's base URL; the endpoint's own name if empty.
            kind: Made with the arguments of `Forwarder`.
        """
        return kind(
            self.router, self.clients,
            endpoint=endpoint, path=path, objects=self.objects, bodies=self.bodies,
            ending=self.ending, comment_after_s=self.comment_after_s,
            on_unknown=self.models.refresh,
        )  # fmt: skip
