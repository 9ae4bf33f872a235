"""The server: it listens, and finishes what it took when it is stopped."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from fusionkit.inference.predictor import Predictor
from fusionkit.serving.application import make_application
from fusionkit.serving.counters import Counters
from fusionkit.serving.http.protocol import make_protocol, make_socket_protocol
from fusionkit.serving.http.sockets import open_sockets
from fusionkit.serving.settings import Settings

_MOST_MESSAGE = 4 << 20
"""Bytes of a message of a stream."""


def serve(
    predictor: Predictor,
    settings: Settings,
    where: Path | None = None,
    *,
    started: Callable[[int], None] = lambda port: None,
) -> Counters:
    """Serves a network until SIGTERM or Ctrl-C; what was taken by then is finished.

    Args:
        predictor: The network.
        settings: The settings.
        where: The run that it is of, for its figures.
        started: Called with the port once the server listens.

    Returns:
        What it did.

    Raises:
        FusionKitError: The settings are unsafe, or the address cannot be listened on.
    """
    server = make_server(predictor, settings, where, started=started)
    # What is there now stays until the end. To search it for garbage takes a tenth of a second, in which all clients
    # would wait, again and again.
    gc.collect()
    gc.freeze()
    try:
        server.run()
    finally:
        gc.unfreeze()
    return server.counters


def make_server(
    predictor: Predictor,
    settings: Settings,
    where: Path | None = None,
    *,
    started: Callable[[int], None] = lambda port: None,
) -> Server:
    """Makes a server that has not begun to listen; see `serve`."""
    settings.check()
    counters = Counters()
    config = uvicorn.Config(
        make_application(predictor, settings, counters, where),
        host=settings.host,
        port=settings.port,
        http=make_protocol(settings),
        ws=make_socket_protocol(settings),
        ws_max_size=_MOST_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        log_level="error",  # what strangers send wrongly is counted, and would fill a log
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.stop_seconds),
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    return Server(config, counters, started)


class Server(uvicorn.Server):
    """uvicorn's server, which ends with status 0 after a signal that asks it to.

    Args:
        config: Its configuration.
        counters: What counts.
        started: Called with the port once it listens.

    Attributes:
        counters: What counts.
    """

    def __init__(self, config: uvicorn.Config, counters: Counters, started: Callable[[int], None]) -> None:
        super().__init__(config)
        self._started, self.counters = started, counters

    async def startup(self, sockets: Any = None) -> None:
        """Begins to listen.

        Raises:
            FusionKitError: The address cannot be listened on.
        """
        await super().startup(open_sockets(self.config.host, self.config.port) if sockets is None else sockets)
        if self.started:
            self._started(self.servers[0].sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops at a signal, without ending the process by it afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self._stop) for each in wanted}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.handle_exit(signum, frame)
