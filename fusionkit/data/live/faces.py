"""The face of a live picture: found every few frames, held in between, smoothed over the frames so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from fusionkit.config.schema import FaceSpec
from fusionkit.data.films.face_track import Square, make_squares, measure_unlikeness
from fusionkit.interfaces import Box

HELD_SECONDS = 1.0
"""Seconds that a face which is not found any more is held in its place; in a film it is interpolated however long."""

_AGREEING = 2
"""Looks in a row that must find a face at another place before it is followed there, as in films."""


class FaceFollower:
    r"""Follows one face through frames as they come.

    .. math::
        b_t = \frac{\sum_{u \le t} g(t - u) \, \tilde b_u}{\sum_{u \le t} g(t - u)}, \qquad
        g(d) = \exp\left(-\frac{d^2}{2 (\sigma r)^2}\right)

    the formula of `follow_face` with its sums cut at the present; :math:`\tilde b` is what was found last, since what
    will be found next is not known. So a box comes late behind a face that moves, by about
    :math:`\sigma \sqrt{2 / \pi}` and half the time from one look to the next. A face that is not found is held for a
    second, then there is none; one that is found elsewhere by two looks in a row is followed there at once, without
    gliding over. With several faces the largest or most central of the first frame is followed as long as it is
    found, where a film's is chosen by all of its frames.

    Args:
        spec: How faces are cut out of films.
        frame_rate: Frames per second.
    """

    def __init__(self, spec: FaceSpec, frame_rate: float) -> None:
        self._spec, self._frame_rate = spec, frame_rate
        self._deviation = spec.smoothing * frame_rate
        self._past: deque[Square] = deque(maxlen=1 + math.ceil(4 * self._deviation))
        self._followed: Square | None = None
        self._elsewhere: list[Square] = []
        self._missed = self._until_look = 0
        self._size = (0, 0)

    @property
    def is_due(self) -> bool:
        """Tells whether the next frame is to be looked at."""
        return self._until_look <= 0

    def look(self, boxes: Sequence[Box], height: int, width: int) -> None:
        """Takes the faces that were found in the next frame.

        Raises:
            DataError: A box has no area.
        """
        self._until_look, self._size = self._spec.every, (height, width)
        squares = make_squares(boxes, 0)
        if len(squares) > 1 and self._spec.several not in ("largest", "central"):
            self._lose()
            return
        if self._followed is None:
            if squares:
                self._follow(self._choose(squares))
            return
        nearest = min(squares, key=self._measure, default=None)
        if nearest is not None and self._measure(nearest) <= 1:
            self._followed, self._missed, self._elsewhere = nearest, 0, []
            return
        self._missed += 1
        if self._spec.gaps != "interpolate":
            self._lose()
        elif squares:
            self._consider(self._choose(squares))
        else:
            self._elsewhere = []
        if self._missed * self._spec.every > HELD_SECONDS * self._frame_rate:
            self._lose()

    def step(self) -> Box | None:
        """Returns the square to cut out of the next frame; None where there is no face."""
        self._until_look -= 1
        if self._followed is None:
            height, width = self._size
            half = min(height, width) / 2
            if self._spec.no_face != "center" or not half:
                return None
            return Box(width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
        self._past.append(self._followed)
        return self._smooth()

    def _smooth(self) -> Box:
        last = len(self._past) - 1
        weights = [
            math.exp(-0.5 * ((last - place) / self._deviation) ** 2) if self._deviation else float(place == last)
            for place in range(last + 1)
        ]
        total = sum(weights)
        x, y, side = (
            sum(weight * getattr(square, name) for weight, square in zip(weights, self._past, strict=True)) / total
            for name in ("x", "y", "side")
        )
        half = side * (0.5 + self._spec.margin)
        return Box(x - half, y - half, x + half, y + half)

    def _measure(self, square: Square) -> float:
        assert self._followed is not None
        return measure_unlikeness(self._followed, square)

    def _consider(self, square: Square) -> None:
        """Follows a face that is seen elsewhere, once as many looks agree."""
        agrees = self._elsewhere and measure_unlikeness(self._elsewhere[-1], square) <= 1
        self._elsewhere = [*self._elsewhere, square] if agrees else [square]
        if len(self._elsewhere) >= _AGREEING:
            self._follow(square)

    def _follow(self, square: Square) -> None:
        self._lose()
        self._followed = square

    def _lose(self) -> None:
        self._followed, self._missed, self._elsewhere = None, 0, []
        self._past.clear()

    def _choose(self, squares: Sequence[Square]) -> Square:
        if self._spec.several != "central":
            return max(squares, key=lambda square: square.side)
        height, width = self._size
        return min(squares, key=lambda square: math.hypot(square.x - width / 2, square.y - height / 2))
