"""A dataset of films as they were prepared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.cache import Cache, is_made_from, read_clip
from fusionkit.data.films.records import ClipRecord
from fusionkit.data.films.sounds import convert_to_float
from fusionkit.errors import DataError, Problem, RecipeError
from fusionkit.interfaces import Dataset, ModalityInfo

_NAMED = 5
"""Largest number of clips that a sentence names."""


class PreparedDataset(Dataset):
    """The clips of a dataset, loaded from its prepared cache: ``video``, face crops, and ``audio``, a wave.

    Crops of a large clip are mapped from its file, so a slice of them reads no more than itself; the first time that a
    process loads a clip it reads all of it and holds it against its hash. Rows of clips that were dropped are left
    out, and `notes` says which.

    Args:
        dataset: The dataset that states the clips.
        spec: How they are prepared.
        kind: The dataset's name in recipes.
        check: Hold every clip and its films against their hashes at once, and take those that are damaged, or were
            made of other films, for not prepared.
    """

    def __init__(self, dataset: Dataset, spec: PrepareSpec, *, kind: str, check: bool = False) -> None:
        self.cache = Cache(kind, spec)
        self.classes, self.clips, self.origins = dataset.classes, dataset.clips, dataset.origins
        self.files: Mapping[str, Path] = {
            name: self.cache.find_file(name, clip) for name, clip in dataset.clips.items()
        }
        known = self.cache.read_known(self.files, check=check)
        if check:  # another film of the same size and time of change has the same file in the cache
            known = {name: record for name, record in known.items() if is_made_from(record, dataset.clips[name])}
        self.records: Mapping[str, ClipRecord] = _keep_current(known, spec)
        self._read = set[str]()
        self.sources = {
            name: [file for file in (clip.film, clip.sound) if file is not None] for name, clip in dataset.clips.items()
        }
        dropped = [record for record in self.records.values() if record.status == "dropped"]
        gone = {record.id for record in dropped}
        self.rows = [row for row in dataset.rows if row.id not in gone]
        self.contents = {row.id: self.records[row.id].sha256 for row in self.rows if row.id in self.records}
        self.notes, self.cautions = (*dataset.notes, *_note_dropped(dropped)), dataset.cautions
        self.columns = dataset.columns
        self.group_name = dataset.group_name
        channels = 1 if spec.face.grey else 3
        self.modalities = {
            "video": ModalityInfo((channels, spec.face.size, spec.face.size), spec.frame_rate),
            "audio": ModalityInfo((), float(spec.sample_rate)),
        }

    def require_prepared(self) -> None:
        """Refuses what cannot be trained on yet.

        Raises:
            DataError: Clips are not prepared, have changed since, or failed.
        """
        waiting = [name for name in self.clips if name not in self.records]
        failed = [record for record in self.records.values() if record.status == "failed"]
        problems = []
        if waiting:
            message = f"{len(waiting)} of {len(self.clips)} clips are not prepared, or have changed since"
            problems.append(Problem("films", message, "run `fusionkit prepare RECIPE` first"))
        problems += [Problem(record.id, record.reason) for record in failed[:_NAMED]]
        if failed:
            remedy = "mend them, or let a policy of data.prepare drop them, and run `fusionkit prepare RECIPE --retry`"
            problems.append(Problem("films", f"{len(failed)} clips failed in preparation", remedy))
        if not problems and not self.rows:
            remedy = f"{self.cache.written_report_file} says why"
            problems.append(Problem("films", "no clip is left: every one was dropped in preparation", remedy))
        if problems:
            raise DataError(problems)

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads the prepared modalities of a clip: ``video`` uint8, mapped from large files, and ``audio`` in -1..1."""
        row = self.rows[index]
        if row.id not in self.records:
            raise DataError([Problem(row.place, "is not prepared", "run `fusionkit prepare RECIPE` first")])
        loaded = read_clip(self.files[row.id], whole=row.id not in self._read)
        self._read.add(row.id)
        if "audio" in loaded:
            loaded["audio"] = convert_to_float(loaded["audio"])
        return loaded

    def length(self, index: int, modality: str) -> int:
        """Elements of a modality, from what the cache says of the clip."""
        record = self.records.get(self.rows[index].id)
        return 0 if record is None else record.lengths.get(modality, 0)


def _keep_current(known: Mapping[str, ClipRecord], spec: PrepareSpec) -> Mapping[str, ClipRecord]:
    """Keeps the clips whose faces the detector of the recipe found, as it is installed here.

    Where it is not installed, as on a machine that only trains, the cache is believed.
    """
    try:
        version = build_component(spec.face.detector).version
    except RecipeError:
        return known
    return {name: record for name, record in known.items() if record.detector == version}


def _note_dropped(dropped: list[ClipRecord]) -> list[str]:
    if not dropped:
        return []
    named = "; ".join(f"{record.id} ({record.reason})" for record in dropped[:_NAMED])
    more = f"; and {len(dropped) - _NAMED} more" if len(dropped) > _NAMED else ""
    return [f"{len(dropped)} clips were dropped in preparation: {named}{more}"]
