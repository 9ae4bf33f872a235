"""The features that a report draws, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusionkit.errors import RunError
from fusionkit.inference.branches import FUSED
from fusionkit.report.figures.features import Cloud, class_indices
from fusionkit.storage.experiment_folder import ExperimentFolder, Said
from fusionkit.storage.records.results import Results

Runs = Mapping[tuple[str, int], str]
"""The run folder by fold and seed."""


@dataclass(frozen=True)
class Clouds:
    """The features of one fold and seed.

    Args:
        fold: The fold.
        seed: The seed.
        clouds: Every modality that was trained alone, and the fused vector of every fused network.
        adapted: By modality of the last network with residual perceptrons: alone, joint, and adapted.
        modalities: How many modalities `adapted` is of.
        classes: Names of the classes; empty for numbers.
    """

    fold: str
    seed: int
    clouds: tuple[Cloud, ...]
    adapted: tuple[Cloud, ...]
    modalities: int
    classes: tuple[str, ...]


def gather_clouds(experiment: ExperimentFolder) -> Clouds:
    """Gathers the features of the first fold and seed for which every run holds them.

    Raises:
        RunError: There is none; says why.
    """
    classes = experiment.compared_target().classes or ()
    wanted = _sources(experiment.results)
    reasons: list[str] = []
    for fold in experiment.results.folds:
        for seed in experiment.results.seeds:
            runs = [(title, branch, of.get((fold.name, seed))) for title, branch, of in wanted]
            try:
                found = [(title, branch, _with_features(experiment, run, branch)) for title, branch, run in runs]
            except RunError as error:
                reasons.append(str(error))
                continue
            if found:
                return _clouds(fold.name, seed, found, classes)
    raise RunError(reasons[0] if reasons else "no network was trained on one modality alone, and none is fused")


def _with_features(experiment: ExperimentFolder, run: str | None, branch: str) -> Said:
    if run is None:
        raise RunError("no fold has a finished run of every network")
    said = experiment.said(run)
    if f"feature/{branch}" not in said.features:
        raise RunError(
            f"{run} was evaluated by an earlier version, which kept no features; fusionkit evaluate adds them"
        )
    return said


def _sources(results: Results) -> list[tuple[str, str, Runs]]:
    """Modalities that were trained alone, then fused networks: title, branch, and runs."""
    alone: dict[str, dict[tuple[str, int], str]] = {}
    fused: dict[str, dict[tuple[str, int], str]] = {
        column.name: {} for column in results.columns if column.branch == FUSED
    }
    judge = next((column.alone for column in results.columns if column.alone), None)
    sources = {column.name: column.runs for column in results.columns}
    for row in results.rows:
        place = (row.fold, row.seed)
        if row.trained == "alone" and (row.variant is None or judge in (None, sources[row.variant])):
            alone.setdefault(row.branch, {}).setdefault(place, row.run)
        elif row.variant in fused:
            fused[row.variant][place] = row.run
    listed: list[tuple[str, str, Runs]] = [(f"{name}, alone", name, runs) for name, runs in alone.items()]
    return listed + [(f"{name}, fused", FUSED, runs) for name, runs in fused.items()]


def _clouds(fold: str, seed: int, found: Sequence[tuple[str, str, Said]], classes: Sequence[str]) -> Clouds:
    if any(len(said.targets) != len(found[0][2].targets) for _, _, said in found):
        raise RunError("the variants were tested on different samples")
    targets, names = class_indices(found[0][2].targets, classes)
    alone = {branch: said for _, branch, said in found if branch != FUSED}

    def cloud(title: str, said: Said, feature: str) -> Cloud:
        return Cloud(title, said.features[feature], targets[said.feature_rows])

    clouds = [cloud(title, said, f"feature/{branch}") for title, branch, said in found]
    bent = [(title, said) for title, _, said in found if any(name.startswith("adapted/") for name in said.features)]
    adapted, modalities = list[Cloud](), list[str]()
    if bent:
        network, said = bent[-1][0].removesuffix(f", {FUSED}"), bent[-1][1]
        modalities = [name.removeprefix("adapted/") for name in said.features if name.startswith("adapted/")]
        every_alone = set(modalities) <= set(alone)
        modalities.sort(key=lambda name: list(alone).index(name) if name in alone else len(alone))
        for name in modalities:
            adapted += [cloud(f"{name}, alone", alone[name], f"feature/{name}")] if every_alone else []
            adapted.append(cloud(f"{name} in {network}", said, f"feature/{name}"))
            adapted.append(cloud(f"{name} in {network}, adapted", said, f"adapted/{name}"))
    return Clouds(fold, seed, tuple(clouds), tuple(adapted), len(modalities), names)
