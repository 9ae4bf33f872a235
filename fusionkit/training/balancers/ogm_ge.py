"""On-the-fly gradient modulation with generalisation enhancement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, GradientScale, Step
from fusionkit.training.balancers.likelihood import estimate_likelihoods


@BALANCERS.register("ogm_ge")
class OgmGe(Balancer):
    r"""Smaller gradients for the encoder of the modality that is ahead, and noise on the gradients of all.

    .. math::
        \rho_m = \frac{s_m}{\frac{1}{M - 1} \sum_{m' \ne m} s_{m'}}, \qquad
        k_m = \begin{cases} 1 - \tanh(\alpha \, \mathrm{relu}(\rho_m)) & \rho_m > 1 \\ 1 & \text{otherwise}
        \end{cases}, \qquad
        g_m \leftarrow k_m g_m + \mathrm{std}(g_m) z, \quad z \sim N(0, 1)

    :math:`s_m` is how well modality m alone explains the batch: the mean over its samples of :math:`e^{-\ell}`, which
    for cross-entropy is the probability of the true class. The modality that explains more than the others has its
    gradient shrunk, so the others can catch up; the noise, as large as the gradient's own spread in each tensor,
    keeps the smaller gradients from settling in sharp minima. Choose it where one modality learns faster and the
    others then stop. It needs uni-modal heads, whose losses stay in the sum. It acts in training, in epochs `starts`
    to `ends`, and costs no further backward pass.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        alpha: How strongly the modality that is ahead is slowed, positive.
        noise: Add the noise (GE); without it this is OGM.
        starts: First epoch, counted from 0, that is modulated.
        ends: Last epoch that is modulated.

    Raises:
        TrainingError: The encoders learn, but the model has no uni-modal heads.

    Source:
        Peng et al. 2022, https://doi.org/10.1109/CVPR52688.2022.00806 (arXiv:2203.15332), section 3: the discrepancy
        ratio, the coefficient and the noise (eqs. (8)-(12); we could not check the numbers against the print).
        `alpha` is the authors' for CREMA-D, `starts` and `ends` their program's. What differs: their scores are the
        halves of a linear layer on the concatenation, here the uni-modal heads', which any fusion has; their ratio is
        of two modalities, here to the mean of the others, the same for two; :math:`e^{-\ell}` in place of the
        probability admits numbers; their program modulates four-dimensional convolution weights only, here all
        parameters of the branch, as in the paper's text, its uni-modal head included.

    Example:
        >>> import torch
        >>> balancer = OgmGe(("audio", "video"), ("emotion",))
        >>> scales = balancer.scales({"audio": torch.tensor(0.8), "video": torch.tensor(0.4)})
        >>> [round(scales[name].item(), 4) for name in ("audio", "video")]
        [0.0783, 1.0]
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        alpha: Annotated[float, Field(gt=0)] = 0.8,
        noise: bool = True,
        starts: Annotated[int, Field(ge=0)] = 0,
        ends: Annotated[int, Field(ge=0)] = 50,
    ) -> None:
        super().__init__()
        self.modalities, self.alpha, self.noise, self.starts, self.ends = modalities, alpha, noise, starts, ends

    def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
        """Returns the coefficient and the noise of every branch that can be compared with another."""
        if not self.starts <= step.epoch <= self.ends:
            return {}
        scales = self.scales(estimate_likelihoods(step, self.modalities, "ogm_ge"))
        return {name: GradientScale(scale, 1.0 if self.noise else 0.0) for name, scale in scales.items()}

    def scales(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Computes the coefficients of the modalities by their scores; none where there is only one."""
        if len(scores) < 2:
            return {}
        total = torch.stack(tuple(scores.values())).sum()
        found = {}
        for name, score in scores.items():
            ratio = score * (len(scores) - 1) / (total - score)
            found[name] = torch.where(ratio > 1, 1 - torch.tanh(self.alpha * ratio.relu()), torch.ones_like(ratio))
        return found
