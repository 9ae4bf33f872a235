"""The settings of a server: where it listens, who may ask, and how much it takes."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusionkit.data.readers.limits import name_variable
from fusionkit.errors import FusionKitError
from fusionkit.serving.http.tls import check_certificate

TOKEN_VARIABLE = "FUSIONKIT_TOKEN"
"""The environment variable that holds the token."""

SHORTEST_TOKEN = 16
"""Characters; a shorter one can be guessed."""

_MAKE_TOKEN = 'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`'

_FASTEST_SOUND = 200_000
_FASTEST_FILM = 250
"""Samples, and frames, per second: what is faster is refused by its number of them."""


@dataclass(frozen=True)
class Settings:
    """The settings of a server.

    Args:
        host: The address that it listens on.
        port: The port; 0 for any that is free.
        token: What a client has to show; None where none is asked for, which is for loopback only.
        names: Names by which clients know it, beside addresses and ``localhost``: the Host that they may state.
        certificate: The file of the certificate of TLS; None without TLS.
        key: The file of its key.
        most_bytes: Bytes of the body of a request.
        most_json_bytes: Bytes of a body of JSON, whose numbers take many times as much memory.
        most_buffered_bytes: Bytes of all bodies that are being read or worked on, and of their prepared samples.
        most_seconds: Seconds that a film, a sound or another signal lasts.
        most_pixels: Pixels of an image, and of a frame of a film.
        most_samples: Samples of one request.
        most_instants: Answers of one timeline.
        most_requests: Requests that are worked on at a time; more are asked to come again.
        most_waiting: Samples that wait for the network; more are asked to come again.
        most_streams: Streams that are open at a time.
        most_connections: Connections that are open at a time; more are closed at once.
        header_seconds: Seconds in which the head of a request has to be there.
        body_seconds: Seconds in which a body has to be there, and a second more for every 64 KiB of it.
        read_seconds: Seconds in which a client has to read what is written to it.
        request_seconds: Seconds that work on a request may take.
        stop_seconds: Seconds that requests have to finish once the server is stopped.
        batch_size: Samples that the network is given at once.
        batch_seconds: Seconds that a sample waits for others that are on their way.
        window: Seconds that an answer over time is of, where a client does not say it; the page does not.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: bytes | None = None
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    most_bytes: int = 64 << 20
    most_json_bytes: int = 8 << 20
    most_buffered_bytes: int = 512 << 20
    most_seconds: float = 120.0
    most_pixels: int = 8_300_000
    most_samples: int = 64
    most_instants: int = 2400
    most_requests: int = 128
    most_waiting: int = 512
    most_streams: int = 8
    most_connections: int = 512
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    read_seconds: float = 30.0
    request_seconds: float = 60.0
    stop_seconds: float = 90.0
    batch_size: int = 32
    batch_seconds: float = 0.003
    window: float = 3.0

    @property
    def is_loopback(self) -> bool:
        """True where nobody but this machine can reach it."""
        return is_loopback(self.host)

    def describe_address(self, port: int) -> str:
        """Describes where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{port}/"

    def check(self) -> None:
        """Refuses settings with which no server should start.

        Raises:
            FusionKitError: Others can reach it without a token, the token is short, half of TLS is given, or its files
                are no certificate and its key.
        """
        if self.token is None and not self.is_loopback:
            remedy = f"give --token-file, or set {TOKEN_VARIABLE}; or leave --host out"
            raise FusionKitError(f"{self.host}: others can reach the server there, so it needs a token; {remedy}")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            few = f"{len(self.token)} characters, fewer than {SHORTEST_TOKEN}"
            raise FusionKitError(f"the token has {few}; {_MAKE_TOKEN}")
        if (self.certificate is None) != (self.key is None):
            raise FusionKitError("TLS needs both --tls-cert and --tls-key")
        if self.certificate is not None and self.key is not None:
            check_certificate(self.certificate, self.key)


def is_loopback(host: str) -> bool:
    """Tells whether an address is that of this machine alone.

    Example:
        >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> bytes | None:
    """Reads the token from a file, or from the environment.

    Raises:
        FusionKitError: The file cannot be read, is empty, or holds more than one word of ASCII.
    """
    if file is None:
        if TOKEN_VARIABLE not in os.environ:
            return None
        text, place = os.environ[TOKEN_VARIABLE], TOKEN_VARIABLE
    else:
        place = str(file)
        try:
            text = file.read_text(encoding="ascii")
        except OSError as error:
            raise FusionKitError(f"{file}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError:
            raise FusionKitError(f"{file}: holds other characters than those of ASCII") from None
    words = text.split()
    if not words:
        raise FusionKitError(f"{place}: is empty; {_MAKE_TOKEN}")
    if len(words) != 1 or not words[0].isascii():
        raise FusionKitError(f"{place}: holds {len(words)} words; a token is one word of ASCII")
    return words[0].encode()


@contextmanager
def limit_readers(settings: Settings) -> Iterator[None]:
    """Limits what the readers of files take, as long as the server runs; what the environment states stays."""
    limits = {
        "pixels": settings.most_pixels,
        "samples": round(settings.most_seconds * _FASTEST_SOUND),
        "frames": round(settings.most_seconds * _FASTEST_FILM),
        "bytes": 4 * settings.most_bytes,
        "table_bytes": settings.most_bytes,
        "members": 1000,
    }
    ours = {name_variable(kind): str(limit) for kind, limit in limits.items() if name_variable(kind) not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
