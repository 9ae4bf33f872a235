"""Clients that do not read, and what comes around a body: the connection ends, and memory stays as it is."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from served_networks import Served, draw_sensor_network, served
from test_lives_and_ends import HEAD, talk

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PING = b"\x89\xfd" + bytes(4) + b"x" * 125


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served(draw_sensor_network(), read_seconds=0.5) as server:
        yield server


def pour(running: Served, first: bytes, more: bytes, most: int) -> int:
    """Sends until the server takes no more for a while, and reads nothing; how many bytes it took."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", running.port))
        connection.sendall(first)
        time.sleep(0.2)
        connection.settimeout(2.0)
        sent = 0
        try:
            while sent < most:
                connection.sendall(more)
                sent += len(more)
        except OSError:
            pass
        wait_until_alone(running)
        return sent


def wait_until_alone(running: Served, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while running.server.server_state.connections:
        assert time.monotonic() < until, "the connection is kept"
        time.sleep(0.02)


def test_headers_behind_a_body_are_not_kept(running: Served) -> None:
    assert pour(running, CHUNKED + b"1\r\n{\r\n0\r\n", b"X: 1\r\n" * 10_000, 30_000_000) < 10_000_000
    assert pour(running, CHUNKED + b"1;", b"x" * 100_000, 30_000_000) < 10_000_000


def test_a_header_behind_a_body_changes_nothing(running: Served) -> None:
    body = b'{"motion": [[1, 2, 3]]}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body + b" " * 20_000)
    said = talk(running, CHUNKED + chunks + b"0\r\nHost: evil\r\nX: 1\r\n\r\n" + b"GET / HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")


def test_a_stream_whose_client_does_not_read_is_let_go(running: Served) -> None:
    assert pour(running, UPGRADE, PING * 2000, 200_000_000) < 200_000_000


def test_answers_to_pings_that_nobody_reads_do_not_pile_up() -> None:
    with served(draw_sensor_network(), read_seconds=60.0) as running, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", running.port))
        connection.sendall(UPGRADE)
        time.sleep(0.2)
        for _ in range(100):
            connection.sendall(PING * 2000)
        (held,) = running.server.server_state.connections
        assert held.transport.get_write_buffer_size() < 1_000_000


def test_a_client_that_asks_and_does_not_read_is_let_go(running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionkit.serving.http.protocol._MOST_AHEAD", 1000)
    taken = running.server.counters.taken
    begin = time.monotonic()
    pour(running, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 900, b"", 0)
    assert running.server.counters.taken - taken < 900
    assert time.monotonic() - begin < 4


def test_requests_that_are_sent_ahead_are_answered_in_order_and_a_flood_of_them_is_cut_off(running: Served) -> None:
    ask = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    said = talk(running, ask % b"health" + ask % b"nowhere" + ask % b"health", b"GET / HTTP/1.0\r\n\r\n")
    assert [said[at + 9 : at + 12] for at in range(len(said)) if said[at : at + 9] == b"HTTP/1.1 "][:3] == [
        b"200",
        b"404",
        b"200",
    ]
    taken = running.server.counters.taken
    pour(running, b"", ask % b"health" * 1000, 3_000_000)
    assert running.server.counters.taken - taken < 1000


def test_a_body_of_a_client_without_the_token_is_not_waited_for() -> None:
    with served(draw_sensor_network(), token=b"0123456789abcdef") as running:
        begin = time.monotonic()
        said = talk(running, CHUNKED + b"1\r\n{\r\n")
        assert time.monotonic() - begin < 2
    assert said.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in said
