"""The calibration of a run: learned on the groups that its training set aside, measured on its test part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import torch
from scipy.stats import beta
from torch import Tensor

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.samples import encode_targets
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import hash_split
from fusionkit.errors import RunError
from fusionkit.evaluation.bootstrap import FEW_GROUPS
from fusionkit.evaluation.calibration.coverage import judge_coverage
from fusionkit.evaluation.calibration.novelty import count_unfamiliar, learn_familiar
from fusionkit.evaluation.card import assemble_run, require_same_data
from fusionkit.evaluation.predictions import Predictions, predict_samples
from fusionkit.inference.branches import CONSTANT, trained_branches
from fusionkit.inference.calibration.calibrator import name_subsets, order_subsets, refuse_no_level
from fusionkit.inference.calibration.conformal import count_needed_groups, score_samples, weigh_samples
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
    novelty: bool = True,
    device: str | None = None,
    datasets: Datasets | None = None,
) -> Calibration:
    """Calibrates a finished run, and leaves the calibration in its folder.

    Temperatures and conformal scores are learned on the groups that ``train.select: inner`` set aside, which trained no
    weight; the epoch was selected on them, too. Coverage is measured on the test part, which neither saw.

    Args:
        run: The run.
        level: The level of sets and intervals, whose coverage is measured.
        novelty: Whether to learn what samples of the training are like, for which they are read once more.
        device: Where to compute; a GPU where there is one, when left out.
        datasets: Datasets that are open; when left out it opens its own.

    Raises:
        RunError: The run set no groups aside, or too few for the level, groups stand on both sides of the split, it
            has not finished, or its weights or data are others than when it was trained.
    """
    refuse_no_level(level)
    recipe, weights = run.recipe, run.sha256_of_weights()
    if recipe.train.select != "inner":
        why = {
            "last": "set no groups aside (train.select: last)",
            "best": "selected its epoch on the test part (train.select: best)",
        }[recipe.train.select]
        remedy = "train it with train.select=inner, and calibrate that run"
        raise RunError(f"{run.path}: {why}, so that there is nothing to learn a calibration on; {remedy}")
    assembly = assemble_run(run, datasets)
    require_same_data(run, assembly)
    _require_groups(run, assembly, level)
    branches, chosen = trained_branches(recipe), choose_device(device)
    model = load_network(run, assembly.recipe)
    aside = predict_samples(model, assembly, assembly.validation_ids, branches, chosen)
    test = predict_samples(model, assembly, assembly.test_ids, branches, chosen)
    spread = _find_spreads(model, assembly)
    learned = {
        branch: {
            target: _learn_target(model.head(target), branch, target, aside, spread[target]) for target in model.targets
        }
        for branch in aside.trained
        if branch != CONSTANT
    }
    familiar = {}
    if novelty:
        training = predict_samples(model, assembly, assembly.train_ids, branches, chosen)
        familiar = learn_familiar(training, aside)
    environment = describe_environment(str(chosen))
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
        notes=[*_describe(assembly, test), *_describe_temperatures(learned[branches.main])],
        versions={name: environment[name] for name in ("fusionkit", "torch", "python")},
        commit=environment["commit"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        branches=learned,
        held={
            branch: {
                target: judge_coverage(of, model.head(target), test, (branch, target), level)
                for target, of in targets.items()
            }
            for branch, targets in learned.items()
        },
        unfamiliar=count_unfamiliar(familiar, test),
    )
    write_calibration(run, calibration)
    write_novelty(run, familiar)
    return calibration


def _require_groups(run: RunFolder, assembly: Assembly, level: float) -> None:
    """Refuses a split with groups on both sides, and a part set aside that is of too few groups for a level.

    Raises:
        RunError: It is one.
    """
    if assembly.overlap_label.endswith("-dependent"):
        message = f"its split is {assembly.overlap_label}: groups of the test part, or their files, were trained on"
        remedy = "coverage of new groups cannot be measured on it; train on a split without allow_group_overlap"
        raise RunError(f"{run.path}: {message}; {remedy}")
    rows = {row.id: row for row in assembly.dataset.rows}
    found, trained = (
        len({rows[name].group or name for name in ids}) for ids in (assembly.validation_ids, assembly.train_ids)
    )
    needed = count_needed_groups(level)
    if found >= needed:
        return
    kind = "samples" if assembly.overlap_label == "no groups" else "groups"
    message = f"{found} {kind} were set aside, and level {level:g} needs {needed}"
    remedies = [f"give --level {math.floor(100 * found / (found + 1)) / 100:g} or less"] if found else []
    if needed < found + trained:
        share = math.ceil(100 * needed / (found + trained)) / 100
        remedies.append(f"train with train.inner_fraction={share:g}, which sets {needed} of {found + trained} aside")
    else:
        remedies.append(f"bring more {kind}: there are {found + trained} to train on and to set aside")
    raise RunError(f"{run.path}: {message}; {', or '.join(remedies)}")


def _find_spreads(model: FusionModel, assembly: Assembly) -> dict[str, list[float]]:
    """Finds the spread of every number over the samples that were trained on, not over those set aside."""
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
    """Learns what the samples set aside teach of a target in a branch.

    Raises:
        RunError: None of them states the target, or has the modality of the branch.
    """
    targets = aside.targets[target]
    rows = (head.find_known(targets) & aside.spoken(branch)).nonzero().flatten()
    if not len(rows):
        raise RunError(f"none of the samples set aside states {target} and has what the branch {branch!r} answers by")
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


def _count(predictions: Predictions) -> Samples:
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
    """Says of which targets no temperature could be learned, since every sample set aside is right."""
    names = [name for name, of in learned.items() if of.everything.temperature == 1]
    if not names:
        return []
    said = "every answer to the samples set aside is right, so they do not tell how sure it may be"
    return [f"{', '.join(names)}: {said}. The temperature stays 1."]


def _describe(assembly: Assembly, test: Predictions) -> list[str]:
    name = assembly.dataset.group_name
    named = "groups" if name == "group" else f"groups ({name})"
    notes = [
        f"What is promised holds for new {named} if they are like those set aside, drawn from the same, and on average "
        "over groups and over calibrations; not for each group by itself.",
        "The epoch was selected on the same samples that the calibration was learned on.",
    ]
    if assembly.overlap_label == "no groups":
        notes[0] = (
            "No sample has a group, so samples count as independent of each other. Where several come from one person, "
            "machine or day, sets and intervals hold less often than they say."
        )
    if len(set(test.groups)) < FEW_GROUPS:
        notes.append(f"The test part has {len(set(test.groups))} groups: too few to tell what the coverage is.")
    return [*notes, *assembly.dataset.cautions]
