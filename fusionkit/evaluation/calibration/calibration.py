"""The calibration of a run: learned on groups that its training did not see, measured on its test part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from scipy.stats import beta
from torch import Tensor

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.samples import encode_targets
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import hash_split
from fusionkit.errors import RunError
from fusionkit.evaluation.bootstrap import FEW_GROUPS
from fusionkit.evaluation.calibration.coverage import judge_coverage, select_tested
from fusionkit.evaluation.calibration.novelty import count_unfamiliar, learn_familiar
from fusionkit.evaluation.calibration.reliability import find_curves
from fusionkit.evaluation.calibration.samples import CalibrationSamples, take_inner_groups, take_table
from fusionkit.evaluation.predictions import Predictions, predict_samples
from fusionkit.inference.answers import describe_head
from fusionkit.inference.branches import trained_branches
from fusionkit.inference.calibration.calibrator import name_subsets, order_subsets, refuse_no_level
from fusionkit.inference.calibration.conformal import score_samples, weigh_samples
from fusionkit.inference.calibration.novelty import write_novelty
from fusionkit.inference.calibration.temperature import LEAST_GROUPS, LEAST_SAMPLES, fit_temperature
from fusionkit.inference.trained import load_network
from fusionkit.interfaces import LossHead
from fusionkit.models.build import FusionModel
from fusionkit.storage.calibration_file import write_calibration
from fusionkit.storage.environment import choose_device, describe_environment
from fusionkit.storage.records.calibration import CalibratedTarget, Calibration, Learned, Samples
from fusionkit.storage.records.document import Interval
from fusionkit.storage.run_folder import RunFolder


def calibrate(
    run: RunFolder,
    level: float = 0.9,
    *,
    table: Path | None = None,
    group: str | None = None,
    root: Path | None = None,
    novelty: bool = True,
    device: str | None = None,
    datasets: Datasets | None = None,
) -> Calibration:
    """Calibrates a finished run, and leaves the calibration in its folder.

    Temperatures and conformal scores are learned on the groups that ``train.select: inner`` set aside, which trained no
    weight; the epoch was selected on them, too. Or they are learned on a labelled table of groups that the training did
    not see. Coverage is measured on the groups of the test part that neither saw.

    Args:
        run: The run.
        level: The level of sets and intervals, whose coverage is measured.
        table: The labelled table, with the columns of the training's; the groups set aside when left out.
        group: Its column of groups; that of the training when left out.
        root: The folder that its relative paths start from; its own when left out.
        novelty: Whether to learn what samples of the training are like, for which they are read once more.
        device: Where to compute; a GPU where there is one, when left out.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RunError: There are no groups to learn it on, or too few for the level, or they were trained on, the run has not
            finished, or its weights or data are others than when it was trained.
        DataError: The table or its files are wrong.
    """
    refuse_no_level(level)
    recipe, weights = run.recipe, run.sha256_of_weights()
    samples = (
        take_inner_groups(run, level, datasets)
        if table is None
        else take_table(run, table, level, group=group, root=root)
    )
    known, branches, chosen = samples.known, trained_branches(recipe), choose_device(device)
    model = load_network(run, samples.learned.recipe)
    aside = predict_samples(model, samples.learned, samples.learned_ids, branches, chosen, trained_on={})
    test = None
    if known is not None and samples.test_ids:
        test = predict_samples(model, known, samples.test_ids, branches, chosen)
    spread = _find_spreads(model, known)
    learned = {
        branch: {
            target: _learn_target(model.head(target), branch, target, aside, spread[target]) for target in model.targets
        }
        for branch in aside.trained
    }
    familiar = {}
    if novelty and known is not None:
        training = predict_samples(model, known, known.train_ids, branches, chosen)
        familiar = learn_familiar(training, aside)
    tested = {
        branch: {
            target: None if test is None else select_tested(model.head(target), test, (branch, target))
            for target in targets
        }
        for branch, targets in learned.items()
    }
    environment = describe_environment(str(chosen))
    assembly = known or samples.learned
    calibration = Calibration(
        format=Calibration.formats[-1],
        weights_sha256=weights,
        split_hash=hash_split(assembly.split),
        label=assembly.overlap_label,
        level=level,
        main=branches.main,
        aside=_count(aside),
        test=_count(test),
        expected=_expect(len(set(aside.groups)), level),
        notes=[*_describe(samples, test), *_describe_temperatures(learned[branches.main])],
        versions={name: environment[name] for name in ("fusionkit", "torch", "python")},
        commit=environment["commit"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        branches=learned,
        held={
            branch: {
                target: judge_coverage(of, model.head(target), tested[branch][target], level)
                for target, of in targets.items()
            }
            for branch, targets in learned.items()
        },
        unfamiliar={} if test is None else count_unfamiliar(familiar, test),
        table=samples.table,
        curves={
            target: find_curves(of, model.head(target), found)
            for target, of in learned[branches.main].items()
            if (found := tested[branches.main][target]) is not None
        },
        told_from=FEW_GROUPS,
    )
    write_calibration(run, calibration)
    write_novelty(run, familiar)
    return calibration


def _find_spreads(model: FusionModel, assembly: Assembly | None) -> dict[str, list[float]]:
    """Finds the spread of every number over the samples that were trained on; 1 each where they are not here.

    A spread of the samples that a calibration is learned on would be part of their scores, which `find_threshold`
    rules out.
    """
    if assembly is None:
        return {target: [1.0] * describe_head(model.head(target)).numbers for target in model.targets}
    training = set(assembly.train_ids)
    targets = encode_targets([row for row in assembly.dataset.rows if row.id in training], assembly.encoders)
    found = {}
    for target in model.targets:
        if model.head(target).kind != "numbers":
            found[target] = list[float]()
            continue
        columns = targets[target].double().reshape(len(training), -1).T
        spreads = [float(column[~column.isnan()].std(correction=0)) for column in columns]
        found[target] = [spread if math.isfinite(spread) and spread > 0 else 1.0 for spread in spreads]
    return found


def _learn_target(
    head: LossHead, branch: str, target: str, aside: Predictions, spread: Sequence[float]
) -> CalibratedTarget:
    """Learns what the samples of a calibration teach of a target in a branch.

    Raises:
        RunError: None of them states the target, or has the modality of the branch.
    """
    targets = aside.targets[target]
    rows = (head.find_known(targets) & aside.spoken(branch)).nonzero().flatten()
    if not len(rows):
        raise RunError(f"no sample to calibrate on states {target} and has what the branch {branch!r} answers by")
    said, wanted, unit = aside.distributions[branch][target][rows], targets[rows], torch.tensor(spread)
    groups = [aside.groups[row] for row in rows.tolist()]
    scores = score_samples(head.kind, _take_numbers(head, said), wanted, unit)

    def learn(mask: Tensor, *, own: bool) -> Learned:
        chosen = [group for group, taken in zip(groups, mask.tolist(), strict=True) if taken]
        many = len(chosen) >= LEAST_SAMPLES and len(set(chosen)) >= LEAST_GROUPS
        fits = head.kind != "numbers" and (many or not own)
        order = scores[mask].argsort()
        return Learned(
            samples=len(chosen),
            groups=len(set(chosen)),
            temperature=fit_temperature(head.kind, said[mask], wanted[mask]) if fits else None,
            scores=scores[mask][order].tolist(),
            weights=weigh_samples(chosen)[order].tolist(),
        )

    names = name_subsets(branch, {name: of[rows] for name, of in aside.present.items()})
    return CalibratedTarget(
        kind=head.kind,
        classes=list(head.classes),
        spread=list(spread),
        everything=learn(torch.ones(len(rows), dtype=torch.bool), own=False),
        subsets={
            subset: learn(torch.tensor([name == subset for name in names]), own=True) for subset in order_subsets(names)
        },
    )


def _take_numbers(head: LossHead, said: Tensor) -> Tensor:
    return head.predict(said) if head.kind == "numbers" else said


def _count(predictions: Predictions | None) -> Samples:
    if predictions is None:
        return Samples(samples=0, groups=0)
    return Samples(samples=len(predictions.sample_ids), groups=len(set(predictions.groups)))


def _expect(groups: int, level: float) -> Interval:
    r"""Finds where the coverage of a calibration lies in nine of ten, if each of K groups had one sample.

    .. math::
        \mathrm{coverage} \sim \mathrm{Beta}(k, K + 1 - k), \qquad k = \lceil (K + 1) \, \mathrm{level} \rceil

    Source:
        Vovk 2012, https://doi.org/10.1007/s10994-013-5355-6, proposition 2.
    """
    rank = min(groups, math.ceil((groups + 1) * level - 1e-9))
    low, high = beta.ppf([0.05, 0.95], rank, groups + 1 - rank)
    return Interval(low=float(low), high=float(high))


def _describe_temperatures(learned: Mapping[str, CalibratedTarget]) -> list[str]:
    """Says of which targets no temperature could be learned, since every answer is right."""
    names = [name for name, of in learned.items() if of.everything.temperature == 1]
    if not names:
        return []
    said = "every answer to the samples of the calibration is right, so they do not tell how sure it may be"
    return [f"{', '.join(names)}: {said}. The temperature stays 1."]


def _describe(samples: CalibrationSamples, test: Predictions | None) -> list[str]:
    learned = samples.learned
    name = learned.dataset.group_name
    named = "groups" if name == "group" else f"groups ({name})"
    those = "those set aside" if samples.table is None else f"those of {samples.table.name}"
    promise = (
        f"What is promised holds for new {named} if they are like {those}, drawn from the same, and on average "
        "over groups and over calibrations; not for each group by itself."
    )
    if all(row.group is None for row in learned.dataset.rows):
        promise = (
            "No sample has a group, so samples count as independent of each other. Where several come from one person, "
            "machine or day, sets and intervals hold less often than they say."
        )
    notes = [promise, *samples.notes]
    if test is not None and len(set(test.groups)) < FEW_GROUPS:
        notes.append(f"The test part has {len(set(test.groups))} groups: too few to tell what the coverage is.")
    cautions = [] if samples.known is None else samples.known.dataset.cautions
    return [*notes, *dict.fromkeys((*learned.dataset.cautions, *cautions))]
