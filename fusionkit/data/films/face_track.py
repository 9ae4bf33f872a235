"""The faces that were found in some frames of a film, to one steady square crop in every frame.

Faces of successive looked-at frames are linked into sightings of one face; one face is chosen and followed; between the
frames in which it was found its box is interpolated, then smoothed over time, made square and widened by the margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fusionkit.config.schema import FaceSpec
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Box


@dataclass(frozen=True)
class Track:
    """The crops of a film.

    Args:
        boxes: Left, top, right and bottom of the square crop of every frame, ``(frames, 4)`` float64; None where the
            film has no usable face.
        departures: In words: frames without a face, several faces, a face lost and taken up again.
        drop: Whether the clip is to be dropped.
    """

    boxes: Tensor | None
    departures: tuple[str, ...]
    drop: bool


@dataclass(frozen=True)
class Square:
    """A face in one frame: its centre and the larger side of its box, in pixels."""

    x: float
    y: float
    side: float


_Sightings = dict[int, Square]
"""One face by frame, in the order of time."""


def follow_face(
    detections: Mapping[int, Sequence[Box]],
    *,
    frames: int,
    height: int,
    width: int,
    frame_rate: float,
    spec: FaceSpec,
) -> Track:
    r"""Finds the square crop of every frame, from the faces of the frames that were looked at.

    .. math::
        b_t = \frac{\sum_u g(t - u) \, \tilde b_u}{\sum_u g(t - u)}, \qquad
        g(d) = \exp\left(-\frac{d^2}{2 (\sigma r)^2}\right)

    :math:`\tilde b` are centre and side, linear between detections and constant before the first and after the last;
    sums run over the film's frames within four standard deviations. The side is the larger one of the face's box; the
    margin is added on each side as a share of it. Crops may reach beyond the image.

    One face is followed: of all sightings the largest or the most central, taken over the whole film, so that a face in
    the background does not take over where the followed one was missed. A face that is lost and found elsewhere, as
    after a cut, is followed there, where at least two frames agree and no frame shows both places.

    Args:
        detections: The faces found, by index of the frame; every frame that was looked at is a key.
        frames: How many frames the film has.
        height: Height of a frame in pixels.
        width: Width of a frame in pixels.
        frame_rate: Frames per second.
        spec: Margin, smoothing, and the policies; for a detector that does not look, with a margin of 0.

    Returns:
        The crops, the departures, and whether the policy drops the clip.

    Raises:
        DataError: A policy is ``fail`` and applies, or a detector returned a box that is none.
    """
    found = {frame: make_squares(detections[frame], frame) for frame in sorted(detections)}
    followed, jumps = _follow(found, height, width, central=spec.several == "central")
    looked, seen = len(found), len(followed)
    # First of the policies: gaps and crowds mean nothing where the face is hardly there.
    if not seen or seen < spec.least_seen * looked:
        sentence = f"no face in any of {looked} looked-at frames"
        if seen:
            sentence = f"a face in {seen} of {looked} looked-at frames only, least_seen is {spec.least_seen:g}"
        return _take_centre(sentence, spec, frames, height, width)
    departures = list[str]()
    crowded = sum(len(squares) > 1 for squares in found.values())
    if crowded:
        sentence = f"several faces in {crowded} of {looked} looked-at frames"
        if spec.several not in ("largest", "central"):
            return _refuse(sentence, spec.several, "several")
        departures.append(f"{sentence}, the {'largest' if spec.several == 'largest' else 'most central'} was followed")
    if seen < looked:
        elsewhere = any(found[frame] for frame in found if frame not in followed)
        what = "the followed face is missing" if elsewhere else "no face"
        sentence = f"{what} in {looked - seen} of {looked} looked-at frames"
        if spec.gaps != "interpolate":
            return _refuse(sentence, spec.gaps, "gaps")
        departures.append(f"{sentence}, interpolated")
    departures += [f"the face is lost at frame {lost} and taken up elsewhere at frame {again}" for lost, again in jumps]
    centres_and_sides = _smooth(_interpolate(followed, frames), spec.smoothing * frame_rate)
    return Track(_make_boxes(centres_and_sides, spec.margin), tuple(departures), drop=False)


def _take_centre(sentence: str, spec: FaceSpec, frames: int, height: int, width: int) -> Track:
    if spec.no_face != "center":
        return _refuse(sentence, spec.no_face, "no_face")
    middle = torch.tensor([width / 2, height / 2, min(height, width)], dtype=torch.float64)
    return Track(
        _make_boxes(middle.expand(frames, 3), 0.0), (f"{sentence}, the middle of the image was taken",), drop=False
    )


def _refuse(sentence: str, policy: str, key: str) -> Track:
    """Makes the track of a film whose face is not to be used."""
    if policy == "fail":
        remedy = f"leave the film out, or set data.prepare.face.{key} to another policy"
        raise DataError([Problem("", sentence, remedy)])
    return Track(
        None, (f"{sentence}, the {'clip is dropped' if policy == 'drop' else 'video is missing'}",), policy == "drop"
    )


def make_squares(boxes: Iterable[Box], frame: int) -> list[Square]:
    """Makes squares of boxes, in an order that does not depend on the detector's."""
    squares = []
    for box in boxes:
        finite = all(math.isfinite(edge) for edge in (box.left, box.top, box.right, box.bottom))
        if not finite or box.left >= box.right or box.top >= box.bottom:
            raise DataError([Problem(f"frame {frame}", f"the detector returned {box}, which has no area")])
        side = max(box.right - box.left, box.bottom - box.top)
        squares.append(Square((box.left + box.right) / 2, (box.top + box.bottom) / 2, side))
    return sorted(squares, key=lambda square: (square.x, square.y, square.side))


def _follow(
    found: Mapping[int, Sequence[Square]], height: int, width: int, *, central: bool
) -> tuple[_Sightings, list[tuple[int, int]]]:
    """Follows the one face through its sightings, and says where it was lost and taken up elsewhere."""

    def weigh(sightings: _Sightings) -> float:
        if not central:
            return sum(square.side**2 for square in sightings.values())
        reach = math.hypot(width, height) / 2
        away = (math.hypot(square.x - width / 2, square.y - height / 2) for square in sightings.values())
        return sum(max(0.0, 1 - distance / reach) for distance in away)

    taken = list[_Sightings]()
    # The best first. Others may only fill the time before or after it, and a single sighting may be a mistake.
    for sightings in sorted(_link(found), key=weigh, reverse=True):
        apart = all(max(other) < min(sightings) or max(sightings) < min(other) for other in taken)
        if not taken or (apart and len(sightings) > 1):
            taken.append(sightings)
    taken.sort(key=min)
    jumps = [(max(before), min(after)) for before, after in pairwise(taken)]
    return {frame: square for sightings in taken for frame, square in sightings.items()}, jumps


def _link(found: Mapping[int, Sequence[Square]]) -> list[_Sightings]:
    """Links faces of successive frames that are one face: each to at most one, the most alike first."""
    faces = list[_Sightings]()
    for frame, squares in found.items():
        last = [face[max(face)] for face in faces]
        pairs = [
            (measure_unlikeness(before, now), i, j) for i, before in enumerate(last) for j, now in enumerate(squares)
        ]
        continued, placed = set[int](), set[int]()
        for unlike, i, j in sorted(pairs):
            if unlike <= 1 and i not in continued and j not in placed:
                faces[i][frame] = squares[j]
                continued.add(i)
                placed.add(j)
        faces += [{frame: square} for j, square in enumerate(squares) if j not in placed]
    return faces


def measure_unlikeness(before: Square, now: Square) -> float:
    """Measures how unlike two squares are; above 1 they are not one face, which moves by its side at most."""
    moved = math.hypot(now.x - before.x, now.y - before.y) / max(now.side, before.side)
    return max(moved, abs(math.log2(now.side / before.side)))


def _interpolate(sightings: _Sightings, frames: int) -> Tensor:
    """Interpolates centre and side, ``(frames, 3)``: linear between sightings, constant before and after them."""
    known = torch.tensor(list(sightings), dtype=torch.float64)
    values = torch.tensor([(s.x, s.y, s.side) for s in sightings.values()], dtype=torch.float64)
    if len(known) == 1:
        return values.expand(frames, 3)
    time = torch.arange(frames, dtype=torch.float64).clamp(known[0], known[-1])
    after = torch.searchsorted(known, time).clamp(1)
    share = ((time - known[after - 1]) / (known[after] - known[after - 1]))[:, None]
    return values[after - 1] + share * (values[after] - values[after - 1])


def _smooth(values: Tensor, deviation: float) -> Tensor:
    """Smooths over time by a Gaussian mean, ``deviation`` in frames, of the frames that exist."""
    reach = math.ceil(4 * deviation)
    if reach == 0:
        return values
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / deviation) ** 2)[None, None]
    rows = torch.cat([values.T, torch.ones_like(values[:, :1]).T])[:, None]  # the last row sums the weights
    sums = torch.nn.functional.conv1d(rows, weights, padding=reach)[:, 0]
    return (sums[:-1] / sums[-1]).T


def _make_boxes(centres_and_sides: Tensor, margin: float) -> Tensor:
    x, y, side = centres_and_sides.unbind(dim=1)
    half = side * (0.5 + margin)
    return torch.stack([x - half, y - half, x + half, y + half], dim=1)
