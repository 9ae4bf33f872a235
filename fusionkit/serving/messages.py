"""Messages of a stream: JSON, images, and numbers of a shape."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import from_json

from fusionkit.data.readers.images import decode_upright, open_image
from fusionkit.errors import DataError, Problem, suggest_names

_MOST_HEADER = 4096
_MOST_TEXT = 1 << 16
"""Bytes of the line before a payload, and of a message that is all JSON."""

_MOST_UNKNOWN = 5
"""Unknown keys that are told."""

_NUMBERS = {"uint8": np.uint8, "int16": np.int16, "int32": np.int32, "float32": np.float32, "float64": np.float64}


def split_message(message: bytes) -> tuple[Mapping[str, Any], bytes]:
    """Splits a binary message into its line of JSON and the bytes that it describes.

    Raises:
        DataError: It does not begin with such a line.
    """
    head, line_end, _ = message[:_MOST_HEADER].partition(b"\n")
    if not line_end:
        raise DataError([Problem("message", "no line of JSON before the bytes")])
    return read_object(head), message[len(head) + 1 :]


def decode_elements(described: Mapping[str, Any], payload: bytes) -> Any:
    """Decodes the bytes of a message: an image, or numbers of a shape.

    Raises:
        DataError: They are no image, or not as many as the shape says.
    """
    kind = described.get("dtype")
    if kind in ("jpeg", "png", "webp"):
        with open_image(io.BytesIO(payload), "frame") as image:
            pixels = decode_upright(image)
        return (pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))[None]
    if kind not in _NUMBERS:
        known = ", ".join(("jpeg", "png", "webp", *_NUMBERS))
        raise DataError([Problem("dtype", f"{str(kind)[:64]!r} is not read", f"known: {known}")])
    dtype = np.dtype(_NUMBERS[kind]).newbyteorder("<")
    shape = described.get("shape", [len(payload) // dtype.itemsize])
    fine = isinstance(shape, list) and 0 < len(shape) <= 8 and all(type(size) is int and size >= 0 for size in shape)
    wrong = DataError([Problem("shape", f"{str(shape)[:64]} of {kind} is not {len(payload):,} bytes")])
    if not fine or math.prod(shape) * dtype.itemsize != len(payload):
        raise wrong
    try:
        return np.frombuffer(payload, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError:  # of no bytes, such as (0, 10^30), which no array can be
        raise wrong from None


def read_object(text: str | bytes) -> Mapping[str, Any]:
    """Reads a message that is an object of JSON.

    Raises:
        DataError: It is none, or too long.
    """
    if len(text) > _MOST_TEXT:
        raise DataError([Problem("message", f"{len(text):,} bytes of JSON", f"at most {_MOST_TEXT:,}")])
    try:
        given = from_json(text, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise DataError([Problem("message", f"no JSON that can be read ({error})")]) from None
    if not isinstance(given, Mapping):
        raise DataError([Problem("message", "no object of JSON")])
    return given


def read_number(name: str, given: Any, least: float, most: float) -> float:
    """Reads a number between limits.

    Raises:
        DataError: It is none.
    """
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not least <= given <= most:
        raise DataError([Problem(name, f"{str(given)[:64]}", f"a number from {least:g} to {most:g}")])
    return float(given)


def read_flag(given: Mapping[str, Any], name: str) -> bool:
    """Reads an option that is true or false; false where it is not given.

    Raises:
        DataError: It is something else.
    """
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise DataError([Problem(name, f"{str(value)[:64]}", "true or false")])
    return value


def refuse_unknown_options(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuses a message with a key that none of its kind has, such as a misspelt one.

    Raises:
        DataError: Every such key, with the nearest known one.
    """
    unknown = [key for key in given if key not in known]
    if unknown:
        raise DataError([Problem(key[:64], "no option", suggest_names(key, known)) for key in unknown[:_MOST_UNKNOWN]])
