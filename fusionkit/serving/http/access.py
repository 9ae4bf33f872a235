"""Access to the server: the token, and the Host and Origin that a browser states."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from fusionkit.serving.http.refusals import Refusal, find_header
from fusionkit.serving.settings import Settings, is_loopback

Headers = Sequence[tuple[bytes, bytes]]

_SCHEME = b"bearer "


def check_token(token: bytes | None, given: bytes | None) -> None:
    """Checks a token in a time that does not depend on how much of it is right.

    Args:
        token: What is asked for; None where nothing is.
        given: What the client shows.

    Raises:
        Refusal: It is missing or wrong.
    """
    if token is None:
        return
    if given is None:
        raise Refusal(401, "a token is needed: send the header Authorization: Bearer TOKEN")
    if not hmac.compare_digest(token, given):
        raise Refusal(401, "the token is wrong")


def find_token(headers: Headers) -> bytes | None:
    """Finds the token in the headers of a request."""
    stated = find_header(headers, b"authorization")
    if stated is None or stated[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return stated[len(_SCHEME) :].strip()


def check_origin(settings: Settings, headers: Headers) -> None:
    """Checks that a request was meant for this server, and that no other page sent it.

    A page of a stranger can make a browser send requests to this machine. Where its name leads here, by an answer of
    its own name server, the browser even takes them for requests to that page itself; only the Host says so then.
    Addresses are safe: a name is what such an attack is made of.

    Raises:
        Refusal: The Host is none of the server's, or the Origin is another page.
    """
    host = find_header(headers, b"host")
    if host is None or not _is_ours(settings, host):
        ours = "localhost and 127.0.0.1" if settings.is_loopback else "its addresses"
        message = f"this server does not know the host that was asked for; it knows {ours}, and those of --name"
        raise Refusal(421, message, closes=True)
    stated = [value for key, value in headers if key.lower() == b"origin"]
    if stated and (len(stated) > 1 or stated[0].partition(b"://")[2].lower() != host.lower()):
        raise Refusal(403, "another page than the server's own sent this request", closes=True)


def list_names(settings: Settings) -> Iterable[str]:
    """Lists the names that a Host may have beside addresses."""
    return ("localhost", *settings.names)


@lru_cache(maxsize=256)
def _is_ours(settings: Settings, host: bytes) -> bool:
    name = _find_name(host)
    if name is None:
        return False
    if name in {each.lower() for each in list_names(settings)}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return is_loopback(name) or not settings.is_loopback


def _find_name(host: bytes) -> str | None:
    """Finds the name in ``name:port``; None where it is none."""
    try:
        text = host.decode("ascii").lower()
    except UnicodeDecodeError:
        return None
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] or None
