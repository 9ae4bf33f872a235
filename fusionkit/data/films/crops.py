"""Square face crops of one size out of the frames of a film."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.films.frames import Pixels, Reader, Region, find_upright_size
from fusionkit.data.films.pace import Pace
from fusionkit.data.readers.limits import check_size
from fusionkit.interfaces import Box

_FIRST_ROOM = 1 << 24
"""Bytes of crops that fit before more memory is asked for: enough for most films, in pages as large as the system has.
What no crop is written to costs nothing."""


def cut_fixed(
    frames: Iterable[Any],
    pace: Pace,
    box_of: Callable[[Any], Box],
    *,
    size: int,
    grey: bool,
    aspect: Fraction = Fraction(1),
) -> Tensor | None:
    """Cuts one box out of every frame.

    Args:
        frames: Decoded frames.
        pace: How often each is taken.
        box_of: The box of the film, asked for its first frame.
        size: Height and width of a crop.
        grey: Keep brightness alone.
        aspect: The width of a pixel by its height.

    Returns:
        The crops, ``(frames, channels, size, size)`` uint8; None where there are no frames.
    """
    cut: Callable[[Any], tuple[Pixels, ...]] | None = None

    def read(frame: Any) -> tuple[Pixels, ...]:
        nonlocal cut
        if cut is None:
            cut = make_cutter(box_of(frame), frame, size=size, grey=grey, aspect=aspect)
        return cut(frame)

    crops = _Crops(size, grey=grey)
    for planes, copies in pace(frames, read):
        crops.add(planes, copies)
    return crops.finish()


def cut_moving(
    frames: Iterable[Any], pace: Pace, boxes: Tensor, *, size: int, grey: bool, aspect: Fraction = Fraction(1)
) -> Tensor | None:
    """Cuts a box of its own out of every frame.

    Args:
        frames: Decoded frames.
        pace: How often each is taken.
        boxes: Left, top, right and bottom in every frame that is taken, ``(frames, 4)``.
        size: Height and width of a crop.
        grey: Keep brightness alone.
        aspect: The width of a pixel by its height.

    Returns:
        The crops, ``(frames, channels, size, size)`` uint8; None where there are no frames.
    """
    edges = boxes.tolist()
    around = Box(*boxes.min(dim=0).values[:2].tolist(), *boxes.max(dim=0).values[2:].tolist())
    cutter: Cutter | None = None

    def read(frame: Any) -> tuple[Cutter, tuple[Pixels, ...]]:
        nonlocal cutter
        if cutter is None:
            cutter = Cutter(around, frame, size=size, grey=grey, aspect=aspect)
        return cutter, cutter.read(frame)

    crops = _Crops(size, grey=grey)
    for (cutting, pixels), copies in pace(frames, read):
        for box in edges[len(crops) : len(crops) + copies]:
            crops.add(cutting.cut(pixels, Box(*box)))
    return crops.finish()


class _Crops:
    """Crops that are put one behind the other in memory that grows with them."""

    def __init__(self, size: int, *, grey: bool) -> None:
        self._shape = (1 if grey else 3, size, size)
        self._crops: Pixels = np.empty((1 + _FIRST_ROOM // math.prod(self._shape), *self._shape), np.uint8)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, planes: tuple[Pixels, ...], copies: int = 1) -> None:
        """Adds a crop, as often as is said."""
        first, self._length = self._length, self._length + copies
        if self._length > len(self._crops):
            check_size("frames", self._length, "")
            self._make_room(max(self._length, 2 * len(self._crops)))
        for channel, plane in enumerate(planes):
            self._crops[first : self._length, channel] = plane

    def finish(self) -> Tensor | None:
        """Returns all of them, ``(frames, channels, size, size)``; None where there are none. No more can be added."""
        self._make_room(self._length)
        return torch.from_numpy(self._crops) if self._length else None

    def _make_room(self, crops: int) -> None:
        self._crops.resize((crops, *self._shape), refcheck=False)  # in place where the system can


def make_cutter(
    box: Box, frame: Any, *, size: int, grey: bool, aspect: Fraction
) -> Callable[[Any], tuple[Pixels, ...]]:
    """Makes what cuts one box out of frames of one size: in whole pixels where the image holds it."""
    height, width = find_upright_size(frame, aspect)
    left, top = round(box.left), round(box.top)
    side = max(1, round(max(box.right - box.left, box.bottom - box.top)))
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        return Reader("grey" if grey else "planes", Region(left, top, side, side), size, aspect)
    cutter = Cutter(box, frame, size=size, grey=grey, aspect=aspect)
    return lambda frame: cutter.cut(cutter.read(frame), box)


class Cutter:
    """Crops by boxes that are no whole pixels or reach over the edge, where the image is continued by its border.

    Only what all boxes of a film cover is converted; Pillow scales with a filter as wide as the scale asks for.
    """

    def __init__(self, around: Box, frame: Any, *, size: int, grey: bool, aspect: Fraction) -> None:
        height, width = find_upright_size(frame, aspect)
        left = min(max(math.floor(around.left), 0), width - 1)
        top = min(max(math.floor(around.top), 0), height - 1)
        right = max(min(math.ceil(around.right), width), left + 1)
        bottom = max(min(math.ceil(around.bottom), height), top + 1)
        self._left, self._top, self._size = left, top, size
        region = Region(left, top, right - left, bottom - top)
        self.read = Reader("grey" if grey else "image", region, aspect=aspect)

    def cut(self, pixels: tuple[Pixels, ...], box: Box) -> tuple[Pixels, ...]:
        """Cuts the planes of the crop of a box out of what `read` gave of a frame."""
        from PIL import Image

        image = pixels[0]
        left, right = box.left - self._left, box.right - self._left
        top, bottom = box.top - self._top, box.bottom - self._top
        first, last = math.floor(left), math.ceil(right)
        highest, lowest = math.floor(top), math.ceil(bottom)
        rows = np.arange(highest, lowest).clip(0, image.shape[0] - 1)
        columns = np.arange(first, last).clip(0, image.shape[1] - 1)
        inside = highest >= 0 and first >= 0 and lowest <= image.shape[0] and last <= image.shape[1]
        part = image[highest:lowest, first:last] if inside else image[rows[:, None], columns]
        exact = (left - first, top - highest, right - first, bottom - highest)
        scaled = Image.fromarray(part).resize((self._size, self._size), Image.Resampling.BILINEAR, box=exact)
        crop = np.asarray(scaled)
        return (crop,) if crop.ndim == 2 else tuple(crop.transpose(2, 0, 1))
