"""One finished run under every corruption and level, in two passes over its test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from fusionkit.data.sources import Datasets
from fusionkit.evaluation.card import assemble_run, judge_branch, require_same_data
from fusionkit.evaluation.diagnosis.scores import Answer, Judge
from fusionkit.evaluation.predictions import Predictions, gather_predictions
from fusionkit.evaluation.robustness.levels import Levels
from fusionkit.evaluation.robustness.passes import UNTOUCHED, Passes
from fusionkit.evaluation.robustness.spread import Measured, measure
from fusionkit.inference.branches import trained_branches
from fusionkit.inference.trained import load_network
from fusionkit.interfaces import Metric
from fusionkit.models.build import FusionModel
from fusionkit.storage.environment import choose_device
from fusionkit.storage.records.document import Figure
from fusionkit.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Figures:
    """A branch's figures for one target.

    Args:
        samples: Over how many samples.
        metrics: Every metric.
        gain: Of its score, by how much it is better than untouched, with its interval over groups; None where that was
            not asked for.
    """

    samples: int
    metrics: Mapping[str, float]
    gain: Figure | None = None


@dataclass(frozen=True)
class Point:
    """One level of one corruption of one modality.

    Args:
        corruption: What befell the modality.
        modality: The modality.
        level: How much, in the unit of `Levels`.
        figures: By target and branch.
    """

    corruption: str
    modality: str
    level: float
    figures: Mapping[str, Mapping[str, Figures]]


@dataclass(frozen=True)
class Stressed:
    """The figures that `stress_run` found.

    Args:
        points: Every point of every curve.
        scores: By target, the metric that its loss head is judged by.
        measured: By modality, what the test part is like.
        groups: The group of every sample of the test part; its name where it has none.
        protocol: What the result may be called.
        selection: How the epoch was chosen.
        device: Where it was computed.
        notes: What could not be done, and what a reader should know.
    """

    points: tuple[Point, ...]
    scores: Mapping[str, Metric]
    measured: Mapping[str, Measured]
    groups: tuple[str, ...]
    protocol: str
    selection: str
    device: str
    notes: tuple[str, ...]


def stress_run(
    run: RunFolder,
    levels: Levels,
    *,
    modalities: Sequence[str],
    corruptions: Sequence[str],
    seed: int = 0,
    device: str | None = None,
    resamples: int = 0,
    datasets: Datasets | None = None,
) -> Stressed:
    """Evaluates a run on its test part, corrupted; one modality at a time, the others as they are.

    Args:
        run: The run; it must have finished.
        levels: The levels of every corruption.
        modalities: The modalities to corrupt; those that the run does not use are left out.
        corruptions: What befalls them, of `CORRUPTIONS`.
        seed: The seed of what is drawn.
        device: Where to compute; a GPU where there is one, when left out.
        resamples: Resamples of groups for the interval of what the strongest level of every corruption changes; none
            where the run is one of many folds.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RunError: The run has not finished, or its weights or data are others than when it was trained.
    """
    branches, assembly = trained_branches(run.recipe), assemble_run(run, datasets)
    require_same_data(run, assembly)
    model = load_network(run, assembly.recipe)
    used = model.modalities if branches.fused else tuple(branches.unimodal)
    names = tuple(name for name in used if name in modalities)
    measured = measure(assembly, names)
    passes = Passes(assembly, branches, measured, levels=levels, corruptions=corruptions, seed=seed)
    chosen = choose_device(device)
    outputs, batches = passes.run(model.to(chosen).eval(), chosen)
    untouched = gather_predictions(model, assembly, branches, [outputs[UNTOUCHED]], batches)
    wanted, points = tuple(passes.wanted()), []
    strongest = {(corruption, name): level for corruption, name, level in sorted(wanted, key=lambda of: abs(of[2]))}
    for corruption, name, level in wanted:
        said = passes.said(outputs, corruption, name, level)
        with torch.inference_mode():
            predictions = gather_predictions(model, assembly, branches, [said], batches)
            figures = _figures(model, predictions)
            if resamples and level == strongest[corruption, name]:
                figures = _with_gains(model, figures, predictions, untouched, resamples)
            points.append(Point(corruption, name, level, figures))
    scores = {target: (head := model.head(target)).measure(head.score) for target in model.targets}
    return Stressed(
        points=tuple(points),
        scores=scores,
        measured=measured,
        groups=untouched.groups,
        protocol=assembly.overlap_label,
        selection=assembly.selection_label,
        device=str(chosen),
        notes=tuple(passes.notes()),
    )


def _figures(model: FusionModel, predictions: Predictions) -> dict[str, dict[str, Figures]]:
    found: dict[str, dict[str, Figures]] = {}
    for target in model.targets:
        for branch in predictions.trained:
            head = model.head(target, branch if branch in model.modalities else None)
            judged = judge_branch(head, target, branch, predictions)
            figures = Figures(0, {}) if judged is None else Figures(len(judged.rows), judged.metrics)
            found.setdefault(target, {})[branch] = figures
    return found


def _with_gains(
    model: FusionModel,
    figures: Mapping[str, Mapping[str, Figures]],
    predictions: Predictions,
    untouched: Predictions,
    resamples: int,
) -> dict[str, dict[str, Figures]]:
    """Figures with what the corruption gains, which is mostly less than nothing: the same groups for both sides."""
    found: dict[str, dict[str, Figures]] = {}
    for target, by_branch in figures.items():
        for branch, of in by_branch.items():
            head = model.head(target, branch if branch in model.modalities else None)
            judge = Judge(head, predictions.targets[target], predictions.groups, resamples)
            after, before = (
                Answer(each.distributions[branch][target], each.spoken(branch), branch)
                for each in (predictions, untouched)
            )
            gain = judge.gain(after, before) if len(judge.rows(after, before)) else None
            found.setdefault(target, {})[branch] = replace(of, gain=gain)
    return found
