"""The folder that is stressed: one run, or the runs of an experiment."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusionkit.errors import RunError
from fusionkit.inference.branches import CONSTANT, trained_branches
from fusionkit.interfaces import Metric
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.run_folder import RunFolder

Key = tuple[str, str, int]
"""Variant, fold and seed of a run."""


@dataclass(frozen=True)
class Column:
    """A column whose curves are drawn.

    Args:
        name: What it is called.
        runs: The variant whose runs are read.
        branch: The branch that is read.
    """

    name: str
    runs: str
    branch: str


@dataclass(frozen=True)
class Source:
    """The folder that is stressed.

    Args:
        kind: ``"run"`` or ``"experiment"``.
        file: Where the result goes.
        columns: What curves are drawn of.
        runs: Finished runs by variant, fold and seed.
        scores: By target, the metric; None leaves it to the loss heads.
    """

    kind: str
    file: Path
    columns: tuple[Column, ...]
    runs: Mapping[Key, RunFolder]
    scores: Mapping[str, Metric] | None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Every modality that some run has."""
        return tuple(dict.fromkeys(name for run in self.runs.values() for name in run.recipe.model.modalities))


def open_source(path: Path) -> Source:
    """Opens the run or the experiment of a folder.

    Raises:
        RunError: It is neither, or a run of it has not finished or is not there any more; all of them are listed.
    """
    run = RunFolder(path)
    if run.begun:
        source = _of_run(run)
    elif not os.path.exists(path / "results.json"):
        found = "holds neither a run nor a results.json" if os.path.isdir(path) else "is no folder"
        wanted = "a finished run of `fusionkit train`, or what `fusionkit experiment` or `fusionkit compare` wrote"
        raise RunError(f"{path}: {found}; name {wanted}")
    else:
        source = _of_experiment(ExperimentFolder.open(path))
    waiting = [str(run.path) for run in source.runs.values() if not run.finished]
    if waiting:
        listed = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
        raise RunError(f"{listed}: the training has not finished, there are no weights; the same command resumes it")
    return source


def _of_run(run: RunFolder) -> Source:
    recipe = run.recipe
    columns = tuple(Column(name, "run", name) for name in trained_branches(recipe).names if name != CONSTANT)
    runs = {("run", str(recipe.data.fold), recipe.train.seed): run}
    return Source("run", run.stress_file, columns, runs, None)


def _of_experiment(experiment: ExperimentFolder) -> Source:
    results = experiment.results
    columns = tuple(Column(each.name, each.runs, each.branch) for each in results.columns if each.branch != CONSTANT)
    runs = {
        (column.runs, row.fold, row.seed): experiment.run(row.run)
        for column in columns
        for row in experiment.rows(column.name)
    }
    if not runs:
        raise RunError(f"{experiment.path}: no run of the experiment has finished, so there is nothing to stress")
    for (variant, *_), run in runs.items():
        read = {each.branch for each in columns if each.runs == variant}
        _require_named(experiment, run, "target", {results.target}, run.recipe.model.targets)
        _require_named(experiment, run, "branch", read, trained_branches(run.recipe).names)
    scores = {results.target: results.main_metric}
    return Source("experiment", RunFolder(experiment.path).stress_file, columns, runs, scores)


def _require_named(
    experiment: ExperimentFolder, run: RunFolder, what: str, named: set[str], has: Collection[str]
) -> None:
    """Refuses an experiment whose results name what one of its runs lacks.

    Raises:
        RunError: They do.
    """
    if lacking := sorted(named - set(has)):
        told = f"it names the {what} {lacking[0]!r}, and the run {run.path} has {', '.join(has)}"
        raise RunError(f"{experiment.path / 'results.json'}: does not fit its runs; {told}")
