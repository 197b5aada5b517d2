"""A head goes out with its body, and alone when nothing follows at once."""

import asyncio

import pytest

from apikeyrouter_proxy.gathering_transport import GatheringTransport

pytestmark = pytest.mark.unit

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Recording(asyncio.Transport):
    """Notes what reaches the connection; a list of pieces is one write."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []

    def write(self, data):
        self.calls.append(data)

    def writelines(self, pieces):
        self.calls.append(list(pieces))

    def write_eof(self):
        self.calls.append("eof")

    def close(self):
        self.calls.append("close")

    def is_closing(self):
        return "close" in self.calls

    def get_write_buffer_size(self):
        return 7


@pytest.fixture
def below() -> Recording:
    return Recording()


@pytest.fixture
async def above(below: Recording) -> GatheringTransport:
    return GatheringTransport(below, asyncio.get_running_loop())


async def test_head_and_body_are_one_write(above, below) -> None:
    above.write(HEAD)
    above.write(b"body")
    above.write(b"more")
    await asyncio.sleep(0)
    assert below.calls == [[HEAD, b"body"], b"more"]


async def test_head_goes_out_alone_at_the_end_of_the_turn(above, below) -> None:
    above.write(HEAD)
    assert below.calls == []
    await asyncio.sleep(0)
    assert below.calls == [HEAD]
    above.write(b"body")
    assert below.calls == [HEAD, b"body"]


@pytest.mark.parametrize(("end", "called"), [("close", "close"), ("write_eof", "eof")])
async def test_head_is_written_before_the_end(above, below, end: str, called: str) -> None:
    above.write(HEAD)
    getattr(above, end)()
    await asyncio.sleep(0)
    assert below.calls == [HEAD, called]


async def test_the_rest_is_the_transports_own(above, below) -> None:
    assert above.get_write_buffer_size() == 7
    assert not above.is_closing()
    above.close()
    assert above.is_closing()
