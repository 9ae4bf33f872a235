"""RAVDESS as sound and facial action units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.ravdess_names import EMOTIONS, INTENSITIES, SEXES, STATEMENTS, RavdessName, parse_name
from fusionkit.data.readers.files import expand_path
from fusionkit.data.readers.sound.audio import load_audio, read_header
from fusionkit.data.readers.tables import read_float, read_table
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Dataset, ModalityInfo, Row


@DATASETS.register("ravdess_action_units")
class RavdessActionUnits(Dataset):
    """RAVDESS as sound and facial action units: a wave and one vector of 35 numbers per clip.

    Modalities: ``audio``, a wave, and ``action_units``, 17 intensities and 18 presences averaged over the clip.
    Targets: ``emotion`` (eight), ``intensity`` (normal, strong), ``statement`` (kids, dogs) and ``sex`` (male, female).
    The group is the actor, as ``07``. A clip that has only one of the modalities is a sample that lacks the other.

    Args:
        root: The folder that holds ``audio/03-01-EE-II-SS-RR-AA.flac`` (or ``.wav``) and ``action_units.csv``, whose
            first column ``clip`` names each row ``01-01-EE-II-SS-RR-AA``.
        sample_rate: Samples per second that all sound is resampled to.

    Source:
        Livingstone and Russo 2018, https://doi.org/10.1371/journal.pone.0196391; action units by Luna-Jimenez et al.
        2021, https://doi.org/10.3390/app12010327.
    """

    group_name = "speaker"

    def __init__(self, *, root: str, sample_rate: Annotated[int, Field(gt=0)] = 16000) -> None:
        folder = expand_path(root)
        self.sample_rate = sample_rate
        problems: list[Problem] = []
        names: dict[str, tuple[RavdessName, str]] = {}
        self._waves = _find_waves(folder / "audio", names, problems)
        self._units = _read_units(folder / "action_units.csv", names, problems)
        if problems:
            raise DataError(problems, source=str(folder))
        width = len(next(iter(self._units.values())))
        self.modalities = {
            "audio": ModalityInfo((), float(sample_rate)),
            "action_units": ModalityInfo((width,)),
        }
        self.classes = {"emotion": EMOTIONS, "intensity": INTENSITIES, "statement": STATEMENTS, "sex": SEXES}
        self.rows = [
            Row(id=clip, group=name.group, part=None, targets=name.targets, place=place)
            for clip, (name, place) in sorted(names.items())
        ]

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Loads the wave ``(length,)`` and the action units ``(1, 35)`` of a clip."""
        row = self.rows[index]
        loaded = {}
        if row.id in self._waves:
            loaded["audio"] = load_audio(self._waves[row.id], f"{row.place}: audio", rate=self.sample_rate)
        if row.id in self._units:
            loaded["action_units"] = self._units[row.id][None]
        return loaded

    def length(self, index: int, modality: str) -> int:
        """Elements of a modality, read from the header of a sound file."""
        clip = self.rows[index].id
        if modality == "action_units":
            return int(clip in self._units)
        return read_header(self._waves[clip]).count_samples(self.sample_rate) if clip in self._waves else 0


def _find_waves(folder: Path, names: dict[str, tuple[RavdessName, str]], problems: list[Problem]) -> Mapping[str, Path]:
    waves: dict[str, Path] = {}
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".flac", ".wav"))
    if not files:
        problems.append(Problem(str(folder), "holds no .flac or .wav file", "point root at the folder above audio/"))
    for path in files:
        name = parse_name(path.stem, f"audio/{path.name}", problems)
        if name is None:
            continue
        if name.clip in waves:
            problems.append(Problem(f"audio/{path.name}", f"is the same clip as audio/{waves[name.clip].name}"))
        waves[name.clip] = path
        names[name.clip] = (name, f"audio/{path.name}")
    return waves


def _read_units(path: Path, names: dict[str, tuple[RavdessName, str]], problems: list[Problem]) -> Mapping[str, Tensor]:
    try:
        table = read_table(str(path))
    except DataError as error:
        problems += error.problems
        return {}
    columns = [column for column in table.columns if column != "clip"]
    units: dict[str, Tensor] = {}
    for row in table.rows:
        name = parse_name(str(row.cells.get("clip", "")), row.place, problems)
        numbers = [read_float(row.cells.get(column, "")) for column in columns]
        bad = [column for column, value in zip(columns, numbers, strict=True) if value is None]
        if bad:
            shown = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
            problems.append(Problem(f"{row.place}: action_units", f"no finite number in {len(bad)} columns: {shown}"))
        if name is None:
            continue
        if name.clip in units:
            problems.append(Problem(row.place, f"clip {row.cells['clip']!r} stands twice"))
        units[name.clip] = torch.tensor([0.0 if value is None else value for value in numbers])
        names[name.clip] = (name, row.place)
    return units
