"""A dataset of films before they are prepared: as long as headers say, and full of noise."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.prepared import PreparedDataset
from fusionkit.data.readers.archives import is_member, unpack_to_disk
from fusionkit.data.readers.decoder import Film
from fusionkit.errors import DataError
from fusionkit.interfaces import Clip, Dataset

Lengths = Mapping[str, int]

_OF_ARCHIVES = 24
"""Films that are unpacked to be measured; the others count as their median."""


class Forecast(Dataset):
    """The clips of a dataset as they will be once they are prepared, for what depends on their lengths alone.

    Lengths are those that the headers of films and sounds state, and of prepared clips the true ones. What is loaded is
    noise. A clip whose film cannot be opened, or states no length, lacks its modalities.

    Args:
        prepared: The dataset with what is prepared of it.
        spec: How its clips are prepared.
    """

    def __init__(self, prepared: PreparedDataset, spec: PrepareSpec) -> None:
        self.modalities, self.rows, self.classes = prepared.modalities, prepared.rows, prepared.classes
        self.clips, self.notes, self.contents = prepared.clips, prepared.notes, prepared.contents
        self.origins, self.cautions, self.sources = prepared.origins, prepared.cautions, prepared.sources
        self.columns = prepared.columns
        self.group_name = prepared.group_name
        known = {name: record.lengths for name, record in prepared.records.items()}
        waiting = {row.id: prepared.clips[row.id] for row in self.rows if row.id not in known}
        self._lengths: Mapping[str, Lengths] = {**known, **_read_lengths(waiting, spec)}

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Draws noise of the clip's lengths: bytes for ``video``, as of pixels, and a wave for ``audio``."""
        generator = torch.Generator().manual_seed(index)
        loaded = {}
        for name, info in self.modalities.items():
            if count := self.length(index, name):
                noise = torch.randint(0, 256, (count, *info.shape), generator=generator, dtype=torch.uint8)
                loaded[name] = noise if info.shape else noise / 128 - 1
        return loaded

    def length(self, index: int, modality: str) -> int:
        """Elements of a modality, as stated."""
        return self._lengths[self.rows[index].id].get(modality, 0)


def _read_lengths(clips: Mapping[str, Clip], spec: PrepareSpec) -> dict[str, Lengths]:
    packed = [name for name, clip in clips.items() if any(is_member(file) for file in _list_files(clip))]
    passed_over = set(packed) - set(packed[:: max(1, len(packed) // _OF_ARCHIVES)])
    found = {name: _read_lengths_of(clip, spec) for name, clip in clips.items() if name not in passed_over}
    return {**found, **dict.fromkeys(passed_over, _find_median(list(found.values())))}


def _read_lengths_of(clip: Clip, spec: PrepareSpec) -> Lengths:
    """Reads the lengths of one clip."""
    lengths = {}
    if clip.film is not None:
        picture, sound = _read_seconds(clip.film)
        lengths["video"] = round(picture * spec.frame_rate)
        lengths["audio"] = round(sound * spec.sample_rate)
    if clip.sound is not None:
        lengths["audio"] = round(_read_seconds(clip.sound)[1] * spec.sample_rate)
    return lengths


def _read_seconds(path: Path) -> tuple[float, float]:
    """Reads how long picture and sound are by their own word; 0 where there are none, or that cannot be known."""
    try:
        with unpack_to_disk(path) as file, Film(file) as film:
            return film.stated_seconds if film.picture else 0.0, film.stated_seconds_of_sound
    except DataError:
        return 0.0, 0.0  # the preparation says what is wrong with it


def _find_median(lengths: list[Lengths]) -> Lengths:
    names = sorted({name for each in lengths for name in each})
    return {name: int(statistics.median(each[name] for each in lengths if name in each)) for name in names}


def _list_files(clip: Clip) -> list[Path]:
    return [file for file in (clip.film, clip.sound) if file is not None]
