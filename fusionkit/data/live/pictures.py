"""Frames of a camera to face crops at the rate of the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.crops import Cutter, make_cutter
from fusionkit.data.films.frames import Pixels, Reader, find_upright_size
from fusionkit.data.live.faces import FaceFollower
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Box, FaceDetector

FILLED_SECONDS = 0.5
"""Time without elements that is filled as in films, frames by the last one, sound by silence; longer is a gap."""

_NEARLY = 1e-3  # elements

Block = tuple[float, Tensor]
"""Elements that follow each other at their rate, and the seconds of the first."""


class PictureStream:
    """Prepares frames as they come: takes them at the rate of the training, finds the face and cuts it out.

    Every frame is taken as often as instants of the rate are nearest to it, as in films, on the supposition that the
    next one comes when the camera's rate says. A frame that comes late is preceded by the one before it, up to half a
    second; after a longer time there is a gap.

    Args:
        spec: How films are prepared.
        detector: What finds the faces.
        rate: Frames per second of the camera; the training's when left out.
        aspect: The width of its pixels by their height.
    """

    def __init__(
        self,
        spec: PrepareSpec,
        detector: FaceDetector,
        rate: float | None = None,
        *,
        aspect: Fraction = Fraction(1),
    ) -> None:
        self._spec, self._detector, self._aspect = spec, detector, aspect
        self._rate = spec.frame_rate
        self._period = 1 / (rate or spec.frame_rate)
        self.box: Box | None = None
        self.size: tuple[int, int] | None = None
        self._read = Reader("image", aspect=self._aspect)
        self._restart()

    def _restart(self) -> None:
        self._follower = FaceFollower(self._spec.face, self._rate)
        self._origin: float | None = None
        self._given = 0
        self._last: tuple[float, tuple[Pixels, ...]] | None = None
        self._cutter: Cutter | None = None
        self._cut: Callable[[Any], tuple[Pixels, ...]] | None = None

    def push(self, frames: Sequence[Any], at: float | None = None) -> list[Block]:
        """Returns the crops of frames, those without a face left out.

        Args:
            frames: Decoded frames of PyAV, or ``(height, width, 3)`` uint8 arrays of red, green and blue.
            at: Seconds of the first; one period after the last one when left out.

        Raises:
            DataError: They come before one that was pushed, or are no images.
        """
        if not len(frames):
            return []
        before = None if self._last is None else self._last[0]
        begin = (0.0 if before is None else before + self._period) if at is None else at
        if before is not None and begin <= before:
            message = f"frames from {begin:.3f} s on come after the one of {before:.3f} s"
            raise DataError([Problem("video", message, "push them in the order of time, or reset the stream")])
        images = [_make_frame(frame) for frame in frames]
        crops = [crop for place, frame in enumerate(images) for crop in self._take(frame, begin + place * self._period)]
        return join_blocks(crops, self._rate)

    def _take(self, frame: Any, at: float) -> list[Block]:
        found: list[Block] = []
        size = (frame.height, frame.width)
        if self._last is None or size != self.size or at - self._last[0] > FILLED_SECONDS + self._period:
            self._begin(size)
        if self._origin is None:
            self._origin, self._given = at, 0
        elif self._last is not None:  # what the frame before is nearer to, had it been known that this one comes late
            then, pixels = self._last
            found += self._give(pixels, None, self._count_instants((then + at) / 2))
        due = self._count_instants(at + self._period / 2)
        pixels = self._read_pixels(frame)
        found += self._give(pixels, frame, due)
        self._last = (at, pixels)
        return found

    def _begin(self, size: tuple[int, int]) -> None:
        """Begins anew: at the first frame, after a gap, and where the size of frames changes."""
        if size != self.size:
            self._restart()
            self._read = Reader("image", aspect=self._aspect)
        self.size, self._origin, self._last = size, None, None

    def _count_instants(self, at: float) -> int:
        assert self._origin is not None
        return math.floor((at - self._origin) * self._rate + _NEARLY) + 1

    def _give(self, pixels: tuple[Pixels, ...], frame: Any, due: int) -> Iterable[Block]:
        assert self._origin is not None
        found = []
        while self._given < due:
            at = self._origin + self._given / self._rate
            self._given += 1
            planes = pixels if self._cutter is None else self._cut_face(pixels, frame)
            if planes is not None:
                found.append((at, torch.from_numpy(np.stack(planes)[None])))
        return found

    def _read_pixels(self, frame: Any) -> tuple[Pixels, ...]:
        """Reads what is needed of a frame; of a fixed box that is the crop."""
        face = self._spec.face
        if not self._detector.looks:
            if self._cut is None:
                height, width = find_upright_size(frame, self._aspect)
                nothing = torch.zeros(1, 1, 1, dtype=torch.uint8).expand(height, width, 3)
                self.box = self._detector.detect(nothing)[0]
                self._cut = make_cutter(self.box, frame, size=face.size, grey=face.grey, aspect=self._aspect)
            return tuple(plane.copy() for plane in self._cut(frame))
        if self._cutter is None:
            height, width = find_upright_size(frame, self._aspect)
            self._cutter = Cutter(
                Box(0.0, 0.0, float(width), float(height)), frame, size=face.size, grey=face.grey, aspect=self._aspect
            )
        return tuple(plane.copy() for plane in self._cutter.read(frame))

    def _cut_face(self, pixels: tuple[Pixels, ...], frame: Any) -> tuple[Pixels, ...] | None:
        assert self._cutter is not None
        # A frame that is repeated was looked at when it came.
        if self._follower.is_due and frame is not None:
            image = self._read(frame)[0]
            self._follower.look(self._detector.detect(torch.from_numpy(image.copy())), *image.shape[:2])
        self.box = self._follower.step()
        return None if self.box is None else self._cutter.cut(pixels, self.box)


def join_blocks(blocks: Sequence[Block], rate: float) -> list[Block]:
    """Joins blocks that follow each other."""
    joined: list[tuple[float, list[Tensor]]] = []
    end = -math.inf
    for at, values in blocks:
        if joined and abs(at - end) * rate < 0.5:
            joined[-1][1].append(values)
        else:
            joined.append((at, [values]))
        end = at + len(values) / rate
    return [(at, torch.cat(parts)) for at, parts in joined]


def _make_frame(frame: Any) -> Any:
    if hasattr(frame, "planes"):
        return frame
    import av

    pixels = np.ascontiguousarray(frame)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        message = f"a frame of shape {pixels.shape} and {pixels.dtype}"
        raise DataError([Problem("video", message, "give (frames, height, width, 3) uint8: red, green, blue")])
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")
