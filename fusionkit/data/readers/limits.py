"""Limits of what a file may hold, checked against its header before anything of it is decoded.

A file of a few bytes can state more than any memory holds: an image of 20,000 x 20,000 pixels, an array of 10^12
numbers, an archive of zeros. Who reads a user's file asks `check_size` with what the header states.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from fusionkit.errors import DataError, Problem

Kind = Literal["pixels", "samples", "frames", "bytes", "table_bytes", "members"]
"""Kinds of limits; see `Limits`."""


@dataclass(frozen=True)
class Limits:
    """The most that one file may hold.

    Args:
        pixels: Width x height of an image, and of a frame of a film.
        samples: Samples of a sound, those of all channels together, before and after resampling.
        frames: Images of a film.
        bytes: Bytes in memory of an array, and of a member of an archive once it is unpacked.
        table_bytes: Bytes of a table or another text that is read whole: each becomes ten times as many in memory.
        members: Files in an archive.
    """

    pixels: int = 100_000_000
    samples: int = 1_000_000_000
    frames: int = 500_000
    bytes: int = 4_000_000_000
    table_bytes: int = 1_000_000_000
    members: int = 1_000_000


def read_limits() -> Limits:
    """Reads the limits that hold: the defaults, or what the environment says.

    The variables are ``FUSIONKIT_MAX_PIXELS``, ``FUSIONKIT_MAX_SAMPLES``, ``FUSIONKIT_MAX_FRAMES``,
    ``FUSIONKIT_MAX_BYTES``, ``FUSIONKIT_MAX_TABLE_BYTES`` and ``FUSIONKIT_MAX_MEMBERS``. The processes that load data
    inherit them. A recipe cannot raise a limit: whoever sends a file may send the recipe too.

    Raises:
        DataError: A variable holds no positive whole number; every such variable is listed.
    """
    return _read({kind.name: os.environ.get(name_variable(kind.name), "") for kind in fields(Limits)})


def name_variable(kind: str) -> str:
    """Names the environment variable that sets a limit.

    Example:
        >>> name_variable("table_bytes")
        'FUSIONKIT_MAX_TABLE_BYTES'
    """
    return f"FUSIONKIT_MAX_{kind.upper()}"


def check_size(kind: Kind, stated: int, place: str) -> None:
    """Refuses what is larger than its limit.

    Args:
        kind: Which limit.
        stated: How many of them the header states.
        place: The file.

    Raises:
        DataError: There are more than the limit; the message names the variable that raises it.

    Example:
        >>> check_size("pixels", 640 * 480, "photo.png")
    """
    limit: int = getattr(read_limits(), kind)
    if stated > limit:
        what = "bytes" if kind == "table_bytes" else kind
        message = f"holds {stated:,} {what}, more than the limit of {limit:,}"
        remedy = f"if that is right, set the environment variable {name_variable(kind)} to {stated} or more"
        raise DataError([Problem(place, message, remedy)])


def _read(given: Mapping[str, str]) -> Limits:
    problems = [
        Problem(name_variable(kind), f"the environment variable holds {text!r}", "a whole number above 0")
        for kind, text in given.items()
        if text and not re.fullmatch(r"0*[1-9](_?[0-9])*", text)
    ]
    if problems:
        raise DataError(problems)
    return Limits(**{kind: int(text) for kind, text in given.items() if text})
