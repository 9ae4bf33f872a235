"""Decoded frames to arrays of pixels, upright, cut and scaled straight from what the decoder gives."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from fusionkit.data.readers.limits import check_size
from fusionkit.errors import DataError, Problem

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

Layout = Literal["planes", "grey", "image"]
"""Red, green and blue ``(height, width)``, brightness ``(height, width)``, or one image ``(height, width, 3)``."""

_FORMATS = {"planes": "gbrp", "grey": "gray", "image": "rgb24"}
_TURNS: Mapping[tuple[bool, bool, bool], tuple[str, ...]] = {
    (False, False, False): (),
    (False, True, False): ("hflip",),
    (False, False, True): ("vflip",),
    (False, True, True): ("hflip", "vflip"),
    (True, False, False): ("transpose=cclock_flip",),
    (True, True, False): ("transpose=clock",),
    (True, False, True): ("transpose=cclock",),
    (True, True, True): ("transpose=clock_flip",),
}
"""Filters that turn a picture upright. Keys: rows become columns; then x runs backwards, y runs backwards."""

_QUARTER = math.tan(math.radians(1))
"""Matrices within a degree of a quarter turn are one, as players take them."""

_EXACT = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_SQUARE = Fraction(1)
_ANY_TIME = Fraction(1)  # the graph asks for a time base, which plays no part in what it does


@dataclass(frozen=True)
class Region:
    """A part of an image in whole pixels; it does not reach beyond the image.

    Args:
        left: The first column.
        top: The first row.
        width: How many columns.
        height: How many rows.
    """

    left: int
    top: int
    width: int
    height: int


def read_pixel_aspect(picture: Any) -> Fraction:
    """Reads the width of a pixel of a stream by its height, as players take it; 1 where none is stated."""
    return picture.sample_aspect_ratio or _SQUARE


def find_upright_size(frame: Any, aspect: Fraction = _SQUARE) -> tuple[int, int]:
    """Finds height and width of a frame as players show it.

    A telephone held upright records films that lie, and films of television have pixels that are not square: their
    width changes and their height does not, so 720 x 576 at 16:9 become 1024 x 576.

    Args:
        frame: The frame.
        aspect: What `read_pixel_aspect` says.
    """
    width = max(1, round(frame.width * aspect))
    return (width, frame.height) if _find_orientation(_read_matrix(frame))[0] else (frame.height, width)


def _read_matrix(frame: Any) -> bytes:
    """Reads the display matrix of a frame, as libav stores it; nothing where it has none."""
    stated = frame.side_data.get("DISPLAYMATRIX")
    return b"" if stated is None else bytes(stated)


@lru_cache(maxsize=64)
def _find_orientation(matrix: bytes) -> tuple[bool, bool, bool]:
    r"""Tells which of eight ways a picture lies: whether rows become columns, and x and y then run backwards.

    .. math::
        x' = a x + c y, \qquad y' = b x + d y

    Raises:
        DataError: It is to be shown at an angle that is no quarter turn.
    """
    a, b, _, c, d = struct.unpack("=5i", matrix[:20]) if matrix else (1, 0, 0, 0, 1)
    if max(abs(b), abs(c)) <= _QUARTER * min(abs(a), abs(d)):  # a matrix of zeros says nothing
        return (False, a < 0, d < 0)
    if max(abs(a), abs(d)) <= _QUARTER * min(abs(b), abs(c)):
        return (True, c < 0, b < 0)
    degrees = round(math.degrees(math.atan2(b, a)))
    remedy = "turn its pixels themselves, with ffmpeg for example"
    raise DataError([Problem("", f"its picture is to be shown turned by {degrees} degrees, which is not done", remedy)])


class Reader:
    """Reads pixels out of frames: makes them upright and square, cuts a region, scales it, and converts its colours.

    libav does it all at once, which is much cheaper than converting whole frames: the rest of the image is never
    looked at. It shrinks by means over areas and enlarges by bicubic interpolation, in the frame's own colour matrix
    and range; its results are the same on every processor.

    Args:
        layout: How the pixels are given.
        region: What is cut out; the whole image when left out.
        size: Height and width that the region is scaled to; it keeps its own when left out.
        aspect: What `read_pixel_aspect` says of the film.
    """

    def __init__(
        self, layout: Layout, region: Region | None = None, size: int | None = None, aspect: Fraction = _SQUARE
    ) -> None:
        self._layout, self._region, self._size, self._aspect = layout, region, size, aspect
        self._graph: Any = None
        self._source: tuple[int, int, str, bytes] | None = None
        self._place = ""

    def __call__(self, frame: Any) -> tuple[Pixels, ...]:
        """Reads the pixels of a frame as its layout says, in the decoder's own memory: not to be written to.

        Raises:
            DataError: The frames of a film differ in size or in how they lie, or have more pixels than the limit.
        """
        source = (frame.width, frame.height, frame.format.name, _read_matrix(frame))
        if source != self._source:
            if self._source is not None and source[:2] != self._source[:2]:
                before, now = (f"{size[0]} x {size[1]}" for size in (self._source, source))
                raise DataError([Problem("", f"its picture changes from {before} to {now} pixels")])
            if self._source is not None and _find_orientation(source[3]) != _find_orientation(self._source[3]):
                raise DataError([Problem("", "its picture is turned or mirrored on the way")])
            self._graph, self._source = self._build_graph(frame), source
        return self._read_pixels(self._convert(frame))

    def _convert(self, frame: Any) -> Any:
        import av

        try:
            self._graph.vpush(frame)
            return self._graph.vpull()
        except av.FFmpegError as error:
            message = f"its frames cannot be converted ({error.strerror or error})"
            raise DataError([Problem("", message)]) from error

    def _build_graph(self, frame: Any) -> Any:
        import av

        graph = av.filter.Graph()
        # Workers decode side by side, on one thread each.
        graph.threads = 1
        region, size = self._region, self._size
        across, shown = frame.width, max(1, round(frame.width * self._aspect))
        check_size("pixels", max(across, shown) * frame.height, "")
        # Pixels are made square first: the aspect is that of the picture as it is stored, and a turn swaps its sides.
        steps = [f"scale={shown}:{frame.height}:flags=bicubic+{_EXACT}"] if shown != across else []
        steps += _TURNS[_find_orientation(_read_matrix(frame))]
        if region is not None:
            steps.append(f"crop={region.width}:{region.height}:{region.left}:{region.top}:exact=1")
        # A picture that shrinks is averaged over all of its pixels; bicubic scaling would skip some.
        if size is not None:
            height, width = (
                (region.height, region.width) if region is not None else find_upright_size(frame, self._aspect)
            )
            steps.append(f"scale={size}:{size}:flags={'area' if min(height, width) >= size else 'bicubic'}+{_EXACT}")
        else:
            steps.append(f"scale=flags=bicubic+{_EXACT}")
        steps.append(f"format={_FORMATS[self._layout]}")
        nodes = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or _ANY_TIME
            )
        ]
        for step in steps:
            name, _, options = step.partition("=")
            nodes.append(graph.add(name, options or None))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph

    def _read_pixels(self, frame: Any) -> tuple[Pixels, ...]:
        shape: tuple[int, ...] = (frame.height, frame.width)
        within: tuple[int, ...] = (1,)
        if self._layout == "image":
            shape, within = (*shape, 3), (3, 1)
        planes = [
            np.ndarray(shape, np.uint8, buffer=plane, strides=(plane.line_size, *within)) for plane in frame.planes
        ]
        return (planes[2], planes[0], planes[1]) if self._layout == "planes" else tuple(planes)
