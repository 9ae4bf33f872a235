"""A run's card: every figure with its interval, and everything that says how it came about."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from fusionkit.config.initial_weights import find_starts
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import hash_split, make_sort_key
from fusionkit.errors import DataError, Problem, RecipeError, RunError
from fusionkit.evaluation.bootstrap import RESAMPLES, SEED, bootstrap_limits
from fusionkit.evaluation.predictions import Predictions, predict_test_part
from fusionkit.inference.branches import trained_branches
from fusionkit.inference.trained import load_network
from fusionkit.interfaces import LOSS, LossHead
from fusionkit.models.build import FusionModel
from fusionkit.storage.environment import choose_device, describe_environment
from fusionkit.storage.records.card import (
    Card,
    CardBranch,
    CardProtocol,
    CardTarget,
    Intervals,
    PresentBranch,
    Selection,
)
from fusionkit.storage.records.document import describe_measures, figure, refuse_newer
from fusionkit.storage.run_folder import RunFolder


class OtherDataError(RunError):
    """The data of a run are others than when it was trained."""


def evaluate(
    run: RunFolder, *, device: str | None = None, resamples: int = RESAMPLES, datasets: Datasets | None = None
) -> Card:
    """Evaluates a finished run on its test part and leaves the card and the predictions in its folder.

    Args:
        run: The run.
        device: Where to compute; a GPU where there is one, when left out.
        resamples: Resamples of the bootstrap intervals.
        datasets: Datasets that are open; when left out it opens its own.

    Returns:
        The card.

    Raises:
        RunError: The run has not finished, its data have changed since it was trained, or its weights are damaged or
            of another network.
    """
    refuse_newer(Card, run.card_file)
    card, predictions = make_card(run, device=device, resamples=resamples, datasets=datasets)
    run.write_predictions(predictions.tensors(), predictions.metadata())
    run.write_card(card)
    return card


def make_card(
    run: RunFolder, *, device: str | None = None, resamples: int = RESAMPLES, datasets: Datasets | None = None
) -> tuple[Card, Predictions]:
    """Evaluates a finished run without touching its folder.

    The card holds ``protocol``, ``selection``, ``notes`` (what a reader must know of the samples), ``seed``,
    ``recipe``, hashes, environment, and per target and branch

    - ``samples``: how many test samples the figures are over. A uni-modal branch is judged on the samples that have
      its modality, the ensembles on those that have any, the fused branch and the constant answer of the training part
      on all; a target that is not known excludes a sample from all of them.
    - ``metrics``: those of the loss head, and the loss where there are scores, each with a bootstrap interval.
    - ``confusion`` where the target has classes: rows are true, columns predicted.
    - ``where``, of all but uni-modal branches, for modalities that some samples lack: their metrics over the
      samples that have the modality, so that fused and uni-modal can be compared on the same samples.

    Args:
        run: The run.
        device: Where to compute; a GPU where there is one, when left out.
        resamples: Resamples of the bootstrap intervals.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RunError: The run has not finished, its data have changed since it was trained, or its weights are damaged or
            of another network.
    """
    assembly = assemble_run(run, datasets)
    require_same_data(run, assembly)
    return describe_run(run, assembly, describe_protocol(assembly), device=device, resamples=resamples)


def describe_run(
    run: RunFolder,
    assembly: Assembly,
    protocol: CardProtocol,
    *,
    notes: Sequence[str] | None = None,
    trained_on: Mapping[str, Tensor] | None = None,
    device: str | None = None,
    resamples: int = RESAMPLES,
) -> tuple[Card, Predictions]:
    """Evaluates a run on the test part of an assembly, which may be of other data than those of its training.

    Args:
        run: The run.
        assembly: Its recipe and the data.
        protocol: What the card says of them.
        notes: What a reader must know of the samples; those of the assembly when left out.
        trained_on: See `predict_test_part`.
        device: Where to compute; a GPU where there is one, when left out.
        resamples: Resamples of the bootstrap intervals.
    """
    recipe = run.recipe
    chosen = choose_device(device)
    model = load_network(run, assembly.recipe)
    predictions = predict_test_part(model, assembly, trained_branches(recipe), chosen, trained_on)
    environment = describe_environment(str(chosen))
    card = Card(
        format=Card.formats[-1],
        protocol=protocol,
        selection=Selection(rule=recipe.train.select, label=assembly.selection_label),
        notes=list(assembly.notes if notes is None else notes),
        starts=find_starts(recipe.plain()),
        seed=recipe.train.seed,
        recipe=run.written_recipe,  # not `recipe`, in which a later version's options stand too
        recipe_sha256=recipe_hash(run.written_recipe),
        weights_sha256=run.sha256_of_weights(),
        commit=environment["commit"],
        versions={name: environment[name] for name in ("fusionkit", "torch", "python")},
        device=environment["device"],
        platform=environment["platform"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        training=run.environment,
        intervals=Intervals(
            method="percentile bootstrap over groups, or over samples that have none",
            level=0.95,
            units=len(set(predictions.groups)),
            resamples=resamples,
            seed=SEED,
        ),
        targets={
            target: _describe_target(model, assembly.recipe.model.targets[target].type, target, predictions, resamples)
            for target in model.targets
        },
    )
    return card, predictions


def assemble_run(run: RunFolder, datasets: Datasets | None = None) -> Assembly:
    """Opens the data of a run, and divides them.

    Args:
        run: The run.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RecipeError: The recipe of the run does not fit its data; the run is named.
        DataError: As for `assemble`; of a file that a relative path does not lead to it says where such a path starts.
    """
    recipe = run.recipe
    try:
        return assemble(recipe, datasets)
    except RecipeError as error:
        raise RecipeError(error.problems, source=error.source or str(run.path / "recipe.yaml")) from None
    except DataError as error:
        raise DataError([_hint_at_folder(each) for each in error.problems], source=error.source) from None


def _hint_at_folder(problem: Problem) -> Problem:
    """Adds to a relative path that leads nowhere from where it starts."""
    if not problem.message.startswith("no such") or not problem.place or Path(problem.place).is_absolute():
        return problem
    hint = f"a relative path in a recipe starts where the command is called, {Path.cwd()}; call it where the run began"
    return Problem(problem.place, problem.message, f"{problem.remedy}; {hint}" if problem.remedy else hint)


def require_same_data(run: RunFolder, assembly: Assembly) -> None:
    """Refuses a run whose data are others than when it was trained: its test part may have been trained on since.

    Raises:
        OtherDataError: They are.
    """
    if run.is_of_other_data(assembly.data_hash):
        raise OtherDataError(f"{run.path}: its data have changed since it was trained; train it again")


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """Returns the sha256 of a complete recipe as plain data, as 64 hexadecimal digits."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def describe_protocol(assembly: Assembly) -> CardProtocol:
    """Describes which samples were trained on and reported, and what the result may be called."""
    tested = set(assembly.test_ids)
    groups = {row.group for row in assembly.dataset.rows if row.id in tested and row.group is not None}
    return CardProtocol(
        folds=assembly.recipe.data.folds.model_dump(mode="json"),
        fold=assembly.split.name,
        split_hash=hash_split(assembly.split),
        label=assembly.overlap_label,
        train=len(assembly.train_ids),
        validation=len(assembly.validation_ids),
        test=len(assembly.test_ids),
        test_groups=sorted(groups, key=make_sort_key),
    )


def _describe_target(
    model: FusionModel, kind: str, target: str, predictions: Predictions, resamples: int
) -> CardTarget:
    head = model.head(target)
    return CardTarget(
        type=kind,
        kind=head.kind,
        classes=list(head.classes) or None,
        score=head.score,
        higher_is_better=head.measure(head.score).higher_is_better,
        measures=describe_measures(head.measures),
        branches={name: _describe_branch(model, target, name, predictions, resamples) for name in predictions.trained},
    )


def _describe_branch(
    model: FusionModel, target: str, branch: str, predictions: Predictions, resamples: int
) -> CardBranch:
    head = model.head(target, branch if branch in model.modalities else None)
    judged, trained = judge_branch(head, target, branch, predictions), predictions.trained[branch]
    # What is not said is not written: neither a matrix of numbers, nor that others lack the modality of its own branch.
    more: dict[str, Any] = {}
    if branch not in model.modalities:
        more["where"] = _where_present(model.head(target), target, branch, predictions)
    if judged is None:
        return CardBranch(trained=trained, samples=0, metrics={}, **more)
    if (confusion := head.confusion(judged.said, judged.wanted)) is not None:
        more["confusion"] = confusion.tolist()
    groups = [predictions.groups[row] for row in judged.rows.tolist()]
    limits = bootstrap_limits(head, judged.said, judged.wanted, groups, judged.losses, resamples=resamples)
    figures = {name: figure(value, limits.get(name)) for name, value in judged.metrics.items()}
    return CardBranch(trained=trained, samples=len(judged.rows), metrics=figures, **more)


@dataclass(frozen=True)
class Judged:
    """A branch on the samples that it is judged on, for one target.

    Args:
        rows: Their positions among all: those whose target is known and that the branch answers.
        said: Its distributions of them.
        wanted: Their targets.
        losses: Their losses; None where the branch has no scores.
        metrics: The loss head's, and the mean loss where there are scores.
    """

    rows: Tensor
    said: Tensor
    wanted: Tensor
    losses: Tensor | None
    metrics: Mapping[str, float]


def judge_branch(head: LossHead, target: str, branch: str, predictions: Predictions) -> Judged | None:
    """Judges a branch by the target's loss head in it; None where there is no sample to judge it on."""
    targets = predictions.targets[target]
    rows = (head.find_known(targets) & predictions.spoken(branch)).nonzero().flatten()
    if not len(rows):
        return None
    said, wanted = predictions.distributions[branch][target][rows], targets[rows]
    values, losses = dict(head.metrics(said, wanted)), None
    if branch in predictions.scores:
        losses = head.loss(predictions.scores[branch][target][rows], wanted)
        values[LOSS.name] = float(losses.double().mean())
    return Judged(rows, said, wanted, losses, values)


def _where_present(head: LossHead, target: str, branch: str, predictions: Predictions) -> dict[str, PresentBranch]:
    targets, said = predictions.targets[target], predictions.distributions[branch][target]
    known, described = head.find_known(targets), {}
    for modality, mask in _partly(predictions.present).items():
        rows = (known & mask).nonzero().flatten()
        values = head.metrics(said[rows], targets[rows]) if len(rows) else {}
        metrics = {name: value if math.isfinite(value) else None for name, value in values.items()}
        described[modality] = PresentBranch(samples=len(rows), metrics=metrics)
    return described


def _partly(present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: mask for name, mask in present.items() if not bool(mask.all())}
