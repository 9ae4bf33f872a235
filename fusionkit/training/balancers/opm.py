"""On-the-fly prediction modulation: the modality that is ahead is dropped more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, Step
from fusionkit.training.balancers.likelihood import estimate_likelihoods
from fusionkit.training.balancers.presence import drop_modalities

Probability = Annotated[float, Field(ge=0, le=1)]


@BALANCERS.register("opm")
class OPM(Balancer):
    r"""A fusion without the modality that is ahead, the more often the further it is ahead.

    .. math::
        q_m = \begin{cases} \min\bigl(1, q_0 (1 + \lambda \tanh(\rho_m - 1))\bigr) & \rho_m > 1 \\ 0 & \text{otherwise}
        \end{cases}, \qquad
        \hat f_{m,i} \leftarrow \frac{\delta_{m,i}}{1 - \theta} \hat f_{m,i}, \quad
        \delta_{m,i} \sim \mathrm{Bernoulli}(1 - q_m), \quad \theta = \frac{\sum_m d_m q_m}{\sum_m d_m}

    :math:`\rho_m` is how well modality m alone explains the samples against the mean of the others, as in `ogm_ge`;
    :math:`d_m` is the width of its features. While one modality dominates, the fused loss hardly reaches the encoders
    of the others; without it, it does. Choose it in place of `modality_dropout` where it is not known in advance which
    modality dominates, and beside no other hook on features. The dropping is done in a share `execute` of the steps. It
    needs uni-modal heads, whose losses stay in the sum. It acts in training only, and costs no further backward pass.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        base: Probability :math:`q_0` at which a modality that is ahead is dropped, 0 to 1.
        strength: :math:`\lambda`, how much it grows with the lead, at least 0.
        execute: Share of the steps in which anything is dropped, 0 to 1.
        starts: First epoch, counted from 0, in which anything is dropped.

    Raises:
        TrainingError: The encoders learn, but the model has no uni-modal heads.

    Source:
        Wei et al. 2024, arXiv:2410.11582, section on OPM (equations restated from the authors' program, whose values
        are the defaults: 0.5, 0.5, 0.7 and a warm-up of epochs 0 to 5). What differs: the ratio is that of the last
        step, since the features are dropped before this step's scores exist; it is to the mean of the others, the
        same for two modalities; a dropped modality becomes the model's learned placeholder, not zero; a sample that
        has nothing else keeps it, where their program leaves the sample out. A fusion that reads sequences is told
        who is absent, but its sequences are not rescaled.

    Example:
        >>> balancer = OPM(("audio", "video"), ("mood",))
        >>> balancer.rates(torch.tensor([0.8, 0.4]))
        tensor([0.6904, 0.0000])
    """

    scores: Tensor

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        base: Probability = 0.5,
        strength: Annotated[float, Field(ge=0)] = 0.5,
        execute: Probability = 0.7,
        starts: Annotated[int, Field(ge=0)] = 6,
    ) -> None:
        super().__init__()
        self.modalities, self.base, self.strength = modalities, base, strength
        self.execute, self.starts = execute, starts
        self.register_buffer("scores", torch.full((len(modalities),), float("nan")))

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Leaves the terms as they are, and remembers how well each modality alone does."""
        for name, score in estimate_likelihoods(step, self.modalities, "opm").items():
            self.scores[self.modalities.index(name)] = score
        return terms

    def replace_features(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], step: Step
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Returns rescaled features, fewer of them present."""
        luck = torch.rand(())
        if step.epoch < self.starts or luck >= self.execute:
            return features, present
        rates = dict(zip(self.modalities, self.rates(self.scores), strict=True))
        widths = {name: feature.shape[1] for name, feature in features.items()}
        theta = torch.stack([widths[name] * rates[name] for name in features]).sum() / sum(widths.values())
        scale = torch.where(theta < 1, 1 / (1 - theta), torch.ones_like(theta))
        scaled = {name: feature * scale.to(feature.dtype) for name, feature in features.items()}
        return scaled, drop_modalities(present, rates)

    def rates(self, scores: Tensor) -> Tensor:
        """Computes the probability of each modality to be dropped, zero where its score or all others are NaN."""
        here = ~scores.isnan()
        counted = torch.where(here, scores, 0.0)
        others = (counted.sum() - counted) / (here.sum() - here.to(scores.dtype)).clamp(min=1)
        lead = torch.where(here & (here.sum() > 1), counted / others.clamp(min=torch.finfo(scores.dtype).tiny) - 1, 0.0)
        rate = self.base * (1 + self.strength * lead.clamp(min=0).tanh())
        return torch.where(lead > 0, rate.clamp(max=1), 0.0)
