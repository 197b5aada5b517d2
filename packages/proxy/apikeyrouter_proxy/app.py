"""The service put together: one raw ASGI callable and its lifespan."""

import asyncio
import logging
import os
from collections.abc import Collection, Mapping

from apikeyrouter import ApiKeyRouter, ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import (
    ClientConfig,
    ProviderConfig,
    RouterConfig,
    ServerConfig,
    refuse_open_service,
)
from apikeyrouter.service import (
    EncryptionError,
    LedgerAccount,
    ModelLists,
    ServiceMark,
    Spreading,
    StateStoreError,
    bare,
    share_ledger,
)
from apikeyrouter_proxy.api.audit import RELOAD, AuditLog
from apikeyrouter_proxy.api.clients import ManagedClients
from apikeyrouter_proxy.api.endpoint import ManagementEndpoint
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.composition import (
    admin_reports,
    admin_secrets_of,
    config_path,
    read_config,
    refuse_unsupported,
)
from apikeyrouter_proxy.configuration.changes import plain
from apikeyrouter_proxy.configuration.reloading import Changes, ConfigSource, Reloader
from apikeyrouter_proxy.configuration.setup import RouterSetup
from apikeyrouter_proxy.dataplane.asgi import (
    Message,
    Receive,
    Request,
    Scope,
    Send,
    ShutdownState,
)
from apikeyrouter_proxy.dataplane.auth import ClientRegister
from apikeyrouter_proxy.dataplane.bodies.reader import BodyReader
from apikeyrouter_proxy.dataplane.dispatch import Dispatcher
from apikeyrouter_proxy.dataplane.errors import STOPPING, UNEXPECTED
from apikeyrouter_proxy.dataplane.front_doors.catalogue import route_table
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.refusals import send_refusal
from apikeyrouter_proxy.middleware.cors import Cors
from apikeyrouter_proxy.middleware.security_headers import SecurityHeaders
from apikeyrouter_proxy.settings import ProxySettings
from apikeyrouter_proxy.spreading.service_spreading import spreading_of
from apikeyrouter_proxy.storage import hold, object_register_for, store_of, with_encryption_key

_log = logging.getLogger(__name__)


class ProxyApp:
    """An ASGI application: the data plane by path, and what must be started and stopped.

    Attributes:
        router: What decides and forwards; its providers and keys are registered at the start.
        bodies: Reads request bodies, and counts those that are held.
        parts: What its endpoints share.
        objects: Which key has what clients made.
        clients: Those that are added while it runs.
        managed: What the management API works on.
        mark: Keeps others from writing to a file of a store behind this service's back.
        ending: Set when the service stops and waits no longer for what runs.
        spreading: What other processes are told and tell; `None` for one that is alone.
    """

    def __init__(
        self,
        config: RouterConfig,
        router: ApiKeyRouter,
        settings: ProxySettings,
        source: ConfigSource | None = None,
    ) -> None:
        self.config = config
        self.router = router
        self.models = ModelLists(router.routes, router.now)
        self.reports = admin_reports(router, config)
        self.setup = RouterSetup(router)
        self.mark = ServiceMark(bare(config.store))
        self.ending = ShutdownState()
        self._is_registered = False
        self._register = clients = ClientRegister()
        clients.declare(config.clients, self._accounts_of)
        server = config.server
        self.bodies = BodyReader(
            most_bytes=server.max_body_bytes,
            most_held_bytes=server.max_inflight_body,
            patience_s=server.request_timeout,
        )
        self.objects = object_register_for(config, router.state_store)
        self.parts = ServiceParts(
            router, clients, self.models, self.bodies, self.ending,
            comment_after_s=server.sse_keepalive, objects=self.objects,
        )  # fmt: skip
        self.clients = ManagedClients(
            router.state_store, clients,
            open_account=router.open_account,
            on_first=lambda: self._dispatcher.guard(is_open=False),
        )  # fmt: skip
        self._audit = AuditLog(router.state_store)
        self.reloader = None if source is None else Reloader(
            source, config, apply=self._apply, on_change=self._note_change
        )  # fmt: skip
        self.parts.config_trouble = lambda: self.reloader.trouble if self.reloader else None
        self.spreading: Spreading | None = None
        self.parts.spreading_trouble = lambda: self.spreading.trouble if self.spreading else None
        self.managed = managed = ManagementParts(
            router,
            config,
            self.clients,
            self._audit,
            self.reloader,
            apply_providers=self._use_providers,
        )  # fmt: skip
        self._dispatcher = Dispatcher(
            route_table(self.parts),
            # Without clients anybody may call, so nobody from elsewhere.
            is_open=not config.clients,
            cors=Cors(settings.origins), security=SecurityHeaders(hsts=settings.enable_hsts),
            management=ManagementEndpoint(managed, self.bodies),
            most_bytes=2 * server.max_body_bytes, providers=router.routes.providers,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(receive, send)
            return
        if kind == "websocket":
            send = _refusing_upgrades(send)
        request = Request(scope)
        try:
            await self._dispatcher.endpoint_for(request)(request, receive, send)
        except asyncio.CancelledError:
            # Whom the end of the service cut short is told, and has been if its answer is begun.
            if not self.ending.is_due:
                raise
            if not request.is_begun:
                await send_refusal(send, request, STOPPING)
        except Exception:  # noqa: BLE001 - the outermost edge: nothing of ours is above
            _log.exception("request %s failed unexpectedly", request.id)
            if not request.is_begun:
                await send_refusal(send, request, UNEXPECTED)

    async def start(self) -> None:
        """Register what the configuration names; once is enough.

        Raises:
            ConfigurationError: Something in it cannot be used.
        """
        if not self._is_registered:
            await hold(self.mark)
            self.parts.store_id = self.mark.store_id()
            await self._take_up_state([key.id for key in self.config.keys if key.id])
            await self.setup.apply(self.config)
            self.managed.use_aliases()
            self._is_registered = True
        if self.router.ledger_backend is not None:
            await self.router.ledger_backend.start()
            await self._spread(self.config.ledger)
        self.models.start()
        self.reports.start()
        if self.reloader is not None:
            self.reloader.start()

    async def take_up_store(self) -> None:
        """Take up all that is stored, to be managed and not to be served; no key is declared.

        Raises:
            ConfigurationError: The store, or a provider of the configuration, cannot be used.
        """
        await self._take_up_state(None)
        providers = {key.provider: ProviderConfig() for key in self.config.keys}
        update = {"keys": [], "providers": {**providers, **self.config.providers}}
        await self.setup.apply(self.config.model_copy(update=update))

    async def _use_providers(self, added: Mapping[str, ProviderConfig]) -> None:
        await self.setup.use_added(added)
        self.models.refresh()

    async def _apply(self, config: RouterConfig) -> None:
        """Go on by another configuration.

        Raises:
            ConfigurationError: It cannot be used; nothing has changed.
        """
        refuse_unsupported(config)
        refuse_exposed(config)
        if taken := sorted({c.name for c in config.clients} & {c.name for c in self.clients.all()}):
            raise ConfigurationError(
                f"clients: '{taken[0]}' was added by the management API: revoke it there first, "
                "or take another name"
            )
        await self.setup.apply(config)
        # From here on nothing can fail, and nothing is waited for.
        self.config = self.managed.config = config
        self._register.declare(config.clients, self._accounts_of)
        self._dispatcher.guard(is_open=not len(self._register))
        self.reports.go_by(admin_secrets_of(config))
        self.reports.start()
        self.models.refresh()

    async def _note_change(self, path: str, changes: Changes) -> None:
        try:
            await self._audit.note(RELOAD, path, {}, plain(changes))
        except StateStoreError as error:
            _log.error("the change of %s is not in the audit log: %s", path, error)

    async def _spread(self, url: str) -> None:
        """Learn what other processes know, and tell them from now on."""
        if self.spreading is None:
            managed = self.managed
            self.spreading = spreading_of(
                self.router, url, kept=managed.kept, objects=self.objects,
                changing=managed.changing,
            )  # fmt: skip
        await self.spreading.start()

    async def _take_up_state(self, claimed: Collection[str] | None) -> None:
        try:
            await self.router.hydrate(claimed=claimed)
            await self.objects.load()
            await self.clients.load(lambda: {client.name for client in self.config.clients})
            await self.managed.load()
            self.setup.added = self.managed.added_providers()
        except (StateStoreError, EncryptionError) as error:
            raise ConfigurationError(f"store: {error}") from error

    async def stop(self) -> None:
        """Close connections and write what is waiting to be written."""
        if self.reloader is not None:
            await self.reloader.stop()
        if self.spreading is not None:
            await self.spreading.close()
        await self.models.stop()
        await self.reports.stop()
        await self.objects.close()
        await self.setup.close()
        await self.router.close()
        self.mark.release()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:
            # An error that only leaves here is taken for an application without a lifespan.
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            if isinstance(error, ConfigurationError):
                return
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _accounts_of(self, client: ClientConfig) -> tuple[LedgerAccount, ...]:
        """Give a client's limits an account of their own, if it has any."""
        if not client.limits:
            return ()
        if client.hard:
            costs = self.router.cost_controller
            return (costs.open_account(f"client '{client.name}'", client.limits),)
        return (self.router.open_account(f"client '{client.name}'", client.limits),)


def _refusing_upgrades(send: Send) -> Send:
    """Return what sends an answer in place of a WebSocket; all else passes."""

    async def answer(message: Message) -> None:
        if message["type"].startswith("http."):
            message = {**message, "type": f"websocket.{message['type']}"}
        await send(message)

    return answer


def refuse_exposed(config: RouterConfig) -> None:
    """Raise `ConfigurationError` if strangers could spend the keys."""
    refused = refuse_open_service(config.server.host, has_clients=bool(config.clients))
    if refused:
        raise ConfigurationError(f"server.host: {refused}")


def create_app(
    config: RouterConfig | str | None = None,
    *,
    settings: RouterSettings | None = None,
    proxy_settings: ProxySettings | None = None,
    environ: Mapping[str, str] | None = None,
    source: ConfigSource | None = None,
) -> ProxyApp:
    """Build the service.

    Args:
        config: A configuration, the path of one, or `None` for
            `APIKEYROUTER_CONFIG_FILE` and the keys of the environment. A file is read again
            whenever it changes.
        source: Where a *config* that was read already came from, to be read again.

    Raises:
        ConfigurationError: What is wrong, with file, line and field.
    """
    if isinstance(config, RouterConfig):
        refuse_unsupported(config)
    else:
        env = os.environ if environ is None else environ
        path, named = config_path(config, env), config
        config = read_config(config, env)
        if path is not None:
            source = ConfigSource(path, lambda: read_config(named, env))
    refuse_exposed(config)
    given = _patience_of(config.server)
    if config.translation is not None:
        given["translation"] = config.translation
    settings = (settings or RouterSettings()).model_copy(update=given)
    settings = with_encryption_key(config, settings)
    router = ApiKeyRouter(store_of(config, settings), config=settings)
    if config.ledger != "local":
        try:
            share_ledger(router, config.ledger)
        except StateStoreError as error:
            raise ConfigurationError(f"ledger: {error}") from error
    return ProxyApp(config, router, proxy_settings or ProxySettings(), source)


def _patience_of(server: ServerConfig) -> dict[str, object]:
    """Return the settings that the file gives; what it leaves out stays the environment's."""
    given = {
        "max_queue_wait_seconds": ("max_queue_wait", server.max_queue_wait),
        "request_timeout_seconds": ("request_timeout", server.request_timeout),
    }
    return {
        name: seconds
        for name, (field, seconds) in given.items()
        if field in server.model_fields_set
    }
