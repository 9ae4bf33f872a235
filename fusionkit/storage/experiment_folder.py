"""The folder that an experiment leaves, as a report reads it: its results, and of its runs predictions and logs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import RunError
from fusionkit.storage.files import folder_name, read_json
from fusionkit.storage.records.card import CardTarget
from fusionkit.storage.records.document import load_document
from fusionkit.storage.records.results import Results, Row
from fusionkit.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Said:
    """A run's answers to its reported samples, of one target.

    Args:
        targets: Encoded targets; negative or NaN where one is not known.
        distributions: By branch; NaN where a branch says nothing of a sample.
        features: ``feature/<modality>``, ``feature/fused`` and ``adapted/<modality>``; NaN where a modality is missing.
        feature_rows: The rows of `targets` that the rows of `features` belong to.
    """

    targets: NDArray[Any]
    distributions: Mapping[str, NDArray[np.float64]]
    features: Mapping[str, NDArray[np.float64]]
    feature_rows: NDArray[np.int64]


_WRITERS = "`fusionkit experiment` or `fusionkit compare`"
"""Commands that leave such a folder."""


class ExperimentFolder:
    """The folder that an experiment or a comparison left; make one with `open`.

    Args:
        path: The folder.
        results: What its ``results.json`` holds.
        part: What the files of another than the first target have in their names; empty for the first.
    """

    def __init__(self, path: Path, results: Results, part: str = "") -> None:
        self.path, self.results, self.part = path, results, part

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Opens the experiment of a folder.

        Raises:
            RunError: It holds no results, or they are damaged or of another format.
        """
        folder = Path(path)
        file = folder / "results.json"
        if not os.path.isdir(folder):
            raise RunError(f"{folder}: is no folder; name the one that {_WRITERS} wrote with --out")
        if RunFolder(folder).begun and not os.path.isfile(file):
            raise RunError(f"{folder}: holds one run; a report is of an experiment or a comparison ({_WRITERS})")
        if not os.path.exists(file):
            raise RunError(f"{folder}: holds no results.json; {_WRITERS} writes it when the runs have ended")
        return cls(folder, load_document(Results, file))

    @classmethod
    def open_targets(cls, path: str | Path) -> list[Self]:
        """Opens the experiment of a folder once for every target that was compared; the first is that of `open`.

        Raises:
            RunError: It holds no results, or they are damaged or of another format.
        """
        first = cls.open(path)
        others = find_further_results(first.path, first.results)
        return [first, *(cls(first.path, load_document(Results, file), part) for part, file in others.items())]

    def rows(self, column: str) -> list[Row]:
        """Returns the rows of a column's runs, fold by fold and seed by seed."""
        return [row for row in self.results.rows if row.variant == column]

    def runs_of_variants(self) -> dict[str, list[str]]:
        """Returns the run folders by variant that trains, in the order of the columns."""
        runs: dict[str, dict[str, None]] = {}
        for column in self.results.columns:
            for row in self.rows(column.name):
                runs.setdefault(column.runs, {})[row.run] = None
        return {variant: list(of) for variant, of in runs.items()}

    def compared_target(self) -> CardTarget:
        """Returns what the first run's card says of the compared target.

        Raises:
            RunError: There is no run, or its card cannot be read.
        """
        if not self.results.rows:
            raise RunError("no run has finished")
        run = self.run(self.results.rows[0].run)
        try:
            return run.read_card().targets[self.results.target]
        except (RunError, KeyError) as error:
            remedy = f"the same command, {_WRITERS}, makes it anew"
            raise RunError(f"{run.card_file}: the card is damaged; {remedy}") from error

    def said(self, run: str) -> Said:
        """Returns a run's answers to its reported samples.

        Raises:
            RunError: The run is not there any more, or its predictions are damaged.
        """
        tensors, _ = self.run(run).read_predictions()
        target = self.results.target
        if f"target/{target}" not in tensors:
            raise RunError(f"{self.path / run}: its predictions hold no target {target!r}")
        start = f"distribution/{target}/"
        arrays = {
            name: tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
            for name, tensor in tensors.items()
        }
        return Said(
            targets=arrays[f"target/{target}"],
            distributions={
                name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)
            },
            features={name: values for name, values in arrays.items() if name.startswith(("feature/", "adapted/"))},
            feature_rows=arrays.get("feature_rows", np.arange(0)),
        )

    def log(self, run: str) -> list[dict[str, Any]]:
        """Returns the records of a run's log.

        Raises:
            RunError: The run is not there any more, or its log is damaged.
        """
        return self.run(run).log.read()

    def run(self, run: str) -> RunFolder:
        """Opens the folder of a run.

        Raises:
            RunError: It is not there any more, or is none of this folder's.
        """
        if Path(run).is_absolute() or ".." in Path(run).parts:
            raise RunError(f"{self.path / 'results.json'}: the run {run} is outside of the experiment's folder")
        if not os.path.isdir(self.path / run):  # False too where a name is too long
            raise RunError(f"the folder {run} is not beside results.json any more")
        return RunFolder.open(self.path / run)


def find_further_results(folder: Path, first: Results) -> dict[str, Path]:
    """Finds the results of all targets of an experiment but the first, by what their files have in their names.

    A file that is named after no target of the recipes, such as a copy that a user keeps as ``results.backup.json``, is
    none of them, nor is one of another target. A damaged one is: who reads it is told.
    """
    found = {}
    for target in first.targets:
        part = folder_name(target)
        file = folder / f"results.{part}.json"
        if target == first.target or not os.path.isfile(file):
            continue
        try:
            stated = read_json(file).get("target", target)
        except RunError:
            stated = target
        if stated == target:
            found[part] = file
    return found


def find_runs(paths: Sequence[Path]) -> tuple[RunFolder, ...]:
    """Finds run folders, and those below folders that are none, such as ``runs/<variant>`` of an experiment.

    Raises:
        RunError: There is no such folder, or no run in it.
    """
    found: dict[Path, RunFolder] = {}
    for path in paths:
        if not os.path.isdir(path):
            raise RunError(f"{path}: is no folder; name a run, which is what `fusionkit train --out` leaves")
        folders = [path] if RunFolder(path).begun else sorted(each for each in path.rglob("*") if each.is_dir())
        runs = [run for folder in folders if (run := RunFolder(folder)).begun]
        if not runs:
            raise RunError(f"{path}: is no run and holds none; name what `fusionkit train --out` left")
        found |= {run.path: run for run in runs}
    return tuple(found.values())
