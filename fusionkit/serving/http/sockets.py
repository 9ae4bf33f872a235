"""Sockets that a server listens on, or in words why it cannot."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from fusionkit.errors import FusionKitError

_LEAST_OPEN_PORT = 1024
"""Ports below it are for the system's own users only, on most systems."""

_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Opens a socket at every address of a host, all at one port.

    Args:
        host: A name or an address of this machine.
        port: The port; 0 for any that is free.

    Raises:
        FusionKitError: The host is not known, is another machine's, or the port is taken or not for this user.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        remedy = "give --host an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
        raise FusionKitError(f"{host}: cannot listen there, no such host is known; {remedy}") from None
    opened: list[socket.socket] = []
    with ExitStack() as closing:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                listening = closing.enter_context(socket.socket(family, kind, protocol))
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # else it would take the port of all others
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                chosen = opened[0].getsockname()[1] if opened else port
                listening.bind((address[0], chosen, *address[2:]))
            except OSError as error:
                if opened and error.errno in _ABSENT:  # localhost where there is no IPv6
                    continue
                raise FusionKitError(_explain(error, host, port)) from None
            opened.append(listening)
        closing.pop_all()
    return opened


def _explain(error: OSError, host: str, port: int) -> str:
    place = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place}: cannot listen there, the port is taken; give another --port, or 0 for any that is free"
    if error.errno in (errno.EACCES, errno.EPERM) and port < _LEAST_OPEN_PORT:
        remedy = f"give a --port from {_LEAST_OPEN_PORT} on"
        return f"{place}: cannot listen there, ports below {_LEAST_OPEN_PORT} are not for this user; {remedy}"
    if error.errno in _ABSENT:
        remedy = "give --host one of its own, such as 127.0.0.1, or 0.0.0.0 for all of them"
        return f"{place}: cannot listen there, it is no address of this machine; {remedy}"
    return f"{place}: cannot listen there ({error.strerror}); give another --port or --host"
