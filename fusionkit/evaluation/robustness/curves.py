"""From the runs of a folder to one document: a curve per variant, corruption and modality."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from fusionkit.data.sources import Datasets
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.evaluation.bootstrap import RESAMPLES
from fusionkit.evaluation.card import assemble_run
from fusionkit.evaluation.robustness.folders import Column, Key, Source, open_source
from fusionkit.evaluation.robustness.levels import CORRUPTIONS, OPTIONS, Levels, corruption_of
from fusionkit.evaluation.robustness.stressed_run import Stressed, stress_run
from fusionkit.evaluation.statistics import estimate_mean
from fusionkit.execution.workers import show_progress
from fusionkit.interfaces import Metric
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.records.document import Figure, describe_measures, figure, refuse_newer, save_document
from fusionkit.storage.records.stress import (
    Stress,
    StressCurve,
    StressedInput,
    StressedWeights,
    StressPoint,
    StressTarget,
)
from fusionkit.storage.run_folder import RunFolder

UNITS = {"missing": "share", "noise": "standard deviations", "shift": "seconds", "swap": "share"}


def stress(
    path: str | Path,
    levels: Levels | None = None,
    *,
    modalities: Sequence[str] = (),
    corruptions: Sequence[str] = CORRUPTIONS,
    asked: Collection[str] = (),
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
) -> Stress:
    """Corrupts the test part of a run, or of every run of an experiment, and leaves the figures as ``stress.json``.

    One modality is corrupted at a time. A point of an experiment's curve is the mean over folds, each the mean over
    its seeds, with Student's interval over folds; a fold counts where every seed of it has a value. What the strongest
    level of a curve gains, as a rule less than nothing, has an interval too: Student's over folds, or of a single run
    over resamples of the groups of its test part, the same for both sides.

    Args:
        path: A run folder, or the folder of an experiment.
        levels: The levels; the defaults of `Levels` when left out.
        modalities: Those to corrupt; all when left out.
        corruptions: What befalls them, of `CORRUPTIONS`.
        asked: Names of the levels that were asked for, of `Levels`; they are refused where they would change nothing.
        seed: The seed of what is drawn.
        device: Where to compute; a GPU where there is one, when left out.
        progress: Show a bar.

    Returns:
        The document.

    Raises:
        RunError: The folder is neither, or a run in it has not finished, is damaged, or is of other data.
        RecipeError: A modality or a corruption is unknown, or levels that were asked for would change nothing.
    """
    levels = levels or Levels()
    source = open_source(Path(path))
    refuse_newer(Stress, source.file)
    _check_names(modalities, source.modalities, corruptions)
    wanted = tuple(modalities) or source.modalities
    kinds = tuple(name for name in CORRUPTIONS if name in corruptions)
    found: dict[Key, Stressed] = {}
    folds_and_seeds = {(fold, seed) for _, fold, seed in source.runs}
    resamples = RESAMPLES if len(folds_and_seeds) == 1 else 0
    datasets = Datasets()
    _refuse_idle_levels(asked, kinds, source, wanted, datasets)
    with show_progress("runs", len(source.runs), 0, shown=progress) as advance:
        for key, run in source.runs.items():
            found[key] = stress_run(
                run,
                levels,
                modalities=wanted,
                corruptions=kinds,
                seed=seed,
                device=device,
                resamples=resamples,
                datasets=datasets,
            )
            advance("")
    document = make_document(source, found, levels, seed)
    save_document(source.file, document)
    return document


def make_document(source: Source, found: Mapping[Key, Stressed], levels: Levels, seed: int) -> Stress:
    """Makes the document that ``stress.json`` holds.

    Args:
        source: The folder.
        found: What was found, by variant, fold and seed.
        levels: The levels.
        seed: The seed of what was drawn.
    """
    every = list(found.values())
    environment = describe_environment(" / ".join(sorted({each.device for each in every})))
    scores = source.scores or every[0].scores
    by_fold = {fold: stressed.groups for (_, fold, _), stressed in found.items()}
    return Stress(
        format=Stress.formats[-1],
        kind=source.kind,
        levels={name: list(of) for name, of in asdict(levels).items()},
        seed=seed,
        targets={name: _describe_metric(metric) for name, metric in scores.items()},
        folds=list(dict.fromkeys(fold for _, fold, _ in found)),
        seeds=sorted({seed for *_, seed in found}),
        samples=sum(len(groups) for groups in by_fold.values()),
        groups=len({group for groups in by_fold.values() for group in groups}),
        protocol=" / ".join(sorted({each.protocol for each in every})),
        selection=" / ".join(sorted({each.selection for each in every})),
        curves=[
            curve
            for target, metric in scores.items()
            for column in source.columns
            for curve in _curves(found, column, target, metric)
        ],
        runs=[_describe_run(source, key, each) for key, each in found.items()],
        notes=notes_of(found),
        **{key: environment[key] for key in ("commit", "device", "platform", "command")},
        versions={key: environment[key] for key in ("fusionkit", "torch", "python")},
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _describe_metric(metric: Metric) -> StressTarget:
    measures = describe_measures([metric])
    return StressTarget(metric=metric.name, higher_is_better=metric.higher_is_better, measures=measures)


def _curves(found: Mapping[Key, Stressed], column: Column, target: str, metric: Metric) -> Iterator[StressCurve]:
    """Yields the curves of a column, one per corruption and modality."""
    values: dict[tuple[str, str], dict[float, dict[str, dict[int, float | None]]]] = {}
    samples: dict[tuple[str, str, float], int] = {}
    units: dict[tuple[str, str], str] = {}
    gains: dict[tuple[str, str], Figure] = {}
    for (variant, fold, seed), stressed in found.items():
        if variant != column.runs:
            continue
        for point in stressed.points:
            of, place = point.figures[target][column.branch], (point.corruption, point.modality)
            value = of.metrics.get(metric.name, math.nan)
            if of.gain is not None and metric == stressed.scores[target]:
                gains[place] = of.gain
            by_fold = values.setdefault(place, {}).setdefault(point.level, {}).setdefault(fold, {})
            by_fold[seed] = value if math.isfinite(value) else None
            samples[*place, point.level] = samples.get((*place, point.level), 0) + of.samples
            by_length = point.corruption == "shift" and stressed.measured[point.modality].rate is None
            units[place] = "share of the length" if by_length else UNITS[point.corruption]
    seeds = {seed for *_, seed in found}
    for (corruption, modality), by_level in values.items():
        points = [
            _point(level, by_fold, seeds, samples[corruption, modality, level]) for level, by_fold in by_level.items()
        ]
        yield StressCurve(
            target=target,
            column=column.name,
            branch=column.branch,
            runs=column.runs,
            corruption=corruption,
            modality=modality,
            unit=units[corruption, modality],
            gain=gains.get((corruption, modality)) or _gain(points, metric.sign),
            points=points,
        )


def _point(
    level: float, by_fold: Mapping[str, Mapping[int, float | None]], seeds: set[int], samples: int
) -> StressPoint:
    whole = {
        fold: fmean(known)
        for fold, by_seed in by_fold.items()
        if set(by_seed) == seeds
        and len(known := [value for value in by_seed.values() if value is not None]) == len(seeds)
    }
    interval = asdict(estimate_mean(list(whole.values()))) if whole else dict.fromkeys(("mean", "low", "high"))
    by_seed = {fold: {str(seed): value for seed, value in of.items()} for fold, of in by_fold.items()}
    return StressPoint(level=level, **interval, by_fold=whole, by_seed=by_seed, samples=samples)


def _gain(points: Sequence[StressPoint], sign: int) -> Figure:
    """Computes by how much the strongest level is better than untouched, over the folds that have both."""
    after = max(points, key=lambda point: abs(point.level)).by_fold
    before = next(point.by_fold for point in points if point.level == 0)
    differences = [sign * (after[fold] - before[fold]) for fold in after if fold in before]
    if not differences:
        return figure(math.nan)
    interval = estimate_mean(differences)
    return Figure(value=interval.mean, low=interval.low, high=interval.high)


def notes_of(found: Mapping[Key, Stressed]) -> list[str]:
    """Gathers what the runs have to say; what holds in some folds alone with their names."""
    folds: dict[str, dict[str, None]] = {}
    for (_, fold, _), stressed in found.items():
        for note in stressed.notes:
            folds.setdefault(note, {})[fold] = None
    every = {fold for _, fold, _ in found}
    return [note if len(of) == len(every) else f"In {', '.join(of)}: {note}" for note, of in folds.items()]


def _describe_run(source: Source, key: Key, stressed: Stressed) -> StressedWeights:
    variant, fold, seed = key
    inputs = {
        name: StressedInput(samples=int(of.present.sum()), rate=of.rate, deviation=of.deviation.tolist())
        for name, of in stressed.measured.items()
    }
    weights = source.runs[key].sha256_of_weights()
    return StressedWeights(variant=variant, fold=fold, seed=seed, weights_sha256=weights, inputs=inputs)


def _check_names(modalities: Sequence[str], known: Sequence[str], corruptions: Sequence[str]) -> None:
    problems = [
        Problem(what, f"unknown {kind} {name!r}", suggest_names(name, names))
        for what, kind, given, names in (
            ("modalities", "modality", modalities, known),
            ("corruptions", "corruption", corruptions, CORRUPTIONS),
        )
        for name in given
        if name not in names
    ]
    if problems:
        raise RecipeError(problems)


def _refuse_idle_levels(
    asked: Collection[str],
    corruptions: Collection[str],
    source: Source,
    modalities: Collection[str],
    datasets: Datasets,
) -> None:
    """Refuses levels that were asked for and would be used nowhere; every one is told.

    Raises:
        RecipeError: Their corruption is left out, or lags are in a unit that no modality has.
    """
    problems = [
        Problem(OPTIONS[name], f"says how much, but --only leaves out {corruption}", f"add --only {corruption}")
        for name in asked
        if (corruption := corruption_of(name)) not in corruptions
    ]
    if lags := {"shift", "shift_share"} & set(asked) if "shift" in corruptions else ():
        rates = [rate for run in source.runs.values() for rate in _rates(run, modalities, datasets)]
        named = ", ".join(modalities)
        if "shift" in lags and not any(rates):
            remedy = f"use {OPTIONS['shift_share']}"
            problems.append(Problem(OPTIONS["shift"], f"is in seconds, and no modality ({named}) has a rate", remedy))
        if "shift_share" in lags and all(rates):
            message = f"is for modalities without a rate, and every one ({named}) has a rate"
            problems.append(Problem(OPTIONS["shift_share"], message, f"use {OPTIONS['shift']}"))
    if problems:
        raise RecipeError(problems)


def _rates(run: RunFolder, modalities: Collection[str], datasets: Datasets) -> list[float | None]:
    assembly = assemble_run(run, datasets)
    return [assembly.rate(name) for name in run.recipe.model.modalities if name in modalities]
