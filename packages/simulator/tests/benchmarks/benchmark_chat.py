"""How many plain chat calls a second one simulator answers; printed, gates on nothing.

Simulator and load run in processes of their own, so that each has a core. Run it alone with `-s`.
"""

import asyncio
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.benchmark

CONNECTIONS = 32
SECONDS = 2.0
SERVE = """
import time
from apikeyrouter_simulator import RunningSimulator
SCENARIO = {"providers": {"p": {"keys": {"k": {"scope": "s"}},
    "scopes": {"s": {"limits": {"rpm": 1e9, "tpm": 1e12}}}}}}
with RunningSimulator(SCENARIO) as simulator:
    print(simulator.url, flush=True)
    time.sleep(60)
"""
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hello, how are you today?"}]}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: simulator\r\nauthorization: Bearer k\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


async def ask_until(port: int, end: float) -> int:
    """Ask over one kept connection; return how many answers came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = 0
    while time.monotonic() < end:
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        answers += 1
    writer.close()
    await writer.wait_closed()
    return answers


async def ask_over_all(port: int) -> int:
    """Ask over all connections at once; return how many answers came."""
    end = time.monotonic() + SECONDS
    return sum(await asyncio.gather(*(ask_until(port, end) for _ in range(CONNECTIONS))))


def test_plain_chat_calls_a_second() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True) as run:
        try:
            port = int(run.stdout.readline().rpartition(":")[2])
            answers = asyncio.run(ask_over_all(port))
        finally:
            run.terminate()
    print(f"\nsimulator: {answers / SECONDS:,.0f} plain chat calls/s")
