"""The summary of every column of an experiment: values, comparisons, and where a single modality is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

from fusionkit.evaluation.ranking import LEVEL
from fusionkit.evaluation.statistics import compare, estimate_mean
from fusionkit.experiments.agenda import Agenda
from fusionkit.experiments.experiment import Column
from fusionkit.inference.branches import CONSTANT, ENSEMBLES, FUSED
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.results import (
    Difference,
    OverAlone,
    OverConstant,
    Summary,
)

MARGIN = 1e-12  # values that differ by rounding alone are equal

Key = tuple[str, str, int]
"""Variant, fold and seed of a run."""

Cards = Mapping[Key, Card]


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
    """Compares a column with the constant answer on the same samples; None for that itself, and where cards hold none.

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
    """Returns by fold the limit of a column's own interval on the worse side, the mean over seeds."""
    found: dict[str, list[float]] = {}
    for (variant, fold, _), card in cards.items():
        branch = card.targets[agenda.experiment.target].branches.get(column.branch)
        figure = None if branch is None else branch.metrics.get(agenda.metric.name)
        limit = None if figure is None else figure.low if agenda.metric.higher_is_better else figure.high
        if variant == column.runs and limit is not None:
            found.setdefault(fold, []).append(limit)
    return {fold: fmean(limits) for fold, limits in found.items()}


def _against_networks_alone(agenda: Agenda, column: Column, cards: Cards, ratio: float) -> dict[str, Any]:
    """Compares a fused column with the uni-modal networks trained alone, each on the samples that have its modality.

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
    """Returns by fold the mean over seeds of a branch; over the samples that have the modality `where`, if given."""
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
