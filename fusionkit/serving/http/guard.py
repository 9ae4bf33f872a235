"""The guard before the application: who asks, how much comes, and how slowly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fusionkit.serving.counters import Counters
from fusionkit.serving.http.access import check_origin, check_token, find_token
from fusionkit.serving.http.refusals import Refusal, find_header
from fusionkit.serving.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/", "/health"})
"""Addresses that are answered without a token: the page, which asks for it, and whether the server lives."""

_BYTES_OF_A_SECOND = 1 << 16
"""Bytes of a body that give it one more second."""

_PLAIN = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Stands before an application: refuses strangers, counts bytes as they arrive, and adds headers.

    Args:
        application: What answers.
        settings: The settings of the server.
        counters: What counts.
    """

    def __init__(self, application: Application, settings: Settings, counters: Counters) -> None:
        self._application, self._settings, self._counters = application, settings, counters

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._open(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        begin, status = time.monotonic(), 0
        self._counters.taken += 1
        body = _Body(receive, scope["headers"], self._settings, self._counters)

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # What is left of a body that nobody reads would be taken for the next request.
                closing = [] if body.is_read else [(b"connection", b"close")]
                message = {**message, "headers": [*message["headers"], *_PLAIN, *closing]}
            await send(message)

        try:
            self._check(scope, body)
        except Refusal as refusal:
            await send_refusal(refusal, send_guarded)
        else:
            await self._application(scope, body.receive, send_guarded)
        finally:
            body.release()
            self._counters.answered += bool(status)
            self._counters.count_request(scope["path"], status, time.monotonic() - begin)

    def _check(self, scope: MutableMapping[str, Any], body: _Body) -> None:
        headers = scope["headers"]
        check_origin(self._settings, headers)
        if scope["path"] not in OPEN_PATHS:
            check_token(self._settings.token, find_token(headers))
        body.check_stated_size()

    async def _open(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Lets a WebSocket pass whose page is the server's own; its token comes as the first message."""
        try:
            check_origin(self._settings, scope["headers"])
        except Refusal:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._application(scope, receive, send)


async def send_refusal(refusal: Refusal, send: Send) -> None:
    """Sends a refusal as the answer to a request."""
    headers = {"content-type": "application/json", "content-length": str(len(refusal.body)), **refusal.headers}
    encoded = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": refusal.body})


class _Body:
    """The body of a request as it arrives, within its limits."""

    def __init__(self, receive: Receive, headers: Any, settings: Settings, counters: Counters) -> None:
        self._receive, self._settings, self._counters = receive, settings, counters
        self._begin, self._count = time.monotonic(), 0
        self._stated = find_header(headers, b"content-length")
        chunked = any(key.lower() == b"transfer-encoding" for key, _ in headers)
        # Known before anything is refused: who is refused may send a body without end.
        self.is_read = not chunked and self._stated in (None, b"0")

    def check_stated_size(self) -> None:
        """Checks the size that the headers state.

        Raises:
            Refusal: It is too large.
        """
        if self._stated is not None and self._stated.isdigit() and int(self._stated) > self._settings.most_bytes:
            self._refuse(int(self._stated))

    async def receive(self) -> Message:
        """Receives the next part.

        Raises:
            Refusal: The body is too large or too slow, or too many bytes of others are held.
        """
        if self.is_read:
            return await self._receive()
        left = self._begin + self._settings.body_seconds + self._count / _BYTES_OF_A_SECOND - time.monotonic()
        try:
            async with asyncio.timeout(max(left, 0.001)):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(408, "the body of the request came too slowly", closes=True) from None
        size = len(message.get("body", b""))
        self._count += size
        self._counters.buffered += size
        self._counters.count_received(size)
        if self._count > self._settings.most_bytes:
            self._refuse(self._count)
        if self._counters.buffered > self._settings.most_buffered_bytes:
            raise Refusal(429, "the server holds too many bytes of other requests; come again", closes=True)
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.is_read = True
        return message

    def release(self) -> None:
        """Says that the body is held no more."""
        self._counters.buffered -= self._count
        self._count = 0

    def _refuse(self, size: int) -> None:
        message = f"a body of {size:,} bytes is larger than the limit of {self._settings.most_bytes:,}"
        raise Refusal(413, message, closes=True)
