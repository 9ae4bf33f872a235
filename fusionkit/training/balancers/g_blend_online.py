"""Gradient blending, online: the weights of branches are estimated anew every few epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, EpochPlan, Review, Step

SMALLEST = 1e-6


@BALANCERS.register("g_blend_online")
class GBlendOnline(Balancer):
    r"""The branches' losses, weighted by how each generalises and overfits over the next few epochs by itself.

    .. math::
        L = \sum_b w_b L_b, \qquad w_b = \frac{1}{Z} \frac{\Delta G_b}{\Delta O_b^2}, \qquad \sum_b w_b = 1

    .. math::
        \Delta G_b = L^V_b(N) - L^V_b(N + n), \qquad
        \Delta O_b = \bigl(L^V_b - L^T_b\bigr)(N + n) - \bigl(L^V_b - L^T_b\bigr)(N)

    As in `g_blend`, b are the branches, fused and uni-modal, T and V the losses on training and held-out samples. At
    epochs N = 0, n, 2n, ... each branch is trained by itself for n epochs from the current weights; what it gained and
    how far it overfitted give its weight for the next n epochs, and the network goes on from where it was. So a branch
    that begins to overfit weighs less from then on. Choose it where `g_blend`'s one estimate is too coarse, or where
    its trainings beforehand are a burden. A branch whose held-out loss did not fall weighs 0; where that is true of
    every branch, the weights stay (equal ones at the start of a stage). It acts in training only and costs a training
    of every branch beside the joint one: with the fused branch among them, more than twice the time.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        every: n, epochs from one estimate to the next, which are the epochs of the trainings that estimate.

    Source:
        Wang, Tran and Feiszli 2020, https://doi.org/10.1109/CVPR42600.2020.01271 (arXiv:1905.12681), proposition 1 and
        the online algorithm; n is the size of its super-epochs, whose default here is the one that we remember, not
        checked. What differs: a negative :math:`\Delta G` counts as 0 and a :math:`\Delta O` below 1e-6 as 1e-6; the
        trainings that estimate have an optimizer of their own at the rate of epoch N; the held-out samples are the
        inner groups of ``train.select: inner``; several targets share the weight of their branch, by the sum of their
        losses.

    Example:
        >>> balancer = GBlendOnline(("audio",), ("mood",))
        >>> before, fits, overfits = (1.0, 1.2), (0.5, 0.9), (0.1, 1.1)
        >>> ratios = [ratio(before, fits), ratio(before, overfits)]
        >>> [round(each, 4) for each in ratios]
        [7.5, 0.1562]
    """

    weights: Tensor

    held_out = True

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        every: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        super().__init__()
        self.branches, self.every = ("fused", *modalities), every
        self.register_buffer("weights", torch.ones(len(self.branches)))

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Multiplies every term by the weight of its branch, where there are several branches to weigh."""
        if len({name.partition("/")[0] for name in terms}) < 2:
            return terms
        weights = self.weights / self.weights.sum()
        return {name: weights[self.branches.index(name.partition("/")[0])] * term for name, term in terms.items()}

    def before_epoch(self, review: Review) -> EpochPlan:
        """Estimates the weights, where that is due."""
        if review.epoch % self.every or len(review.branches) < 2:
            return EpochPlan()
        if not review.epoch:
            self.weights.fill_(1.0)  # what another stage found is of other branches
        before = _measure_losses(review, review.branches)
        ratios = torch.zeros_like(self.weights)
        for branch in review.branches:
            with review.trial(branch, self.every):
                after = _measure_losses(review, (branch,))
            ratios[self.branches.index(branch)] = ratio(before[branch], after[branch])
        if ratios.any():
            self.weights.copy_(ratios / ratios.sum())
        return EpochPlan()


def ratio(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Divides generalisation by squared overfitting, from the training and held-out losses at two checkpoints."""
    generalisation = before[1] - after[1]
    overfitting = (after[1] - after[0]) - (before[1] - before[0])
    return max(0.0, generalisation) / max(abs(overfitting), SMALLEST) ** 2


def _measure_losses(review: Review, branches: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Returns by branch its loss on training and on held-out samples."""
    training, held = (_average_losses(review.walk(samples), branches) for samples in ("training", "held_out"))
    return {branch: (training[branch], held[branch]) for branch in branches}


def _average_losses(steps: Iterable[Step], branches: Sequence[str]) -> dict[str, float]:
    """Averages each branch's loss over samples and sums it over targets; 0 where no sample counts."""
    losses: dict[tuple[str, str], list[Tensor]] = {}
    for step in steps:
        assert step.output is not None
        for branch in branches:
            scores = step.output.fused if branch == "fused" else step.output.unimodal.get(branch, {})
            for target, of in scores.items():
                each = step.loss_of(f"{branch}/{target}", of)
                losses.setdefault((branch, target), []).append(each[~each.isnan()].double())
    sums = dict.fromkeys(branches, 0.0)
    for (branch, _), parts in losses.items():
        values = torch.cat(parts)
        sums[branch] += float(values.mean()) if len(values) else 0.0
    return sums
