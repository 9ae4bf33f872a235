"""Refusals: the status of HTTP, and in words what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic_core import to_json

from fusionkit.errors import FusionKitError, Problem

RETRY_SECONDS = 1
"""Seconds after which a client that was asked to come again may do so."""


class Refusal(Exception):  # noqa: N818 - it is no fault of the server
    """A request that is not answered.

    Args:
        status: The status of HTTP.
        message: What is wrong, and what would be right.
        closes: Whether the connection ends, since what follows on it is not read.
    """

    def __init__(self, status: int, message: str, *, closes: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.closes = status, message, closes

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to it."""
        headers = {}
        if self.status in (429, 503):
            headers["retry-after"] = str(RETRY_SECONDS)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.closes:
            headers["connection"] = "close"
        return headers

    @property
    def body(self) -> bytes:
        """The body, as JSON."""
        return encode({"error": self.message})


def encode(value: object) -> bytes:
    """Encodes plain data as strict JSON; a number that is not finite becomes null."""
    return to_json(value, inf_nan_mode="null")


def refuse_for(error: FusionKitError, names: Mapping[str, str] | None = None) -> Refusal:
    """Makes the refusal of an error that the client caused, in which its files have the names that it gave them.

    Args:
        error: The error.
        names: See `show_names`.
    """
    problems: Iterable[Problem] = getattr(error, "problems", ()) or (Problem("", str(error)),)
    text = "; ".join(" ".join(str(problem).split()) for problem in problems)
    return Refusal(422, show_names(text, names or {}))


def show_names(text: str, names: Mapping[str, str]) -> str:
    """Shows the files of a client in a text by the names that it gave them.

    Args:
        text: The text.
        names: By what stands for a file on this machine, its name in the text; the longest first.

    Example:
        >>> show_names("/tmp/x/6f.wav: is empty", {"/tmp/x/6f.wav": "clip.wav"})
        'clip.wav: is empty'
    """
    for own, shown in names.items():
        text = text.replace(own, shown)
    return text


def find_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Finds a header of a request; None where it has none, or several, of which each reader may believe another."""
    found = [value for key, value in headers if key.lower() == name]
    return found[0] if len(found) == 1 else None
