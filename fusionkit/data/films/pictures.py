"""The picture of a film: decoded, paced, its face found and cut out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.crops import cut_fixed, cut_moving
from fusionkit.data.films.face_track import Track, follow_face
from fusionkit.data.films.frames import Reader, find_upright_size, read_pixel_aspect
from fusionkit.data.films.pace import Pace
from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.limits import check_size
from fusionkit.data.readers.sound.tracks import SoundTrack
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Box, FaceDetector

Refusal = Literal["dropped", "failed", "unusable"]


@dataclass(frozen=True)
class Picture:
    """The result of decoding a film's picture.

    Args:
        crops: The face crops, ``(frames, channels, size, size)`` uint8; None where there are none.
        decoded: Frames that were decoded.
        start: Seconds at which the picture begins; None where it is not stated.
        departures: Everything that departs from a plain picture, each with its kind.
        refusal: ``dropped`` or ``failed`` by a policy of faces, or ``unusable``, with the reason; None where nothing is
            refused.
        boxes: Left, top, right and bottom of the crop of every frame, ``(frames, 4)``; None where there are no crops,
            or the detector does not look.
    """

    crops: Tensor | None
    decoded: int
    start: float | None
    departures: tuple[tuple[str, str], ...] = ()
    refusal: tuple[Refusal, str] | None = None
    boxes: Tensor | None = None


@dataclass(frozen=True)
class FilmContent:
    """The content of a film, beside its sound.

    Args:
        picture: What became of its picture.
        losses: What is missing of it, in words.
        lacks_duration: Whether its header states no duration.
    """

    picture: Picture
    losses: list[str]
    lacks_duration: bool


def find_picture(path: Path, spec: PrepareSpec, detector: FaceDetector, track: SoundTrack | None) -> FilmContent:
    """Decodes a film, cuts the face out of its frames, and hands its sound on.

    A detector that looks costs a second pass over the film, which is little beside the detection: so frames need not be
    kept at full size until the face is known in all of them.

    Args:
        path: The film.
        spec: How it is prepared.
        detector: What finds the face.
        track: Receives the sound; None where it is not wanted.

    Raises:
        DataError: The film cannot be opened, changes its size on the way, or is larger than the limits.
    """
    with Film(path) as film:
        if film.picture is None:
            for frame in film.decode(picture=False, sound=track is not None):
                _hear(track, frame)
            picture = Picture(None, 0, None, (), ("unusable", "holds no picture"))
            return FilmContent(picture, film.list_losses(), film.lacks_duration)
        check_size("frames", round(film.stated_seconds * spec.frame_rate), str(path))
        pace = Pace(spec.frame_rate, film.picture.average_rate)
        aspect = read_pixel_aspect(film.picture)
        frames = _hand_on_sound(film, track)
        if not detector.looks:
            box_of = partial(_find_box, detector, aspect)
            crops = cut_fixed(frames, pace, box_of, size=spec.face.size, grey=spec.face.grey, aspect=aspect)
            return FilmContent(_make_picture(pace, crops), film.list_losses(), film.lacks_duration)
        found = _look(frames, pace, detector, spec.face.every, aspect)
        losses, lacks_duration = film.list_losses(), film.lacks_duration
    return FilmContent(_follow(path, spec, pace, found), losses, lacks_duration)


@dataclass(frozen=True)
class _Found:
    """The faces by frame that was looked at, and the size of the frames."""

    boxes: dict[int, tuple[Box, ...]]
    height: int
    width: int


def _look(frames: Iterable[Any], pace: Pace, detector: FaceDetector, every: int, aspect: Fraction) -> _Found:
    boxes: dict[int, tuple[Box, ...]] = {}
    position = height = width = 0
    read = Reader("image", aspect=aspect)
    for frame, copies in pace(frames, lambda frame: frame):  # few are looked at, so their pixels are not read before
        if not height:
            height, width = find_upright_size(frame, aspect)
        due = -(-position // every) * every
        if due < position + copies:
            boxes[due] = tuple(detector.detect(torch.from_numpy(read(frame)[0].copy())))
        position += copies
    return _Found(boxes, height, width)


def _follow(path: Path, spec: PrepareSpec, pace: Pace, found: _Found) -> Picture:
    if not pace.given:
        return _make_picture(pace, None)
    try:
        track: Track = follow_face(
            found.boxes,
            frames=pace.given,
            height=found.height,
            width=found.width,
            frame_rate=spec.frame_rate,
            spec=spec.face,
        )
    except DataError as error:
        return _make_picture(pace, None, refusal=("failed", "; ".join(map(str, error.problems))))
    departures = tuple(("faces", text) for text in track.departures)
    if track.drop:
        return _make_picture(pace, None, refusal=("dropped", "; ".join(track.departures)))
    if track.boxes is None:
        return _make_picture(pace, None, departures, found_none=True)
    # Decoded anew: frames of full size are too many to be kept until the face is known in all of them.
    with Film(path) as film:
        again = Pace(spec.frame_rate, film.picture.average_rate)
        aspect, face = read_pixel_aspect(film.picture), spec.face
        crops = cut_moving(
            _hand_on_sound(film, None), again, track.boxes, size=face.size, grey=face.grey, aspect=aspect
        )
    # There is a box for each frame of the first pass, so the second must give as many.
    if again.frames != pace.frames:
        message = f"decoded to {pace.frames} frames when its face was looked for, and to {again.frames} afterwards"
        raise DataError([Problem(str(path), message, "prepare it again once nothing writes to it")])
    return replace(_make_picture(pace, crops, departures), boxes=track.boxes)


def _make_picture(
    pace: Pace,
    crops: Tensor | None,
    departures: tuple[tuple[str, str], ...] = (),
    *,
    refusal: tuple[Refusal, str] | None = None,
    found_none: bool = False,
) -> Picture:
    if crops is None and refusal is None and not found_none:
        refusal = ("unusable", "holds no frame that can be decoded")
    start = None if pace.start is None else float(pace.start)
    return Picture(crops, pace.frames, start, (*pace.departures, *departures), refusal)


def _hand_on_sound(film: Film, track: SoundTrack | None) -> Iterator[Any]:
    """Yields the frames of the picture; those of the sound are handed on meanwhile."""
    for frame in film.decode(picture=True, sound=track is not None):
        if hasattr(frame, "sample_rate"):
            _hear(track, frame)
        else:
            yield frame


def _hear(track: SoundTrack | None, frame: Any) -> None:
    if track is not None:
        track.add(frame)


def _find_box(detector: FaceDetector, aspect: Fraction, frame: Any) -> Box:
    height, width = find_upright_size(frame, aspect)
    return detector.detect(torch.zeros(1, 1, 1, dtype=torch.uint8).expand(height, width, 3))[0]  # takes no memory
