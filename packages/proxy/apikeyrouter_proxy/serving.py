"""Runs the service: uvicorn with everything off that costs and tells nothing.

SIGTERM and SIGINT stop accepting, let running requests finish for a while,
and end the process with 0.
"""

import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn

from apikeyrouter_proxy.app import ProxyApp

#: Records of past requests are many and hold no cycles: looking through them often is in vain.
_COLLECT_AFTER = (20_000, 20, 50)


class ProxyServer(uvicorn.Server):
    """A server whose end by a signal is a normal end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, and do not raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; what is there by then lives as long as the process, and is not collected."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AFTER)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def server_for(
    app: ProxyApp, *, host: str, port: int, patience_s: float, log_level: str = "warning"
) -> ProxyServer:
    """Return the server of *app*; *patience_s* is how long running requests may finish."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(patience_s)),
    )
    return ProxyServer(config)
