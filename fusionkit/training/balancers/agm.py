"""Adaptive gradient modulation by each modality's share of the fused scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, GradientScale, Step
from fusionkit.training.balancers.likelihood import average_known

MOST = 10.0


@BALANCERS.register("agm")
class AGM(Balancer):
    r"""Smaller gradients for the encoder of a modality whose share of the fused answer is better than usual.

    .. math::
        \phi_m = \sum_{S \subseteq M \setminus \{m\}} \frac{|S|! \, (|M| - |S| - 1)!}{|M|!}
        \bigl(F(S \cup \{m\}) - F(S)\bigr), \qquad F(\emptyset) = 0

    .. math::
        r_m = \exp\Bigl(\frac{1}{|M| - 1} \sum_{m' \ne m} (s_m - s_{m'})\Bigr), \qquad
        k_m = \exp\bigl(-\alpha (r_m - \tau_m)\bigr)

    F(S) are the fused scores where only the modalities S are present, so :math:`\phi_m` is modality m's Shapley share
    of the scores and the shares add up to F(M). :math:`s_m` is the mean over samples of minus the loss that
    :math:`\phi_m` alone would have; :math:`\tau_m` is the same ratio of the running means of s over all steps so far.
    The encoder's gradient is multiplied by :math:`k_m`: below one while the modality does better against the others
    than it usually does, above one while it does worse. It looks at the fusion itself, so it works for every fusion
    and needs no uni-modal heads. Choose it where `ogm_ge` would be chosen but the fusion is no concatenation. It acts
    in training only and costs no further backward pass, but :math:`2^{|M|} - 1` forward passes in evaluation mode.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        alpha: How strongly gradients are modulated, positive.

    Source:
        Li et al. 2023 (ICCV), arXiv:2308.07686, section 3 (equations restated
        from a public implementation for two modalities; their numbers and alpha could not be checked against the
        print). What differs: any loss in place of the cross-entropy admits numbers and several targets (their losses
        are summed); k scales the gradient of the whole branch where the paper scales the response :math:`\phi_m`; the
        exponent is at most 10 alpha, as in that implementation. Its variant for three modalities has s with the other
        sign, which slows the modality that lags; here every number of modalities has the sign of two.

    Example:
        >>> balancer = AGM(("audio", "video"), ("mood",), alpha=1.0)
        >>> [round(k, 4) for k in balancer.coefficients(torch.tensor([-0.1, -0.5])).tolist()]
        [0.6115, 1.3905]
    """

    mean: Tensor
    steps: Tensor

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        alpha: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__()
        self.modalities, self.alpha = modalities, alpha
        self.register_buffer("mean", torch.zeros(len(modalities)))
        self.register_buffer("steps", torch.zeros(len(modalities)))

    @torch.no_grad()
    def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
        """Returns the coefficient of every branch that has a sample in the batch."""
        if len(self.modalities) < 2 or step.output is None or not step.output.fused:
            return {}
        scores = self._score_modalities(step).to(self.mean.dtype)
        # The usual ratio is that of the steps before: this one enters the means afterwards.
        scales = self.coefficients(scores)
        here = ~scores.isnan()
        self.steps += here
        self.mean += torch.where(here, (scores - self.mean) / self.steps.clamp(min=1), 0.0)
        return {name: GradientScale(scales[place]) for place, name in enumerate(self.modalities)}

    def coefficients(self, scores: Tensor) -> Tensor:
        """Computes the coefficients by modality from their scores, one where a score is NaN."""
        here = ~scores.isnan()
        surplus = (_exponentiate_lead(self.mean, here) - _exponentiate_lead(scores, here)).clamp(max=MOST)
        return torch.where(here, (self.alpha * surplus).exp(), 1.0)

    def _score_modalities(self, step: Step) -> Tensor:
        assert step.output is not None
        fused = {
            subset: step.scores_of(subset)
            for size in range(1, len(self.modalities) + 1)
            for subset in combinations(self.modalities, size)
        }
        rows = []
        for name in self.modalities:
            total = torch.zeros((), device=self.mean.device)
            for target in step.output.fused:
                losses = step.loss_of(f"fused/{target}", self._find_share(name, target, fused))
                total = total - average_known(torch.where(step.output.present[name], losses, torch.nan))
            rows.append(total)
        return torch.stack(rows)

    def _find_share(self, name: str, target: str, fused: Mapping[tuple[str, ...], Mapping[str, Tensor]]) -> Tensor:
        """Computes a modality's Shapley share of the scores of a target."""
        count = len(self.modalities)
        share = torch.zeros_like(fused[self.modalities][target])
        for subset, scores in fused.items():
            size = len(subset) - (name in subset)
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            share = share + (weight if name in subset else -weight) * scores[target]
        return share


def _exponentiate_lead(scores: Tensor, here: Tensor) -> Tensor:
    """Exponentiates by how much a modality is ahead of the mean of the others; among those that are here."""
    counted = torch.where(here, scores, 0.0)
    count = here.sum()
    # exp(89) is beyond single precision
    return ((count * counted - counted.sum()) / (count - 1).clamp(min=1)).clamp(max=80).exp()
