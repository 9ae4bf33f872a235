"""The coverage of sets and intervals on samples that a calibration was not learned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.evaluation.bootstrap import RESAMPLES, SEED, draw_counts, find_limits
from fusionkit.evaluation.predictions import Predictions
from fusionkit.inference.calibration.calibrator import Refined, name_subsets, order_subsets, refine
from fusionkit.inference.calibration.temperature import find_losses
from fusionkit.interfaces import LossHead
from fusionkit.models.loss_heads.class_metrics import expected_calibration_error
from fusionkit.storage.records.calibration import CalibratedTarget, Held
from fusionkit.storage.records.document import Figure, figure

EVERYTHING = "all"
"""The name of all samples, among those of their modalities."""


@dataclass(frozen=True)
class Tested:
    """The test samples that state a target and that a branch answers.

    Args:
        said: The distribution of each.
        wanted: The target of each.
        groups: Their groups.
        subsets: The modalities that the branch answers by.
    """

    said: Tensor
    wanted: Tensor
    groups: Sequence[str]
    subsets: Sequence[str]


def select_tested(head: LossHead, test: Predictions, where: tuple[str, str]) -> Tested | None:
    """Selects the test samples that state a target and that a branch answers; None where there are none.

    Args:
        head: The loss head.
        test: What the network says of the test part.
        where: The branch and the target.
    """
    branch, target = where
    targets = test.targets[target]
    rows = (head.find_known(targets) & test.spoken(branch)).nonzero().flatten()
    if not len(rows):
        return None
    return Tested(
        test.distributions[branch][target][rows],
        targets[rows],
        [test.groups[row] for row in rows.tolist()],
        name_subsets(branch, {name: mask[rows] for name, mask in test.present.items()}),
    )


def judge_coverage(of: CalibratedTarget, head: LossHead, tested: Tested | None, level: float) -> Mapping[str, Held]:
    """Judges sets, intervals and probabilities on all test samples, and on those of each subset of modalities.

    Args:
        of: What was learned of the target in the branch.
        head: The loss head.
        tested: The test samples.
        level: The level of sets and intervals.

    Returns:
        By modalities, all samples first; nothing where there is no sample.
    """
    if tested is None:
        return {}
    said, wanted, names = tested.said, tested.wanted, tested.subsets
    refined = refine(of, said, head.predict(said), names, level)
    held, sizes = find_covered(head, refined, wanted), _measure_sizes(refined)
    masks = {EVERYTHING: torch.ones(len(names), dtype=torch.bool)}
    masks |= {subset: torch.tensor([name == subset for name in names]) for subset in order_subsets(names)}
    found = {}
    for subset, mask in masks.items():
        chosen = [group for group, taken in zip(tested.groups, mask.tolist(), strict=True) if taken]
        found[subset] = Held(
            samples=len(chosen),
            groups=len(set(chosen)),
            own=bool(refined.own[mask].all()),
            coverage=average_over_groups(held[mask].double(), chosen),
            size=sizes[mask].mean(dim=0).tolist(),
            **_judge_probabilities(head, said[mask], refined.probabilities[mask], wanted[mask], chosen),
        )
    return found


def find_covered(head: LossHead, refined: Refined, wanted: Tensor) -> Tensor:
    """Finds the samples whose set or interval holds the truth: of labels all that are there, of numbers all stated."""
    if refined.limits is not None:
        low, high = refined.limits
        numbers = wanted.double().reshape(low.shape)
        return (((numbers >= low) & (numbers <= high)) | numbers.isnan()).all(dim=1)
    held = torch.zeros(len(wanted), len(head.classes), dtype=torch.bool) if refined.sets is None else refined.sets
    if head.kind == "classes":
        return held.gather(1, wanted.long()[:, None])[:, 0]
    return (held | (wanted != 1)).all(dim=1)


def average_over_groups(values: Tensor, groups: Sequence[str]) -> Figure:
    """Averages over groups the mean of each, with a 95 % interval by bootstrap over groups where there are several."""
    names = sorted(set(groups))
    place = {name: position for position, name in enumerate(names)}
    of = torch.tensor([place[group] for group in groups])
    sums = torch.zeros(len(names), dtype=torch.float64).index_add(0, of, values.double())
    means = sums / torch.bincount(of, minlength=len(names))
    if len(names) < 2:
        return figure(float(means.mean()))
    drawn = draw_counts(len(names), RESAMPLES, SEED) @ means / len(names)
    return figure(float(means.mean()), find_limits(drawn))


def _measure_sizes(refined: Refined) -> Tensor:
    if refined.limits is not None:
        return refined.limits[1] - refined.limits[0]
    return refined.probabilities.new_zeros(0) if refined.sets is None else refined.sets.double().sum(1, keepdim=True)


def _judge_probabilities(
    head: LossHead, before: Tensor, after: Tensor, wanted: Tensor, groups: Sequence[str]
) -> dict[str, list[float] | Figure]:
    if head.kind == "numbers":
        return {}
    losses = [find_losses(head.kind, said, wanted) for said in (before, after)]
    found: dict[str, list[float] | Figure] = {
        "nll": [float(each.mean()) for each in losses],
        "gain": average_over_groups(losses[0] - losses[1], groups),
    }
    if head.kind == "classes":
        found["ece"] = [float(expected_calibration_error(said, wanted)) for said in (before, after)]
    return found
