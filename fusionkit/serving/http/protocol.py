"""Connections with deadlines: a head that does not come, and an answer that is not read, end them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from fusionkit.serving.settings import Settings

MOST_HEAD = 32 << 10
"""Bytes of the head of a request, and of what a body in chunks holds beside its content."""

_CHUNKING = 8
"""Bytes around each byte of a body in chunks: more than the shortest chunks, of one byte, need."""

_MOST_AHEAD = 64
"""Requests of a connection that wait for the answers before theirs."""


class ReadDeadline:
    """The time in which a client has to read what was written to it.

    Without it a client that never reads keeps its connection, and what waits for it, as long as it likes: also one
    that the server has closed, since that waits until all is read.

    Args:
        transport: The connection.
        seconds: The time.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds
        self._timer: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(
            high=1
        )  # whatever waits to be read is told as a pause; TLS takes 0 for always

    def begin(self) -> None:
        """Begins once something waits to be read."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)

    def end(self) -> None:
        """Ends once all was read, or the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ReadDeadlineProtocol(asyncio.Protocol):
    """The part of a protocol that lets go of a client that does not read; it stands before uvicorn's own.

    Attributes:
        settings: The settings of the server.
    """

    settings: Settings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes a connection."""
        super().connection_made(transport)
        self._deadline = ReadDeadline(cast(asyncio.Transport, transport), self.settings.read_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._deadline.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Waits for the client to read, though not for ever."""
        super().pause_writing()
        self._deadline.begin()

    def resume_writing(self) -> None:
        """Writes on."""
        self._deadline.end()
        super().resume_writing()


class DeadlineProtocol(ReadDeadlineProtocol, HttpToolsProtocol):
    """uvicorn's protocol, which alone would keep a connection with half a head open for ever."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes, self._in_head = 0, True
        self._around_body, self._body_bytes = 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.most_connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; those of a head, and those around a body, are counted."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
        else:
            self._around_body += len(data)
        super().data_received(data)
        if max(self._head_bytes, self._around_body - _CHUNKING * self._body_bytes) > MOST_HEAD:
            self._give_up()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header; those behind a body in chunks, which nobody asks for, are dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Takes a part of a body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Begins to answer."""
        self._in_head, self._head_bytes = False, 0
        self._stop_head_timer()
        if len(self.pipeline) < _MOST_AHEAD:
            super().on_headers_complete()
        else:  # uvicorn reads on after every answer, so that they would become more and more
            self._give_up()

    def on_message_complete(self) -> None:
        """Expects the head of the next request, whose time begins with its first byte."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0
        self._around_body, self._body_bytes = 0, 0

    def handle_websocket_upgrade(self) -> None:
        """Hands the connection over."""
        self._stop_timers()
        super().handle_websocket_upgrade()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.settings.header_seconds, self._give_up)

    def _give_up(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        self._deadline.end()


class DeadlineSocket(ReadDeadlineProtocol, WebSocketsSansIOProtocol):
    """uvicorn's protocol of WebSockets, which alone would keep all that a client does not read."""

    def handle_ping(self) -> None:
        """Answers a ping, unless the client has not read what was sent before."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # the answer, which would wait in memory with those to all pings that follow


def make_protocol(given: Settings) -> type[DeadlineProtocol]:
    """Makes the protocol of a server."""

    class Protocol(DeadlineProtocol):
        """The protocol of one server."""

        settings = given

    return Protocol


def make_socket_protocol(given: Settings) -> type[DeadlineSocket]:
    """Makes the protocol of a server's WebSockets."""

    class Protocol(DeadlineSocket):
        """The protocol of one server."""

        settings = given

    return Protocol
