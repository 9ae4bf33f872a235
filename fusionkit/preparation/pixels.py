"""Decoded frames to arrays of pixels, upright, cut and scaled straight from what the decoder gives."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from fusionkit.errors import DataError, Problem

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

Layout = Literal["planes", "grey", "image"]
"""Red, green and blue ``(height, width)``, brightness ``(height, width)``, or one image ``(height, width, 3)``."""

_FORMATS = {"planes": "gbrp", "grey": "gray", "image": "rgb24"}
_TURNS = {-90: ("transpose=clock",), 90: ("transpose=cclock",), 180: ("hflip", "vflip"), -180: ("hflip", "vflip")}

_EXACT = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_ANY_TIME = Fraction(1)  # the graph asks for a time base, which plays no part in what it does


@dataclass(frozen=True)
class Region:
    """A part of an image in whole pixels, no part of which is outside of it.

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


def upright_size(frame: Any) -> tuple[int, int]:
    """Height and width of a frame as it is meant to be seen: a telephone held upright records films that lie."""
    lies = abs(frame.rotation) == 90
    return (frame.width, frame.height) if lies else (frame.height, frame.width)


class Reader:
    """Reads pixels out of frames: turns them upright, cuts a region out, scales it, and converts its colours.

    libav does it all at once, which is much cheaper than converting whole frames: the rest of the image is never
    looked at. It shrinks by means over areas and enlarges by bicubic interpolation, in the frame's own colour matrix
    and range; its results are the same on every processor.

    Args:
        layout: How the pixels are given.
        region: What is cut out; the whole image when left out.
        size: Height and width that the region is scaled to; it keeps its own when left out.
    """

    def __init__(self, layout: Layout, region: Region | None = None, size: int | None = None) -> None:
        self._layout, self._region, self._size = layout, region, size
        self._graph: Any = None
        self._source: tuple[int, int, str, int] | None = None
        self._place = ""

    def __call__(self, frame: Any) -> tuple[Pixels, ...]:
        """The pixels of a frame as its layout says, in the decoder's own memory: not to be written to.

        Raises:
            DataError: The frames of a film differ in size or rotation.
        """
        source = (frame.width, frame.height, frame.format.name, frame.rotation)
        if source != self._source:
            if self._source is not None and source[:2] != self._source[:2]:
                before, now = (f"{size[0]} x {size[1]}" for size in (self._source, source))
                raise DataError([Problem("", f"its picture changes from {before} to {now} pixels")])
            if self._source is not None and source[3] != self._source[3]:
                before, now = f"{self._source[3]}", f"{source[3]}"
                raise DataError([Problem("", f"its picture turns from {before} to {now} degrees on the way")])
            self._graph, self._source = self._built(frame), source
        return self._pixels(self._converted(frame))

    def _converted(self, frame: Any) -> Any:
        import av

        try:
            self._graph.vpush(frame)
            return self._graph.vpull()
        except av.FFmpegError as error:
            message = f"its frames cannot be converted ({error.strerror or error})"
            raise DataError([Problem("", message)]) from error

    def _built(self, frame: Any) -> Any:
        import av

        graph = av.filter.Graph()
        graph.threads = 1
        steps = list(_TURNS.get(frame.rotation, ()))
        region, size = self._region, self._size
        if region is not None:
            steps.append(f"crop={region.width}:{region.height}:{region.left}:{region.top}:exact=1")
        if size is not None:
            height, width = (region.height, region.width) if region is not None else upright_size(frame)
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

    def _pixels(self, frame: Any) -> tuple[Pixels, ...]:
        shape: tuple[int, ...] = (frame.height, frame.width)
        within: tuple[int, ...] = (1,)
        if self._layout == "image":
            shape, within = (*shape, 3), (3, 1)
        planes = [
            np.ndarray(shape, np.uint8, buffer=plane, strides=(plane.line_size, *within)) for plane in frame.planes
        ]
        return (planes[2], planes[0], planes[1]) if self._layout == "planes" else tuple(planes)
