"""What a client may send before anybody asks who it is, on real sockets."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import apikeyrouter_proxy.http_protocol as protocol
from apikeyrouter_proxy.http_protocol import MAX_HEAD_BYTES, MAX_HEADER_LINES

pytestmark = pytest.mark.integration

BODY = b'{"model":"small","messages":[{"role":"user","content":"x"}]}'
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
IN_CHUNKS = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


class Connection:
    """A client that sends bytes as it likes."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self._file = self.socket.makefile("rb")

    def send(self, *pieces: bytes, pause_s: float = 0.0) -> None:
        for piece in pieces:
            self.socket.sendall(piece)
            time.sleep(pause_s)

    def answer(self) -> tuple[int, dict[bytes, bytes], Any]:
        """Read one answer with a declared length."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.partition(b": ")
            headers[name] = value
        return status, headers, json.loads(self._file.read(int(headers[b"content-length"])))

    def is_closed(self) -> bool:
        """Wait until the other side ends; tell whether it did."""
        try:
            return not self._file.read(1)
        except ConnectionResetError:
            return True


@pytest.fixture
def connection(proxy: Any) -> Iterator[Connection]:
    made = Connection(proxy.url)
    with made.socket:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the times that a client has."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(protocol, "_UNREAD_S", 0.3)


@pytest.mark.parametrize(
    "lines",
    [
        [b"x: %s\r\n" % (b"y" * MAX_HEAD_BYTES)],
        [b"x: "] + [b"y" * 1000] * 100,
        [b"x%d: y\r\n" % number for number in range(MAX_HEADER_LINES + 1)],
        [b"x" * MAX_HEAD_BYTES],
    ],
    ids=["large at once", "large in pieces", "many lines", "long name"],
)
def test_head_beyond_its_bounds_is_431(lines: list[bytes], connection: Connection) -> None:
    with contextlib.suppress(ConnectionError):
        connection.send(POST, *lines, b"\r\n\r\n")
    status, headers, told = connection.answer()
    assert (status, told["error"]["code"]) == (431, "headers_too_large")
    assert headers[b"connection"] == b"close"
    assert headers[b"x-request-id"].startswith(b"req-")
    assert connection.is_closed()


def test_long_url_counts_as_head(connection: Connection) -> None:
    connection.send(b"GET /%s HTTP/1.1\r\nhost: localhost\r\n\r\n" % (b"x" * MAX_HEAD_BYTES))
    assert connection.answer()[0] == 431


def test_ordinary_heads_and_large_bodies_at_once_are_served(connection: Connection) -> None:
    many = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 200) for number in range(100))
    body = BODY[:-1] + b" " * (3 * MAX_HEAD_BYTES) + b"}"
    for _ in range(2):
        connection.send(POST + many + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert connection.answer()[0] == 200


def test_40_mb_of_header_lines_take_no_memory(proxy: Any) -> None:
    def memory_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    before = memory_mb()
    connections = [Connection(proxy.url) for _ in range(20)]
    line = b"x-filler: " + b"y" * 8000 + b"\r\n"
    for made in connections:
        with contextlib.suppress(ConnectionError, TimeoutError):
            made.send(POST, *[line] * 250)
    assert memory_mb() - before < 20
    for made in connections:
        made.socket.close()


def test_trailers_without_end_are_cut_off(connection: Connection) -> None:
    connection.send(POST + CHUNKED + b"\r\n" + b"5\r\n%s\r\n0\r\n" % BODY[:5])
    with contextlib.suppress(ConnectionError):
        connection.send(*[b"x-filler: " + b"y" * 8000 + b"\r\n"] * 20)
    assert connection.answer()[0] == 431


@pytest.mark.usefixtures("impatient")
def test_head_that_comes_too_slowly_is_408(connection: Connection) -> None:
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        connection.send(*[POST[at : at + 1] for at in range(20)], pause_s=0.05)
    status, _, told = connection.answer()
    assert (status, told["error"]["code"]) == (408, "request_timeout")
    assert time.monotonic() - began < 5
    assert connection.is_closed()


@pytest.mark.usefixtures("impatient")
def test_second_head_is_bounded_in_time_too(connection: Connection) -> None:
    connection.send(POST + LENGTH + b"\r\n" + BODY)
    assert connection.answer()[0] == 200
    connection.send(POST)
    assert connection.answer()[0] == 408


@pytest.mark.usefixtures("impatient")
def test_body_may_take_longer_than_a_head(connection: Connection) -> None:
    connection.send(POST + LENGTH + b"\r\n", BODY[:9], BODY[9:20], BODY[20:], pause_s=0.4)
    assert connection.answer()[0] == 200


def test_what_is_not_http_is_told_in_json(connection: Connection) -> None:
    connection.send(b"\x16\x03\x01 hello\r\n\r\n")
    status, _, told = connection.answer()
    assert (status, told["error"]["code"]) == (400, "invalid_http")


def test_bad_chunk_ends_its_request(connection: Connection, proxy: Any) -> None:
    connection.send(POST + CHUNKED + b"\r\n", b"nonsense\r\n")
    assert connection.answer()[0] == 400
    assert connection.is_closed()
    assert proxy.app.router.get_state_summary()["open_reservations"] == 0


@pytest.mark.parametrize(
    "pieces",
    [
        [POST + H2C + LENGTH + b"\r\n" + BODY],
        [POST + H2C + LENGTH + b"\r\n", BODY[:7], BODY[7:]],
        [POST + H2C + CHUNKED + b"\r\n" + IN_CHUNKS],
        [POST + H2C, CHUNKED + b"\r\n", IN_CHUNKS[:9], IN_CHUNKS[9:]],
        [POST + H2C.replace(b"h2c", b"TLS/1.2") + LENGTH + b"\r\n" + BODY],
    ],
    ids=["at once", "in pieces", "chunked", "chunked in pieces", "another"],
)
def test_offer_of_another_protocol_is_served_over_this_one(
    pieces: list[bytes], connection: Connection
) -> None:
    for _ in range(2):
        connection.send(*pieces, pause_s=0.02)
        status, headers, told = connection.answer()
        assert (status, told["object"]) == (200, "chat.completion")
        assert b"upgrade" not in headers


def test_offer_without_a_body_is_served(connection: Connection) -> None:
    connection.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + H2C + b"\r\n")
    assert connection.answer()[2] == {"status": "ok"}


def test_websocket_and_tunnel_are_refused(proxy: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for head, status in (
        (b"GET /v1/realtime HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n", 426),
        (b"CONNECT localhost:443 HTTP/1.1\r\n", 405),
    ):
        connection = Connection(proxy.url)
        with connection.socket:
            connection.send(head + b"host: localhost\r\n\r\n")
            assert connection.answer()[0] == status
            assert connection.is_closed()
    assert "pip install" not in capfd.readouterr().err


def test_pipelined_requests_are_served_in_turn(connection: Connection) -> None:
    connection.send((POST + LENGTH + b"\r\n" + BODY) * 5)
    assert [connection.answer()[0] for _ in range(5)] == [200] * 5
