"""A film with the answers to it drawn beside, frame by frame."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from fusionkit.data.films.frames import Reader, read_pixel_aspect
from fusionkit.data.readers.archives import unpack_to_disk
from fusionkit.data.readers.decoder import Film
from fusionkit.errors import RunError
from fusionkit.inference.answers import Answer
from fusionkit.inference.timeline.records import Timeline
from fusionkit.inference.timeline.subtitles import describe_answer
from fusionkit.rendering.overlay import Bar, OverlayWriter, Panel, Said

OVERLAY_SUFFIXES = (".mp4", ".mov", ".mkv")


def write_overlay(timeline: Timeline, path: str | Path, progress: Callable[[float], None] | None = None) -> None:
    """Writes the film of a timeline with boxes, bars and the winner's name, and with its sound.

    Every frame shows the last answer before it. Nothing is kept but the frame in work, and of a file that holds its
    sound before its picture that sound.

    Args:
        timeline: The answers to a film.
        path: The film that is written.
        progress: Told the seconds that are done.

    Raises:
        RunError: The recording has no film, or the film cannot be written.
        DataError: The film cannot be read any more.
    """
    path = Path(path)
    check_overlay_path(path)
    if timeline.film is None:
        raise RunError(f"{path}: {timeline.id} has no film to be drawn on")
    with unpack_to_disk(timeline.film) as file, Film(file) as film:
        if film.picture is None:
            raise RunError(f"{path}: {timeline.film} holds no picture to be drawn on")
        _write(timeline, film, path, progress)


def check_overlay_path(path: str | Path) -> None:
    """Refuses an overlay of an ending that is not written.

    Raises:
        RunError: It is not.
    """
    if Path(path).suffix.lower() not in OVERLAY_SUFFIXES:
        raise RunError(f"{path}: an overlay ends in {', '.join(OVERLAY_SUFFIXES)}")


def _write(timeline: Timeline, film: Film, path: Path, progress: Callable[[float], None] | None) -> None:
    rate = film.picture.average_rate or Fraction(25)
    read = Reader("image", aspect=read_pixel_aspect(film.picture))
    decoder = None if film.sound is None else film.sound.codec_context  # none where there is no decoder of the sound
    times = [instant.time for instant in timeline]
    writer: OverlayWriter | None = None
    panel: Panel | None = None
    start, frames, waiting = 0.0, 0, list[tuple[Any, float]]()
    with ExitStack() as stack:
        for frame in film.decode(picture=True, sound=decoder is not None):
            at = None if frame.pts is None else frame.pts * float(frame.time_base or 0)
            if hasattr(frame, "sample_rate"):
                waiting += [] if at is None else [(frame, at)]
            else:
                pixels = read(frame)[0]
                if writer is None or panel is None:
                    panel, start = Panel(*pixels.shape[:2]), at or 0.0
                    sound_rate = None if decoder is None else int(decoder.sample_rate)
                    writer = stack.enter_context(OverlayWriter(path, panel.size, rate, sound_rate))
                seconds = frames / float(rate) if at is None else at - start
                frames += 1
                place = bisect_right(times, seconds + 1e-6) - 1
                answer = timeline[place].answer if place >= 0 else None
                box = None if timeline.faces is None else timeline.faces.find_box(seconds)
                writer.add_frame(panel.draw(pixels, box, *_describe(timeline, answer)), seconds)
                if progress is not None:
                    progress(seconds)
            if writer is not None:  # before the first picture nobody knows how early a sound is
                for sound, then in waiting:
                    if then + sound.samples / sound.sample_rate > start:
                        writer.add_sound(sound, then - start)
                waiting.clear()
    if writer is None:
        raise RunError(f"{path}: {timeline.film} holds no frame that can be decoded")


def _describe(timeline: Timeline, answer: Answer | None) -> tuple[list[Said], str, str]:
    if answer is None:
        return [], "", "before the first answer"
    if answer.failure:
        return [], "", answer.failure
    said = []
    for target, classes in timeline.targets.items():
        of = answer.targets[target]
        bars = [Bar(name, float(of.probabilities[name])) for name in classes if name in of.probabilities]
        said.append(Said(target, describe_answer(of), bars))
    return said, f"of {' and '.join(answer.present)}", ""
