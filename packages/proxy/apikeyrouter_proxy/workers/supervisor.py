"""Starts workers on one listening socket, and starts those again that end.

The socket stays open here, so that no connection is refused while workers come and go.
Signals are meant for all: SIGTERM and SIGINT stop every worker, SIGHUP has each read the
configuration again.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

from apikeyrouter import ConfigurationError
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.serving import CANCEL_GRACE_S
from apikeyrouter_proxy.workers.plan import ServePlan
from apikeyrouter_proxy.workers.private_valkey import PrivateValkey

_log = logging.getLogger("apikeyrouter")
_BACKLOG = 2048
_STARTS_WITHIN_S = 60.0
#: A worker that served for so long starts again at once, others after growing pauses.
_SETTLED_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
#: What a worker may need beyond its patience to write what is waiting.
_CLOSING_S = 10.0


class Supervisor:
    """Several workers and what they share.

    Args:
        listener: Bound; it is closed when the workers are told to stop.
        patience_s: How long running requests may finish once it stops.
        on_started: Called once, when all workers serve.

    Raises:
        ConfigurationError: What the workers need is not installed.
    """

    def __init__(
        self,
        plan: ServePlan,
        facts: RouterConfig,
        workers: int,
        listener: socket.socket,
        *,
        patience_s: float,
        on_started: Callable[[], None],
    ) -> None:
        if sys.platform == "win32":
            raise ConfigurationError("workers: Windows runs one; run one worker")
        self._valkey = PrivateValkey() if facts.ledger == "local" else None
        ledger = "" if self._valkey is None else self._valkey.url
        self._plans = [plan.for_worker(number, workers, ledger) for number in range(workers)]
        self._listener = listener
        self._patience_s = patience_s
        self._on_started = on_started
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until a signal.

        Raises:
            ConfigurationError: A worker cannot start; none runs then.
        """
        self._listener.listen(_BACKLOG)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_all, number)
        loop.add_signal_handler(signal.SIGHUP, self._signal_all, signal.SIGHUP)
        keeping: list[asyncio.Task[None]] = []
        try:
            if self._valkey is not None:
                await self._valkey.start()
                keeping.append(loop.create_task(self._keep_valkey(self._valkey)))
            # The first one brings the store up to date; the others find it so.
            first, *others = self._plans
            await self._start(first)
            await asyncio.gather(*map(self._start, others))
            if not self._stopping.is_set():
                self._on_started()
            keeping += [loop.create_task(self._keep(plan)) for plan in self._plans]
            await self._stopping.wait()
        finally:
            self._stopping.set()
            for task in keeping:
                task.cancel()
            await self._end_all()
            if self._valkey is not None:
                await self._valkey.stop()

    async def _keep(self, plan: ServePlan) -> None:
        """Start a worker again whenever it ends."""
        loop, pause_s = asyncio.get_running_loop(), 0.0
        while not self._stopping.is_set():
            since = loop.time()
            process = self._running.get(plan.number)
            status = 1 if process is None else await process.wait()
            if self._stopping.is_set():
                return
            if loop.time() - since >= _SETTLED_S:
                pause_s = 0.0
            _log.error("worker %d ended (%s); it is started again", plan.number, _ending(status))
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s or _FIRST_PAUSE_S)
            try:
                await self._start(plan)
            except ConfigurationError as error:
                _log.error("worker %d cannot start: %s", plan.number, error)

    async def _keep_valkey(self, valkey: PrivateValkey) -> None:
        while True:
            await valkey.wait()
            _log.error("the shared ledger ended; it is started again")
            try:
                await valkey.start()
            except ConfigurationError as error:
                _log.error("%s", error)
                await asyncio.sleep(_LONGEST_PAUSE_S)

    async def _start(self, plan: ServePlan) -> None:
        """Start a worker, and return when it serves.

        Raises:
            ConfigurationError: It cannot; in its words.
        """
        if self._stopping.is_set():
            return
        told, report = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "apikeyrouter_proxy.workers.worker",
                "--listener", str(self._listener.fileno()), "--report", str(report),
                plan.encoded(),
                # Never written to: it ends with this process, and the worker with it.
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(self._listener.fileno(), report),
                # A terminal's signals come from here, each of them once.
                start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(report)
        self._running[plan.number] = process
        if self._stopping.is_set():
            _signal(process, signal.SIGTERM)
        await self._await_report(plan, process, told)

    async def _await_report(
        self, plan: ServePlan, process: asyncio.subprocess.Process, told: int
    ) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(told, "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            line = await asyncio.wait_for(reader.read(), _STARTS_WITHIN_S)
        except TimeoutError:
            process.kill()
            line = b""
        finally:
            transport.close()
        facts = json.loads(line) if line else {}
        if "error" in facts:
            await process.wait()
            raise ConfigurationError(facts["error"])
        if not facts and not self._stopping.is_set():
            status = await process.wait()
            raise ConfigurationError(f"worker {plan.number} ended at its start ({_ending(status)})")

    def _stop_all(self, number: signal.Signals) -> None:
        self._stopping.set()
        self._signal_all(number)
        # Nobody will take up who connects from now on.
        self._listener.close()

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._running.values():
            _signal(process, number)

    async def _end_all(self) -> None:
        """Wait for all workers; end those that take longer than they may."""
        self._signal_all(signal.SIGTERM)
        waiting = [process.wait() for process in self._running.values()]
        patience_s = self._patience_s + CANCEL_GRACE_S + _CLOSING_S
        try:
            await asyncio.wait_for(asyncio.gather(*waiting), patience_s)
        except TimeoutError:
            self._signal_all(signal.SIGKILL)
            await asyncio.gather(*(process.wait() for process in self._running.values()))


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _ending(status: int) -> str:
    """Return how a process ended, in words."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
