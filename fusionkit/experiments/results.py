"""From the cards of an experiment to one document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fusionkit.experiments.agenda import Agenda
from fusionkit.experiments.experiment import Column, Experiment
from fusionkit.experiments.job import Failure, read_card
from fusionkit.experiments.summary import Cards, Key, summarise
from fusionkit.inference.branches import CONSTANT
from fusionkit.interfaces import Split
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.document import Figure, describe_measures
from fusionkit.storage.records.results import (
    Confusion,
    FailedRun,
    Fold,
    Protocol,
    ResultColumn,
    Results,
    Row,
    StatedExperiment,
)


def read_cards(agenda: Agenda, failures: Sequence[Failure]) -> dict[Key, Card]:
    """Reads the cards of all runs that did not fail.

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


def _rows(agenda: Agenda, cards: Cards) -> list[Row]:
    """Makes a row per column, fold and seed; and one per separately trained modality that is no column."""
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
    """Sums confusion matrices over folds and seeds, rows true and columns predicted, where there are classes."""
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
    """Lists what cards say of their samples, each once; cards of earlier versions say nothing."""
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
