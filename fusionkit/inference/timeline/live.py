"""A trained network at work on what a camera, a microphone and sensors give."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import PrepareSpec
from fusionkit.data.live.pictures import PictureStream
from fusionkit.data.live.sounds import SoundStream
from fusionkit.data.loading.collation import fit_numbers
from fusionkit.data.recordings.values import convert_to_elements
from fusionkit.errors import DataError, Problem, ShapeError, suggest_names
from fusionkit.inference.answers import Answer
from fusionkit.inference.timeline.window_answers import answer_window, check_hidden, make_windows
from fusionkit.inference.timeline.windows import check_seconds
from fusionkit.interfaces import Box, FaceDetector

if TYPE_CHECKING:
    from fusionkit.inference.predictor import Predictor

_IMAGES = 4  # axes of frames
_COLOURS = 3


class LiveStream:
    """Answers to the last seconds of signals as they come; see `Predictor.stream`.

    Raw frames and blocks of sound are prepared as the recipe's films are, with one difference: boxes of faces are
    smoothed over the frames so far, not over the whole film, see `FaceFollower`. Elements that are prepared already,
    and rows of sensors, are taken as they are. Of every modality elements have times, from clocks that agree; one that
    stopped falls out of the window and is missing. A sound is ahead of its resampled samples by less than a
    millisecond.

    Not for several threads at once: put a lock around its calls.

    Args:
        predictor: What answers.
        window: Seconds that an answer is of; None for all since the last `reset`, which keeps growing.
        rates: By modality, frames or samples per second of its source where these are others than the training's: of
            ``video`` and of sound.
        pixel_aspect: The width of the camera's pixels by their height; that of most is 1.

    Raises:
        ShapeError: The window or a rate is no number above 0, or a rate is of a modality that is not resampled.

    Example:
        >>> stream = predictor.stream(window=3.0, rates={"video": 30, "audio": 48_000})  # doctest: +SKIP
        >>> stream.push("video", frames, at=0.4)  # (new, height, width, 3) uint8  # doctest: +SKIP
        >>> stream.push("audio", block, at=0.4)  # (new,) or (new, channels)  # doctest: +SKIP
        >>> stream.predict().targets["emotion"].prediction  # doctest: +SKIP
        'happy'
    """

    def __init__(
        self,
        predictor: Predictor,
        window: float | None = 3.0,
        *,
        rates: Mapping[str, float] | None = None,
        pixel_aspect: float | Fraction = 1,
    ) -> None:
        check_seconds("pixel_aspect", float(pixel_aspect), "the width of a pixel by its height")
        self._aspect = Fraction(pixel_aspect).limit_denominator(1000)
        if window is not None:
            check_seconds("window", window)
        self._predictor, self._windows, self._rates = predictor, make_windows(predictor, window), dict(rates or {})
        self._check_rates()
        self._detector: FaceDetector | None = None
        self._pictures: PictureStream | None = None
        self._sounds: dict[str, SoundStream] = {}

    @property
    def counts(self) -> dict[str, int]:
        """The number of elements that the next answer is of, by modality, before transforms."""
        return self._windows.count()

    @property
    def cut(self) -> dict[str, int]:
        """Elements that were cut off since others of their time had been pushed, by modality."""
        cut = self._windows.cut
        return {name: count + (self._sounds[name].cut if name in self._sounds else 0) for name, count in cut.items()}

    @property
    def newest(self) -> float | None:
        """The end of the newest element, in seconds; None before the first."""
        return self._windows.newest

    @property
    def box(self) -> Box | None:
        """The square that was cut out of the last raw frame; None where no face was found."""
        return None if self._pictures is None else self._pictures.box

    def push(self, modality: str, elements: Any, *, at: float | None = None) -> None:
        """Takes the next elements of a modality.

        Args:
            modality: The modality.
            elements: Raw frames ``(new, height, width, 3)`` uint8 of red, green and blue, or decoded frames of PyAV; a
                block of sound, ``(new,)`` or ``(new, channels)``, in -1..1 or int16; or elements as the network was
                trained on, a single one among them. Arrays, tensors or lists; copied, so that a buffer may be reused.
            at: Seconds of the first of them; the end of those before when left out. Stamps may be wrong by a twentieth
                of a second.

        Raises:
            ShapeError: An unknown modality.
            DataError: Elements of another shape, numbers that are NaN or infinite, or of times before those pushed.
        """
        if modality not in self._predictor.modalities:
            raise ShapeError(
                f"push: unknown modality {modality!r}; {suggest_names(modality, self._predictor.modalities)}"
            )
        if at is not None:
            check_finite_time(modality, at)
        if self._takes_frames(modality, elements):
            frames: Any = elements.cpu().numpy() if isinstance(elements, Tensor) else elements
            for begin, crops in self._find_pictures().push(frames, at):
                self._keep(modality, crops, begin)
        elif self._takes_blocks(modality):
            for begin, wave in self._find_sound(modality).push(_make_tensor(elements), at):
                self._keep(modality, wave, begin)
        else:
            stated = self._predictor.inputs.modalities[modality]
            self._keep(modality, convert_to_elements(elements, modality, stated), at)

    def predict(self, *, at: float | None = None, branches: bool = False, without: Collection[str] = ()) -> Answer:
        """Answers to what is in the window now; the answer says why where nothing can be used.

        Args:
            at: The end of the window, in seconds; the end of the newest element when left out. What left the window of
                that one is forgotten, so an earlier end sees less.
            branches: Answer by every trained branch as well.
            without: Modalities that are hidden from the network, as if they were missing.

        Raises:
            DataError: There is no modality of a name that is to be hidden, or the end is no number of seconds.
        """
        is_number = isinstance(at, (int, float)) and not isinstance(at, bool) and math.isfinite(at)
        if at is not None and not is_number:
            raise DataError([Problem("predict", f"at is {at!r}", "give the seconds at which the window ends")])
        check_hidden(self._predictor, without)
        return answer_window(self._predictor, self._windows, "live", at, branches=branches, without=without)

    def reset(self, *modalities: str) -> None:
        """Forgets all, or some modalities: at a cut, or when another person sits down.

        Raises:
            ShapeError: An unknown modality.
        """
        self._windows.reset(*modalities)
        for name in modalities or self._predictor.modalities:
            self._sounds.pop(name, None)
            if name == "video":
                self._pictures = None

    def _keep(self, modality: str, elements: Tensor, at: float | None) -> None:
        self._windows.push(modality, fit_numbers(elements, self._predictor.steps.whole_numbers[modality]), at)

    def _takes_frames(self, modality: str, elements: Any) -> bool:
        """Tells whether elements are raw frames; crops as the training had them are not."""
        if not self._predictor.inputs.films or modality != "video":
            return False
        if isinstance(elements, Sequence):
            return bool(elements) and hasattr(elements[0], "planes")
        shape = tuple(getattr(elements, "shape", ()))
        own = tuple(self._predictor.inputs.modalities[modality].shape)
        return len(shape) == _IMAGES and shape[-1] == _COLOURS and shape[1:] != own

    def _takes_blocks(self, modality: str) -> bool:
        stated = self._predictor.inputs.modalities[modality]
        is_wave = not stated.shape and stated.rate is not None
        return is_wave and (self._predictor.inputs.films or modality in self._rates)

    def _find_pictures(self) -> PictureStream:
        if self._pictures is None:
            spec = self._predictor.steps.prepare or PrepareSpec()
            if self._detector is None:
                self._detector = build_component(spec.face.detector)
            self._pictures = PictureStream(spec, self._detector, self._rates.get("video"), aspect=self._aspect)
        return self._pictures

    def _find_sound(self, modality: str) -> SoundStream:
        if modality not in self._sounds:
            rate = self._predictor.inputs.modalities[modality].rate
            assert rate is not None
            own = self._rates.get(modality)
            self._sounds[modality] = SoundStream(rate, own, whole=self._predictor.inputs.films)
        return self._sounds[modality]

    def _check_rates(self) -> None:
        stated = self._predictor.inputs.modalities
        for name, rate in self._rates.items():
            if name not in stated:
                raise ShapeError(f"rates: unknown modality {name!r}; {suggest_names(name, stated)}")
            check_seconds(f"rates: {name!r}", rate, "frames or samples per second")
            own = stated[name].rate
            resampled = (self._predictor.inputs.films and name == "video") or (not stated[name].shape and own)
            if not resampled and rate != own:
                trained = "no rate" if own is None else f"{own:g} elements a second"
                raise ShapeError(
                    f"rates: {name!r} comes at {rate:g} elements a second, the network was trained on {trained}; "
                    "resample it before it is pushed"
                )


def check_finite_time(modality: str, at: float) -> None:
    """Refuses a time stamp that is no number.

    Raises:
        DataError: It is none.
    """
    if not isinstance(at, (int, float)) or isinstance(at, bool) or not np.isfinite(at):
        raise DataError(f"{modality}: at is {at!r}; give the seconds of the first element")


def _make_tensor(block: Any) -> Tensor:
    try:
        return block.detach().cpu() if isinstance(block, Tensor) else torch.from_numpy(np.ascontiguousarray(block))
    except (TypeError, ValueError) as error:
        raise DataError(f"audio: a block of {type(block).__name__} is no array of numbers ({error})") from None
