"""The service put together: one raw ASGI callable and its lifespan."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from apikeyrouter import ApiKeyRouter, ConfigurationError, RouterSettings
from apikeyrouter.domain.ledger.ledger import Scope as LimitScope
from apikeyrouter.infrastructure.config.model import RouterConfig, refuse_open_service
from apikeyrouter_proxy.composition import furnish, read_config, refuse_unsupported
from apikeyrouter_proxy.dataplane.asgi import Receive, Reply, Scope, Send, ShutdownState
from apikeyrouter_proxy.dataplane.auth import ClientRegister, is_exposed
from apikeyrouter_proxy.dataplane.errors import NO_CLIENTS, STOPPING, ErrorAnswer, refusal
from apikeyrouter_proxy.dataplane.forward import Forwarder
from apikeyrouter_proxy.dataplane.info import Info
from apikeyrouter_proxy.dataplane.refusals import refuse_unread, send_refusal
from apikeyrouter_proxy.model_lists import ModelLists

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]
FORWARDED = ("chat/completions", "completions", "embeddings")


class ProxyApp:
    """An ASGI application: the data plane by path, and what must be started and stopped.

    Attributes:
        router: What decides and forwards; furnished when the service starts.
        ending: Set when the service stops and waits no longer for what runs.
    """

    def __init__(self, config: RouterConfig, router: ApiKeyRouter) -> None:
        self.config = config
        self.router = router
        self.models = ModelLists(router)
        self.ending = ShutdownState()
        self._is_furnished = False
        #: Without clients anybody may call, so nobody from another machine.
        self._is_open = not config.clients
        clients = ClientRegister((client, self._limits_of(client)) for client in config.clients)
        info = Info(router, clients, self.models)
        self._gets: Mapping[str, Endpoint] = {
            "/health": info.health,
            "/ready": info.ready,
            "/v1/models": info.list_models,
        }
        self._posts: Mapping[str, Endpoint] = {
            f"/v1/{endpoint}": Forwarder(
                router, clients,
                endpoint=endpoint, max_body_bytes=config.server.max_body_bytes,
                ending=self.ending, on_unknown=self.models.refresh,
            )
            for endpoint in FORWARDED
        }  # fmt: skip
        self._info = info

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the lifespan."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def start(self) -> None:
        """Register what the configuration names; once is enough.

        Raises:
            ConfigurationError: Something in it cannot be used.
        """
        if not self._is_furnished:
            await furnish(self.router, self.config)
            self._is_furnished = True
        self.models.start()

    async def stop(self) -> None:
        """Close connections and write what is waiting to be written."""
        await self.models.stop()
        await self.router.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open_to_all = self._is_open and (server := scope.get("server")) and is_exposed(server[0])
        endpoint = self._posts.get(scope["path"])
        if endpoint is not None and scope["method"] == "POST" and not is_open_to_all:
            await endpoint(scope, receive, send)
            return
        reply = Reply(scope, send)
        try:
            if is_open_to_all:
                await self._refuse(receive, reply, NO_CLIENTS)
            else:
                await self._inform(scope, receive, reply)
        except asyncio.CancelledError:
            if not self.ending.is_due:
                raise
            if not reply.is_begun:
                await send_refusal(reply, "", STOPPING)

    async def _inform(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD"):
            get = self._gets.get(path)
            if get is None and path.startswith("/v1/models/"):
                get = self._info.show_model
            if get is not None:
                await get(scope, receive, reply)
                return
        if path in self._posts or path in self._gets:
            error = refusal(405, f"{method} is not possible here", code="method_not_allowed")
        else:
            error = refusal(404, f"there is nothing at {path}", code="unknown_url")
        await self._refuse(receive, reply, error)

    async def _refuse(self, receive: Receive, reply: Reply, error: ErrorAnswer) -> None:
        most_bytes = 2 * self.config.server.max_body_bytes
        await refuse_unread(reply, receive, "", error, most_bytes=most_bytes)

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

    def _limits_of(self, client: Any) -> LimitScope:
        """Give a client windows of its own, the same kind as a provider's."""
        scope = LimitScope(f"client/{client.name}", "client", client.name)
        self.router.quota_awareness_engine.book.declare(
            scope, dict(client.limits), self.router.now()
        )
        return scope


def create_app(
    config: RouterConfig | str | None = None,
    *,
    settings: RouterSettings | None = None,
    environ: Mapping[str, str] | None = None,
) -> ProxyApp:
    """Build the service.

    Args:
        config: A configuration, the path of one, or `None` for
            `APIKEYROUTER_CONFIG_FILE` and the keys of the environment.

    Raises:
        ConfigurationError: What is wrong, with file, line and field.
    """
    if isinstance(config, RouterConfig):
        refuse_unsupported(config)
    else:
        config = read_config(config, os.environ if environ is None else environ)
    refused = refuse_open_service(config.server.host, has_clients=bool(config.clients))
    if refused:
        raise ConfigurationError(f"server.host: {refused}")
    settings = (settings or RouterSettings()).model_copy(
        update={
            "max_queue_wait_seconds": config.server.max_queue_wait,
            "request_timeout_seconds": config.server.request_timeout,
        }
    )
    return ProxyApp(config, ApiKeyRouter(config=settings))
