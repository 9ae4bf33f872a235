"""From the cards of an experiment to one document: values, summaries, and where a single modality is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from fusionkit.evaluation.branches import CONSTANT, ENSEMBLES, FUSED
from fusionkit.evaluation.ranking import LEVEL
from fusionkit.evaluation.statistics import compare, estimate_mean
from fusionkit.experiments.agenda import Agenda
from fusionkit.experiments.experiment import Column, Experiment
from fusionkit.experiments.job import Failure, read_card
from fusionkit.interfaces import Split
from fusionkit.storage.card import Card
from fusionkit.storage.documents import Figure
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.measures import describe_measures
from fusionkit.storage.results import (
    Confusion,
    Difference,
    FailedRun,
    Fold,
    OverAlone,
    OverConstant,
    Protocol,
    ResultColumn,
    Results,
    Row,
    StatedExperiment,
    Summary,
)

MARGIN = 1e-12  # values that differ by rounding alone are equal

Key = tuple[str, str, int]
"""Variant, fold and seed of a run."""

Cards = Mapping[Key, Card]


def read_cards(agenda: Agenda, failures: Sequence[Failure]) -> dict[Key, Card]:
    """The cards of all runs that did not fail.

    Raises:
        RunError: One of them was damaged meanwhile.
    """
    failed = {failure.job.folder for failure in failures}
    return {(job.variant, job.fold, job.seed): read_card(job) for job in agenda.jobs if job.folder not in failed}


def make_results(agenda: Agenda, failures: Sequence[Failure]) -> Results:
    """Makes the document that an experiment leaves.

    Args:
        agenda: What was run.
        failures: The runs that failed.
    """
    experiment, cards = agenda.experiment, read_cards(agenda, failures)
    environment = describe_environment("cpu")
    return Results(
        format=Results.formats[-1],
        experiment=StatedExperiment.model_validate(experiment.spec.model_dump(mode="json", by_alias=True)),
        recipes={variant: recipe.plain() for variant, recipe in experiment.recipes.items()},
        target=experiment.target,
        target_kind=agenda.compared.kind,
        metric=agenda.metric.name,
        higher_is_better=agenda.metric.higher_is_better,
        measures=describe_measures(agenda.compared.measures),
        folds=[_describe_fold(fold, cards) for fold in agenda.folds],
        seeds=list(experiment.spec.seeds),
        **_shared_by(cards),
        versions={key: environment[key] for key in ("fusionkit", "torch", "python")},
        platform=environment["platform"],
        command=environment["command"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=[*experiment.notes, *_notes_on_splits(agenda.folds, cards), *_notes_on_samples(cards)],
        data_notes=list(agenda.data_notes),
        columns=[ResultColumn(**asdict(column)) for column in experiment.columns],
        rows=_rows(agenda, cards),
        summary=summarise(agenda, cards),
        confusion=_confusions(experiment, cards),
        failures=[
            FailedRun(
                variant=failure.job.variant,
                fold=failure.job.fold,
                seed=failure.job.seed,
                error=failure.error,
                traceback=failure.traceback,
            )
            for failure in failures
        ],
    )


def summarise(agenda: Agenda, cards: Cards) -> dict[str, Summary]:
    """Summarises every column: folds (mean over seeds), mean, interval, comparisons, where a single modality is better.

    A fold counts where every seed of it has a value, so that a failed run cannot shift a mean unseen.
    """
    experiment = agenda.experiment
    ratio = fmean(len(fold.test) / len(fold.train) for fold in agenda.folds)
    values = {column.name: _by_fold(agenda, cards, column.runs, column.branch, None) for column in experiment.columns}
    summary: dict[str, Summary] = {}
    for column in experiment.columns:
        by_fold = values[column.name]
        compared = {other: compare(by_fold, values[other], ratio) for other in summary}  # with every column before it
        mean = asdict(estimate_mean(list(by_fold.values()))) if by_fold else {"mean": None, "low": None, "high": None}
        summary[column.name] = Summary(
            by_fold=by_fold,
            **mean,
            interval="Student's t over folds, seeds averaged first",
            against={other: each and Difference(**each.plain()) for other, each in compared.items()},
            over_constant=_over_constant(agenda, column, cards, ratio),
            **_against_networks_alone(agenda, column, cards, ratio),
        )
    return summary


def _over_constant(agenda: Agenda, column: Column, cards: Cards, ratio: float) -> OverConstant | None:
    """A column against the constant answer on the same samples; None for that itself, and where cards hold none.

    ``surely`` tells whether it is better by more than noise: by the corrected test over folds, and where that cannot be
    made, of one fold or of differences that are all the same, if its own interval lies on the better side in each.
    """
    if column.branch == CONSTANT:
        return None
    where = None if column.branch in (FUSED, *ENSEMBLES) else column.branch
    values = _by_fold(agenda, cards, column.runs, column.branch, None)
    constant = _by_fold(agenda, cards, column.runs, CONSTANT, where)
    comparison = compare(values, constant, ratio)
    if comparison is None:
        return None
    better, p = agenda.metric.sign, comparison.corrected_t_p
    if p is not None:
        surely = p < LEVEL and better * comparison.difference.mean > 0
    else:
        limits = _worse_limits(agenda, column, cards)
        surely = all(
            fold in limits and better * (limits[fold] - constant[fold]) > 0 for fold in values if fold in constant
        )
    mean = fmean(constant[fold] for fold in constant if fold in values)
    return OverConstant(constant=mean, **comparison.plain(), surely=surely)


def _worse_limits(agenda: Agenda, column: Column, cards: Cards) -> dict[str, float]:
    """By fold the limit of a column's own interval on the worse side, the mean over seeds."""
    found: dict[str, list[float]] = {}
    for (variant, fold, _), card in cards.items():
        branch = card.targets[agenda.experiment.target].branches.get(column.branch)
        figure = None if branch is None else branch.metrics.get(agenda.metric.name)
        limit = None if figure is None else figure.low if agenda.metric.higher_is_better else figure.high
        if variant == column.runs and limit is not None:
            found.setdefault(fold, []).append(limit)
    return {fold: fmean(limits) for fold, limits in found.items()}


def _against_networks_alone(agenda: Agenda, column: Column, cards: Cards, ratio: float) -> dict[str, Any]:
    """A fused column against the separately trained uni-modal networks, each on the samples that have its modality.

    ``inferior`` are the folds where the best of them beats it, ``over_alone`` is the comparison with the one whose
    mean over folds is best. That one is chosen by the very figures that are compared, in favour of not fusing.
    """
    nothing = {"inferior": None, "compared_folds": None, "over_alone": None}
    if column.branch not in (FUSED, *ENSEMBLES):
        return nothing
    better = agenda.metric.sign
    inferior: dict[str, str] = {}
    compared: set[str] = set()
    most: dict[str, float] = {}
    over: dict[str, OverAlone] = {}
    for modality in agenda.experiment.recipes[column.alone].model.modalities:
        alone = _by_fold(agenda, cards, column.alone, modality, None)
        fused = _by_fold(agenda, cards, column.runs, column.branch, modality)
        for fold in (fold for fold in alone if fold in fused):
            compared.add(fold)
            margin = (alone[fold] - fused[fold]) * better
            if margin > max(MARGIN, most.get(fold, 0.0)):
                inferior[fold], most[fold] = modality, margin
        comparison = compare(fused, alone, ratio)
        if comparison is not None:
            mean = fmean(alone[fold] for fold in alone if fold in fused)
            over[modality] = OverAlone(modality=modality, alone=mean, **comparison.plain())
    best = max(over.values(), key=lambda each: better * each.alone, default=None)
    return {"inferior": inferior, "compared_folds": len(compared), "over_alone": best}


def _by_fold(agenda: Agenda, cards: Cards, variant: str, branch: str, where: str | None) -> dict[str, float]:
    """The mean over seeds of a branch by fold; over the samples that have the modality `where`, if it is given."""
    values, seeds = {}, agenda.experiment.spec.seeds
    for fold in agenda.folds:
        found = [_value(agenda, cards.get((variant, fold.name, seed)), branch, where) for seed in seeds]
        known = [value for value in found if value is not None]
        if len(known) == len(seeds):
            values[fold.name] = fmean(known)
    return values


def _value(agenda: Agenda, card: Card | None, branch: str, where: str | None) -> float | None:
    described = None if card is None else card.targets[agenda.experiment.target].branches.get(branch)
    if described is None:
        return None
    if where in described.where:
        return described.where[where].metrics.get(agenda.metric.name)
    figure = described.metrics.get(agenda.metric.name)
    return None if figure is None else figure.value


def _rows(agenda: Agenda, cards: Cards) -> list[Row]:
    """One row per column, fold and seed; and one per separately trained modality that is no column."""
    experiment = agenda.experiment
    folders = {(job.variant, job.fold, job.seed): Path(job.folder).relative_to(agenda.out) for job in agenda.jobs}
    read = {(column.runs, column.branch) for column in experiment.columns}
    extra = [
        Column(modality, source, modality, source, automatic=True)
        for source in dict.fromkeys(column.alone for column in experiment.columns)
        for modality in experiment.recipes[source].model.modalities
        if (source, modality) not in read
    ]
    rows = []
    for column in (*experiment.columns, *extra):
        for (variant, fold, seed), card in cards.items():
            described = card.targets[experiment.target].branches.get(column.branch)
            if variant != column.runs or described is None:
                continue
            figure = described.metrics.get(agenda.metric.name, Figure(value=None, low=None, high=None))
            row = Row(
                variant=None if column in extra else column.name,
                branch=column.branch,
                trained=described.trained,
                fold=fold,
                seed=seed,
                samples=described.samples,
                value=figure.value,
                low=figure.low,
                high=figure.high,
                metrics={name: each.value for name, each in described.metrics.items()},
                run=folders[variant, fold, seed].as_posix(),
            )
            rows.append(row)
    return rows


def _confusions(experiment: Experiment, cards: Cards) -> Confusion:
    """Confusion matrices summed over folds and seeds, rows true and columns predicted, where there are classes."""
    matrices: dict[str, list[list[int]]] = {}
    classes: list[str] | None = None
    for column in experiment.columns:
        for (variant, _, _), card in cards.items():
            target = card.targets[experiment.target]
            branch = target.branches.get(column.branch)
            matrix = None if branch is None else branch.confusion
            if variant == column.runs and matrix is not None and column.branch != CONSTANT:
                classes = target.classes
                before = matrices.get(column.name, [[0] * len(matrix)] * len(matrix))
                matrices[column.name] = [
                    [a + b for a, b in zip(*rows, strict=True)] for rows in zip(before, matrix, strict=True)
                ]
    return Confusion(classes=classes, matrices=matrices)


def _describe_fold(fold: Split, cards: Cards) -> Fold:
    hashes = sorted({card.protocol.split_hash for key, card in cards.items() if key[1] == fold.name})
    split_hash = hashes[0] if len(hashes) == 1 else None
    return Fold(name=fold.name, split_hash=split_hash, train=len(fold.train), test=len(fold.test))


def _shared_by(cards: Cards) -> dict[str, Any]:
    """Returns what all runs say of themselves; several labels stand together."""

    def labels(of: Callable[[Card], str | None]) -> str:
        return " / ".join(sorted({str(of(card)) for card in cards.values()}))

    return {
        "protocol": Protocol(
            label=labels(lambda card: card.protocol.label),
            folds=next((card.protocol.folds for card in cards.values()), None),
        ),
        "selection": labels(lambda card: card.selection.label),
        "device": labels(lambda card: card.training.device),
        "commit": labels(lambda card: card.training.commit),
    }


def _notes_on_samples(cards: Cards) -> list[str]:
    """What cards say of their samples, each once; cards of earlier versions say nothing."""
    return list(dict.fromkeys(note for card in cards.values() for note in card.notes))


def _notes_on_splits(folds: Sequence[Split], cards: Cards) -> list[str]:
    described = [_describe_fold(fold, cards) for fold in folds]
    differing = [fold.name for fold in described if fold.split_hash is None]
    with_runs = {key[1] for key in cards}
    return [
        f"Variants were not trained on the same split of fold {name!r}; do not compare them."
        for name in differing
        if name in with_runs
    ]
