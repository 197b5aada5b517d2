"""Runs the service: uvicorn with everything off that costs and tells nothing.

SIGTERM and SIGINT stop accepting, let running requests finish for a while, cut
short what still runs, and end the process with 0. SIGHUP reads the configuration file again.
"""

import asyncio
import contextlib
import errno
import gc
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from apikeyrouter import ConfigurationError
from apikeyrouter_proxy.app import ProxyApp
from apikeyrouter_proxy.http_protocol import FrontProtocol

#: Records of past requests are many and hold no cycles: looking through them often is in vain.
_COLLECT_AFTER = (20_000, 20, 50)
#: What is cut short has this long to tell its clients before uvicorn cancels it.
CANCEL_GRACE_S = 2


class ProxyServer(uvicorn.Server):
    """A server that says what keeps it from starting, and ends normally by a signal.

    Args:
        patience_s: How long running requests may finish once it stops.
        on_started: Called when connections are accepted.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: ProxyApp,
        *,
        patience_s: float,
        on_started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._app = app
        self._patience_s = patience_s
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, and do not raise them again afterwards.

        SIGHUP has the configuration file read again; without one it stops the service too.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        if self._app.reloader is not None and hasattr(signal, "SIGHUP"):
            reloader = self._app.reloader
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: reloader.ask())
        elif hasattr(signal, "SIGHUP"):
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; what is there by then lives as long as the process, and is not collected.

        Raises:
            ConfigurationError: The service cannot start; nothing listens then.
        """
        await self._app.start()
        try:
            await super().startup(sockets)
        except OSError as error:
            await self.lifespan.shutdown()
            raise _cannot_listen(self.config.host, self.config.port, error) from error
        if sockets:
            self._app.mark.tell(near_url_of(sockets[0]))
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AFTER)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, and wait for what runs until patience ends."""
        timer = asyncio.get_running_loop().call_later(self._patience_s, self._cut_short)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _cut_short(self) -> None:
        self._app.ending.is_due = True
        for task in list(self.server_state.tasks):
            task.cancel()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def bind(host: str, port: int) -> socket.socket:
    """Take an address to listen on; port 0 takes a free one. The caller closes it.

    Raises:
        ConfigurationError: The address cannot be had; the message says why.
    """
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the base URL of who listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def near_url_of(listener: socket.socket) -> str:
    """Return the base URL under which this machine reaches who listens there."""
    host, port = listener.getsockname()[:2]
    near = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)
    return f"http://{near}:{port}" if near is not None else url_of(listener)


def server_for(
    app: ProxyApp,
    *,
    host: str,
    port: int,
    patience_s: float,
    log_level: str = "warning",
    on_started: Callable[[], None] = lambda: None,
) -> ProxyServer:
    """Return the server of *app*; *patience_s* is how long running requests may finish."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        access_log=False,
        server_header=False,
        http=FrontProtocol,
        ws="wsproto",
        ws_max_size=app.config.server.max_body_bytes,
        ws_per_message_deflate=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(patience_s) + CANCEL_GRACE_S,
    )
    return ProxyServer(config, app, patience_s=patience_s, on_started=on_started)


def _cannot_listen(host: str, port: int, error: Exception) -> ConfigurationError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"port {port} of {host} is in use: stop what listens there, "
            "or choose another by --port or PORT"
        )
    reason = getattr(error, "strerror", None) or "the name cannot be resolved"
    return ConfigurationError(f"cannot listen on {host}, port {port}: {reason}")
