"""Filled shapes on a head that is placed, turned and tilted in a frame; drawn twice as large, so edges are smooth.

Points are complex numbers, x + iy in half heights of the head, x to the right and y down: a turn is a product.
"""

from __future__ import annotations

import cmath
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from fusionkit.rendering.looks import Colour

DETAIL = 2
"""Factor by which everything is drawn larger than the frame."""


@dataclass(frozen=True)
class Pose:
    """The place of the head.

    Args:
        x: Centre, pixels of the frame from the left.
        y: Centre, pixels from the top.
        scale: Pixels in half a head's height.
        roll: Radians, clockwise.
        yaw: Radians, to the right of the frame.
        pitch: Radians, down.
    """

    x: float
    y: float
    scale: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


class Canvas:
    """Draws shapes that are given in the head's coordinates.

    Args:
        image: What is drawn on, `DETAIL` times as large as the frame.
        pose: Where the head is.
    """

    def __init__(self, image: Image.Image, pose: Pose) -> None:
        self._draw = ImageDraw.Draw(image)
        self._unit = pose.scale * DETAIL
        self._turn = cmath.rect(self._unit, pose.roll)
        self._look = complex(0.85 * pose.yaw, 0.85 * pose.pitch)
        self._origin = complex(pose.x, pose.y) * DETAIL

    def place(self, points: np.ndarray, *, flat: bool = False) -> np.ndarray:
        """Pixels of points on the head, which is an ellipsoid; flat ones lie on its rim."""
        if not flat:
            depth = np.sqrt(np.maximum(0.0, 1 - (points.real / 0.85) ** 2 - (points.imag / 1.15) ** 2))
            points = points + self._look * depth
        placed: np.ndarray = points * self._turn + self._origin
        return placed

    def fill(self, points: np.ndarray, colour: Colour | int, *, flat: bool = False) -> None:
        """Fills a polygon."""
        self._draw.polygon(self.place(points, flat=flat).view(np.float64).tolist(), fill=_round_colour(colour))

    def stroke(self, points: np.ndarray, colour: Colour | int, width: float) -> None:
        """Draws a line of a width in the head's units."""
        pixels = max(1, round(width * self._unit))
        self._draw.line(self.place(points).view(np.float64).tolist(), fill=_round_colour(colour), width=pixels)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mixes a colour of two, at a share of the second."""
    a, b = 1 - share, share
    return (a * first[0] + b * second[0], a * first[1] + b * second[1], a * first[2] + b * second[2])


def darken(colour: Colour, factor: float) -> Colour:
    """Darkens a colour by a factor."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def mirror(points: np.ndarray, side: int = -1) -> np.ndarray:
    """Points of the right half as they are, or, with side -1, their mirror images."""
    turned: np.ndarray = points if side == 1 else -points.conj()
    return turned


def close_shape(right: np.ndarray) -> np.ndarray:
    """Closes a shape from the points of its right half; the first and the last lie on the axis."""
    return np.concatenate([right, mirror(right[-2:0:-1])])


def smooth(points: np.ndarray, *, closed: bool = False, pieces: int = 5) -> np.ndarray:
    """Draws a Catmull-Rom curve through points, with so many pieces between two of them.

    Example:
        >>> smooth(np.array([0j, 1 + 1j, 2 + 0j]), pieces=2).real.round(3).tolist()
        [0.0, 0.438, 1.0, 1.562, 2.0]
    """
    curve: np.ndarray = _make_catmull_rom(len(points), closed, pieces) @ points
    return curve


@lru_cache(maxsize=64)
def _make_catmull_rom(count: int, closed: bool, pieces: int) -> np.ndarray:
    """Makes the matrix that takes points to points on the curve through them."""
    spans = count if closed else count - 1
    t = np.arange(pieces)[:, None] / pieces
    weights = 0.5 * np.concatenate(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    matrix = np.zeros((spans * pieces + (0 if closed else 1), count), dtype=np.complex128)
    for span in range(spans):
        for offset in range(4):
            point = span + offset - 1
            column = point % count if closed else min(max(point, 0), count - 1)
            matrix[span * pieces : (span + 1) * pieces, column] += weights[:, offset]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def _round_colour(colour: Colour | int) -> int | tuple[int, int, int]:
    if isinstance(colour, int):
        return colour
    red, green, blue = (min(255, max(0, int(part))) for part in colour)
    return (red, green, blue)
