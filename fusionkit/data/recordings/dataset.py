"""New samples as a dataset: each read, prepared and checked when it is loaded, and each for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.clips import prepare_clip
from fusionkit.data.films.sounds import convert_to_float
from fusionkit.data.readers.archives import unpack_to_disk
from fusionkit.data.readers.arrays import ARRAY_SUFFIXES, read_array
from fusionkit.data.readers.decoder import Film
from fusionkit.data.readers.files import refuse_no_file
from fusionkit.data.readers.media import SOUND_SUFFIXES, ReadOptions, describe_media, read_media
from fusionkit.data.readers.sound.audio import read_stated_header
from fusionkit.data.recordings.recording import Given, Recording
from fusionkit.data.recordings.values import convert_to_elements
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Clip, Dataset, FaceDetector, ModalityInfo, Row
from fusionkit.storage.records.inputs import InputModality, Inputs


class Recordings(Dataset):
    """Samples without targets, in the modalities that a network was trained on.

    Sound is resampled to the rate of the training. Arrays have the network's elements, or are one of them. Films are
    prepared as the recipe says, on the fly.

    Args:
        recordings: The samples; those whose name is taken are named with a number behind it, and a remark says so.
        inputs: What the network is given.
        prepare: How films are prepared; needed where the inputs are films.

    Attributes:
        renamed: How many samples have a number behind their name.
        boxes: Where the face is in every frame of the film that was prepared last, see `Outcome`.
    """

    def __init__(self, recordings: Sequence[Recording], inputs: Inputs, prepare: PrepareSpec | None = None) -> None:
        self._recordings, self._inputs, self._prepare = _make_ids_unique(recordings), inputs, prepare
        self.renamed = sum(new is not given for new, given in zip(self._recordings, recordings, strict=True))
        self.modalities = {name: ModalityInfo(tuple(of.shape), of.rate) for name, of in inputs.modalities.items()}
        self.classes = {}
        self.rows = [Row(each.id, None, None, {}, each.place) for each in self._recordings]
        self._remarks: dict[int, tuple[str, ...]] = {}
        self.boxes: Tensor | None = None

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Reads what is given of a sample.

        Raises:
            DataError: A file cannot be read or used, or nothing is given at all.
        """
        recording = self._recordings[index]
        self._remarks[index] = recording.remarks
        if recording.wrong:
            raise DataError([Problem(recording.place, recording.wrong)])
        remarks = list(recording.remarks)
        loaded = {name: self._read(given, name, recording.place, remarks) for name, given in recording.given.items()}
        if recording.clip is not None:
            loaded |= self._prepare_clip(recording, remarks)
        if not any(len(values) for values in loaded.values()):
            known = ", ".join(self._inputs.modalities)
            raise DataError([Problem(recording.place, "holds no modality of the network", f"these are {known}")])
        self._remarks[index] = tuple(remarks)
        return loaded

    def take_remarks(self, index: int) -> tuple[str, ...]:
        """Returns what a user should know of a sample that was loaded last, and forgets it."""
        return self._remarks.pop(index, ())

    def length(self, index: int, modality: str) -> int:
        """Counts the elements of a modality by the header of its file; 0 where they cannot be counted.

        What is prepared from a film counts by the seconds that the film states. A sample that fails here fails when it
        is loaded.
        """
        recording = self._recordings[index]
        given = recording.given.get(modality)
        if isinstance(given, Tensor):
            return len(given)
        try:
            if given is not None:
                return describe_media(given, self._options(modality)).length
            return 0 if recording.clip is None else self._count_prepared(recording.clip, modality)
        except DataError:
            return 0

    def _read(self, given: Given, modality: str, place: str, remarks: list[str]) -> Tensor:
        stated = self._inputs.modalities[modality]
        if isinstance(given, Tensor):
            return convert_to_float(given) if self._is_prepared_sound(given, modality) else given
        try:
            refuse_no_file(given)
            if stated.of_numbers and given.suffix.lower() in ARRAY_SUFFIXES:
                return convert_to_elements(read_array(given, stated.tensor), str(given), stated)
            values = read_media(given, self._options(modality))
            if remark := _describe_resampling(given, stated):
                remarks.append(f"{modality}: {remark}")
        except DataError as error:
            raise DataError([replace(of, place=f"{modality}: {of.place}") for of in error.problems]) from error
        shape = tuple(values.shape[1:])
        if shape != tuple(stated.shape):
            message = f"elements of shape {shape}, the network takes {tuple(stated.shape)}"
            raise DataError([Problem(f"{place}: {modality}: {given}", message)])
        return values

    def _is_prepared_sound(self, values: Tensor, modality: str) -> bool:
        """Tells whether a wave is of 16-bit samples where the network was trained on their share of full scale."""
        wave = not self._inputs.modalities[modality].shape
        return self._inputs.films and wave and not values.is_floating_point()

    def _options(self, modality: str) -> ReadOptions:
        stated = self._inputs.modalities[modality]
        rate = None if stated.rate is None or stated.shape else round(stated.rate)
        return ReadOptions(rate, stated.rate, element=tuple(stated.shape), tensor=stated.tensor)

    def _prepare_clip(self, recording: Recording, remarks: list[str]) -> Mapping[str, Tensor]:
        assert recording.clip is not None
        assert self._prepare is not None
        outcome = prepare_clip(recording.clip, self._prepare, self._detector)
        remarks += [departure.text for departure in outcome.departures]
        if outcome.status != "prepared":
            raise DataError([Problem(recording.place, outcome.reason)])
        tensors, self.boxes = dict(outcome.tensors), outcome.boxes
        if "audio" in tensors:
            tensors["audio"] = convert_to_float(tensors["audio"])
        return tensors

    def _count_prepared(self, clip: Clip, modality: str) -> int:
        """Counts what will be prepared without decoding: batches by budget count all films before the first answer."""
        rate = self._inputs.modalities[modality].rate
        file = clip.film if modality == "video" else clip.sound or clip.film
        if rate is None or file is None:
            return 0
        with unpack_to_disk(file) as unpacked, Film(unpacked) as film:
            seconds = film.stated_seconds if modality == "video" else film.stated_seconds_of_sound
        return round(seconds * rate)

    @cached_property
    def _detector(self) -> FaceDetector:
        assert self._prepare is not None
        detector: FaceDetector = build_component(self._prepare.face.detector)
        return detector


def _make_ids_unique(recordings: Sequence[Recording]) -> list[Recording]:
    """Makes the names of samples unique: those that are taken get a number behind them, and a remark.

    Example:
        >>> [each.id for each in _make_ids_unique([Recording(name, "") for name in ("a", "a (2)", "a")])]
        ['a', 'a (2)', 'a (3)']
    """
    given, first = {each.id for each in recordings}, dict[str, str]()
    numbers: dict[str, int] = {}
    unique = []
    for each in recordings:
        if each.id not in first:
            first[each.id] = each.place
            unique.append(each)
            continue
        number = numbers.get(each.id, 1) + 1
        while f"{each.id} ({number})" in given:  # a name that a sample has of its own
            number += 1
        numbers[each.id] = number
        remark = f"the id {each.id!r} is that of {first[each.id]} too"
        unique.append(replace(each, id=f"{each.id} ({number})", remarks=(*each.remarks, remark)))
    return unique


def _describe_resampling(file: Path, stated: InputModality) -> str:
    """Says that a sound has another rate than those of the training; empty where it has the same."""
    if stated.rate is None or file.suffix.lower() not in SOUND_SUFFIXES:
        return ""
    header = read_stated_header(file)
    if header is None or header.rate == stated.rate:
        return ""
    return f"resampled from {header.rate:g} to {stated.rate:g} samples a second"
