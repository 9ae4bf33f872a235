"""One clip: its film and sound to face crops and samples, with every departure and the recipe's policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.pace import LONGEST_GAP
from fusionkit.data.films.pictures import Picture, find_picture
from fusionkit.data.films.records import Departure, Status
from fusionkit.data.films.sounds import align, convert_to_int16
from fusionkit.data.readers.archives import unpack_to_disk
from fusionkit.data.readers.sound.audio import decode_audio
from fusionkit.data.readers.sound.tracks import SoundTrack
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip, FaceDetector
from fusionkit.nn.tensor_checks import check_finite

SILENCE = 1e-3
"""Share of full scale that silence stays below: -60 dB."""

SHORT_SECONDS = 1.0
"""Seconds below which a note mentions a clip: it fills no segment of a second."""

APART_SECONDS = 0.1
"""Seconds by which sound and picture may differ at either end without a word."""

_CLIPPED_SHARE = 1e-3
"""Share of samples beyond full scale below which clipping is not worth a word: decoders overshoot a little."""


class ClipRefusal(Exception):  # noqa: N818 - it is no error: a policy asks for it
    """A policy drops the clip, or fails it."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Outcome:
    """The result of preparing a clip.

    Args:
        status: Whether it was prepared.
        reason: Why not.
        tensors: ``video`` uint8 ``(frames, channels, size, size)`` and ``audio`` int16 ``(samples,)``, those it has.
        departures: Everything that departs from a plain film and sound.
        boxes: Left, top, right and bottom of the face in every frame of ``video``, ``(frames, 4)``, where it was
            looked for.
    """

    status: Status
    reason: str = ""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    departures: tuple[Departure, ...] = ()
    boxes: Tensor | None = None


def prepare_clip(clip: Clip, spec: PrepareSpec, detector: FaceDetector) -> Outcome:
    """Prepares one clip; what is wrong with its files is told in the outcome, as the policies say.

    Args:
        clip: Its film and sound.
        spec: How it is prepared.
        detector: What finds the faces.
    """
    work = _Work(spec, detector)
    try:
        work.read(clip)
    except ClipRefusal as refused:
        return Outcome(refused.status, refused.reason, {}, tuple(work.departures))
    return Outcome("prepared", "", work.tensors, tuple(work.departures), work.boxes)


class _Work:
    """A clip in work: what was made of it so far, and its departures."""

    def __init__(self, spec: PrepareSpec, detector: FaceDetector) -> None:
        self.spec, self.detector = spec, detector
        self.tensors: dict[str, Tensor] = {}
        self.departures: list[Departure] = []
        self.boxes: Tensor | None = None

    def read(self, clip: Clip) -> None:
        """Reads film and sound.

        Raises:
            ClipRefusal: A policy says so.
        """
        if clip.film is not None:
            self._read_film(clip.film, with_sound=clip.sound is None)
        if clip.sound is not None:
            self._read_sound(clip.sound)
        if not self.tensors:
            reasons = "; ".join(dict.fromkeys(departure.text for departure in self.departures))
            raise ClipRefusal("dropped", f"nothing is left of it: {reasons or 'it states no film and no sound'}")
        self._compare_lengths()

    def _read_film(self, path: Path, *, with_sound: bool) -> None:
        what = f"film {path.name}"
        track = SoundTrack() if with_sound else None
        both = "video and audio are" if with_sound else "the video is"
        try:
            with unpack_to_disk(path) as file:
                film = find_picture(file, self.spec, self.detector, track)
        except DataError as error:
            self._leaves_out("damaged", f"{what} {_describe(error)}", both)
            return
        if film.losses and self._leaves_out("incomplete", f"{what} {' and '.join(film.losses)}", both):
            return
        if film.lacks_duration:
            self._note("no duration", f"{what} does not state its duration: a loss at its end would go unseen")
        self._take_picture(film.picture, what)
        if track is not None:
            self._take_track(track, film.picture.start, what)

    def _take_picture(self, picture: Picture, what: str) -> None:
        for kind, text in picture.departures:
            self._note(kind, f"{what}: {text}")
        if picture.refusal is not None:
            status, text = picture.refusal
            if status == "unusable":
                self._leaves_out("damaged", f"{what} {text}", "the video is")
                return
            self._note("faces", f"{what}: {text}")
            raise ClipRefusal(status, f"{what}: {text}")
        if picture.crops is None:
            return
        self.tensors["video"], self.boxes = picture.crops, picture.boxes
        if picture.decoded == 1:
            self._note("one frame", f"{what} is one frame")
        self._note_if_short(len(picture.crops) / self.spec.frame_rate, what)

    def _take_track(self, track: SoundTrack, start: float | None, what: str) -> None:
        late = 0.0 if track.start is None or start is None else track.start - start
        if abs(late) > LONGEST_GAP:
            text = f"the sound of {what} is stated to begin {abs(late):.2f} s {'after' if late > 0 else 'before'} the"
            self._note("time stamps", f"{text} picture: that is not believed, both begin at once")
            late = 0.0
        whole = track.finish(self.spec.sample_rate)
        wave = align(whole, late, self.spec.sample_rate)
        if not len(wave):
            text = "has a sound that ends before its picture begins" if len(whole) else "has no sound"
            self._leaves_out("no_sound", f"{what} {text}", "the audio is")
            return
        for kind, text in track.departures:
            self._note(kind, f"{what} {text}")
        if abs(late) > APART_SECONDS:
            done = "after the picture: silence was put before it" if late > 0 else "before the picture: that was cut"
            self._note("sound begins apart", f"the sound of {what} begins {abs(late):.2f} s {done}")
        self._take_wave(wave, f"the sound of {what}")

    def _read_sound(self, path: Path) -> None:
        what = f"sound {path.name}"
        try:
            with unpack_to_disk(path) as file:
                sound = decode_audio(file, rate=self.spec.sample_rate)
        except DataError as error:
            self._leaves_out("damaged", f"{what} {_describe(error)}", "the audio is")
            return
        for kind, text in sound.departures:
            self._note(kind, f"{what} {text}")
        if sound.losses and self._leaves_out("incomplete", f"{what} {' and '.join(sound.losses)}", "the audio is"):
            return
        if not len(sound.wave):
            self._leaves_out("damaged", f"{what} is empty", "the audio is")
            return
        self._take_wave(sound.wave, what)

    def _take_wave(self, wave: Tensor, what: str) -> None:
        """Takes a wave as the clip's sound, if it is one."""
        try:
            check_finite(wave, what)
        except DataError as error:
            self._leaves_out("damaged", f"of {what} {_describe(error)}", "the audio is")
            return
        loudest = float(wave.abs().max())
        if loudest < SILENCE and self._leaves_out("silent", f"{what} is silence", "the audio is"):
            return
        samples, beyond = convert_to_int16(wave)
        if beyond > _CLIPPED_SHARE * len(samples):
            self._note("clipped", f"{what} is beyond full scale in {beyond} of {len(samples)} samples: clipped")
        self.tensors["audio"] = samples
        self._note_if_short(len(samples) / self.spec.sample_rate, what)

    def _compare_lengths(self) -> None:
        if not {"video", "audio"} <= set(self.tensors):
            return
        seen = len(self.tensors["video"]) / self.spec.frame_rate
        heard = len(self.tensors["audio"]) / self.spec.sample_rate
        if abs(seen - heard) > APART_SECONDS:
            text = f"the picture lasts {seen:.2f} s, the sound {heard:.2f} s: both are kept whole"
            self._note("lengths apart", text)

    def _note_if_short(self, seconds: float, what: str) -> None:
        if seconds < SHORT_SECONDS:
            self._note("short", f"{what} lasts {seconds:.2f} s")

    def _note(self, kind: str, text: str) -> None:
        self.departures.append(Departure(kind, text))

    def _leaves_out(self, key: str, text: str, modality: str) -> bool:
        """Does what the recipe says of such a case; whether the modality is left out, or kept as it is.

        Raises:
            ClipRefusal: The clip is dropped, or fails.
        """
        policy = getattr(self.spec, key)
        made_of_it = {
            "keep": "kept as it is",
            "missing": f"{modality} left out",
            "drop": "the clip is dropped",
            "fail": f"data.prepare.{key} is fail",
        }
        self._note(key.replace("_", " "), f"{text}: {made_of_it[policy]}")
        if policy in ("drop", "fail"):
            raise ClipRefusal("dropped" if policy == "drop" else "failed", text)
        return bool(policy == "missing")


def _describe(error: DataError) -> str:
    """Says what is wrong with a file, without its name."""
    return "; ".join(problem.message for problem in error.problems)
