"""From what a client sent to samples as the network is given them."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fusionkit.data.loading.batching import Draw
from fusionkit.data.loading.collation import Sample
from fusionkit.data.loading.samples import Samples
from fusionkit.data.readers.arrays import ARRAY_SUFFIXES
from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.media import SOUND_SUFFIXES
from fusionkit.data.readers.sound.audio import read_stated_header
from fusionkit.data.recordings import Recording, Recordings
from fusionkit.errors import DataError
from fusionkit.inference.predictor import Predictor
from fusionkit.serving.http.refusals import Refusal


class Intake:
    """Prepares samples as `Predictor.predict` does, one by one.

    Args:
        predictor: What will answer.
        most_seconds: Seconds that a signal may last.
    """

    def __init__(self, predictor: Predictor, most_seconds: float) -> None:
        self._inputs, self._steps, self._most_seconds = predictor.inputs, predictor.steps, most_seconds
        # A detector may be made for one thread at a time, and libav's readers are best one after another too.
        self._one_film = threading.Lock()

    def prepare(self, recording: Recording, *, without: Collection[str] = ()) -> Sample:
        """Prepares a sample; one that cannot be used says why.

        Args:
            recording: What was given.
            without: Modalities that are left out.

        Raises:
            Refusal: It lasts too long.
        """
        self.check_length(recording)
        recordings = Recordings([recording], self._inputs, self._steps.prepare)
        try:
            samples = Samples(
                recordings,
                [recording.id],
                modalities=self._steps.modalities,
                transforms=self._steps.transforms,
                seed=self._steps.seed,
                whole_numbers=self._steps.whole_numbers,
            )
            if recording.clip is None:
                sample = samples[Draw(0, 0)]
            else:
                with self._one_film:
                    sample = samples[Draw(0, 0)]
        except DataError as error:
            text = "; ".join(" ".join(str(problem).split()) for problem in error.problems) or str(error)
            return Sample(recording.id, {}, {}, remarks=recordings.take_remarks(0), failure=text)
        kept = {name: values for name, values in sample.inputs.items() if name not in without}
        return replace(sample, inputs=kept, remarks=recordings.take_remarks(0))

    def check_length(self, recording: Recording) -> None:
        """Refuses a signal that lasts too long, by its header and before anything of it is decoded.

        Raises:
            Refusal: It lasts longer than the limit.
        """
        try:
            seconds = self._measure(recording)
        except DataError:
            return  # what is wrong with it is said when it is read
        if seconds > self._most_seconds:
            message = f"lasts {seconds:,.0f} s, longer than the limit of {self._most_seconds:g} s"
            raise Refusal(413, f"{recording.place}: {message}; send a part of it")

    def _measure(self, recording: Recording) -> float:
        files = [] if recording.clip is None else [recording.clip.film, recording.clip.sound]
        seconds = [read_stated_seconds(file) for file in files if file is not None]
        for name, given in recording.given.items():
            rate = self._inputs.modalities[name].rate
            if isinstance(given, Tensor):
                seconds.append(len(given) / rate if rate else 0.0)
            elif given.suffix.lower() in ARRAY_SUFFIXES:
                length = Recordings([recording], self._inputs).length(0, name)
                seconds.append(length / rate if rate else 0.0)
            else:
                seconds.append(read_stated_seconds(given))
        return max(seconds, default=0.0)


def read_stated_seconds(file: Path) -> float:
    """Reads how long a film or sound lasts by its header; 0 of an image, and where the header does not say.

    Raises:
        DataError: It is damaged, or states more than the limits of the readers allow.
    """
    if file.suffix.lower() not in SOUND_SUFFIXES:
        return 0.0
    header = read_stated_header(file)
    if header is not None:
        return header.frames / header.rate
    with Film(file) as film:
        return film.stated_seconds
