"""The store itself, where no service runs: the same management API, in this process."""

import getpass
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

from fastapi import FastAPI

from apikeyrouter import ApiKeyRouter, ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import key_file_of
from apikeyrouter_proxy.api.application import make_application
from apikeyrouter_proxy.api.audit import Caller, caller
from apikeyrouter_proxy.api.endpoint import REQUEST
from apikeyrouter_proxy.app import ProxyApp, create_app
from apikeyrouter_proxy.cli.reach.management import Management, Order, UnreachableError
from apikeyrouter_proxy.dataplane.asgi import Message, Request, Scope


class OpenedStore(Management):
    """A store that was opened by this process."""

    def __init__(self, application: FastAPI, name: str) -> None:
        self._application = application
        self.place = f"the store {name}"

    async def carry_out(self, order: Order) -> tuple[int, bytes]:
        """Answer an order here."""
        request_id = f"cli-{uuid.uuid4().hex}"
        caller.set(Caller("", request_id, f"command line ({_user()})"))
        path = f"/api/v1{order.path}"
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
            "method": order.method, "path": unquote(path), "raw_path": path.encode(),
            "query_string": order.query.encode(), "root_path": "",
            "headers": [
                (b"content-type", order.kind.encode()), (b"x-request-id", request_id.encode())
            ],
        }  # fmt: skip
        scope[REQUEST] = Request(scope)
        answer: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": order.body, "more_body": False}

        async def send(message: Message) -> None:
            answer.append(message)

        await self._application(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in answer)
        return answer[0]["status"], body


@asynccontextmanager
async def opened_store(config: RouterConfig, name: str) -> AsyncIterator[OpenedStore]:
    """Open the store of *config* for as long as the block lasts.

    Args:
        name: The store as it may be shown.

    Raises:
        UnreachableError: It cannot be used.
    """
    service: ProxyApp | None = None
    try:
        # What is told of is told by the command's report.
        settings = RouterSettings().model_copy(update={"log_level": "WARNING"})
        service = create_app(_alone(config), settings=settings)
        await service.take_up_store()
        await _recall_accounts(service.router)
    except ConfigurationError as error:
        if service is not None:
            await service.stop()
        reason = str(error).removeprefix("store: ")
        raise UnreachableError(f"the store {name} cannot be used: {reason}") from error
    try:
        yield OpenedStore(make_application(service.managed), name)
    finally:
        await service.stop()


async def _recall_accounts(router: ApiKeyRouter) -> None:
    """Let what was learned of accounts be seen; a service waits until a request asks for them."""
    book, slots = router.quota_awareness_engine.book, router.key_manager.slot_by_id
    if not router.state_store.keeps_documents:
        return
    for document in await router.state_store.list_documents("Account"):
        for slot in filter(None, map(slots.get, document.body["keys"])):
            if book.membership(slot).account == document.body["account"]:
                book.scope_for(slot, document.body["group"])
                break


def refuse_without_key(config: RouterConfig, name: str) -> None:
    """Keep a store that is there from getting a second encryption key.

    Raises:
        UnreachableError: What it holds was sealed by a key that is not here.
    """
    file = key_file_of(config.store)
    if file is not None and not file.exists() and RouterSettings().encryption_key is None:
        raise UnreachableError(
            f"the store {name} cannot be used: its encryption key is not here: set "
            f"APIKEYROUTER_ENCRYPTION_KEY as the service has it, or bring {file} back"
        )


def _alone(config: RouterConfig) -> RouterConfig:
    """Return *config* without what only a service needs: no address, no shared ledger."""
    server = config.server.model_copy(update={"host": "127.0.0.1"})
    return config.model_copy(update={"server": server, "ledger": "local"})


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
