"""Connections with deadlines: a head that does not come, and an answer that is not read, end them."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 32 << 10
"""Bytes of the head of a request."""

_READ_SECONDS = 30.0
"""Seconds in which a client has to read some of an answer that does not fit into the buffers."""


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which alone would keep a connection with half a head open for ever.

    The class attributes are set by `make_protocol`.
    """

    header_seconds = 10.0
    most_connections = 512

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._head_bytes, self._in_head = 0, True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; those of a head are counted."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD:
            self._give_up()

    def on_headers_complete(self) -> None:
        """Begins to answer."""
        self._in_head, self._head_bytes = False, 0
        self._stop_head_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expects the head of the next request, whose time begins with its first byte."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def handle_websocket_upgrade(self) -> None:
        """Hands the connection over."""
        self._stop_timers()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """Waits for the client to read, though not for ever."""
        super().pause_writing()
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(_READ_SECONDS, self._give_up)

    def resume_writing(self) -> None:
        """Writes on."""
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        super().resume_writing()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.header_seconds, self._give_up)

    def _give_up(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None


def make_protocol(header_seconds: float, most_connections: int) -> type[DeadlineProtocol]:
    """Makes the protocol of a server."""

    class Protocol(DeadlineProtocol):
        """The protocol of one server."""

    Protocol.header_seconds, Protocol.most_connections = header_seconds, most_connections
    return Protocol
