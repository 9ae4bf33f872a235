"""Encoders that stay close to their separately trained teachers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Balancer, Step
from fusionkit.nn.distributed import mean_over_union
from fusionkit.training.balancers.terms import split_terms


@BALANCERS.register("umt")
class UniModalTeacher(Balancer):
    r"""Teachers, each encoder trained alone first, to whose features those of the joint network are drawn.

    .. math::
        L = L_{\mathrm{fused}} + \lambda \sum_m \frac{1}{n_m d_m} \sum_i
        \lVert \hat f_{m,i} - \hat f^{\mathrm{teacher}}_{m,i} \rVert^2

    :math:`\hat f_m` are the features of modality m, :math:`d_m` their width, the teacher the same branch trained by
    itself and frozen. Joint training leaves what a modality could have learned alone half learned; the teachers hold
    on to it. Choose it where a modality alone is better than the joint network's branch. It needs uni-modal heads,
    which the teachers learn by. It acts in training only and costs no further backward pass, but a training of every
    branch beforehand and a forward pass of the teachers per step.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        weight: :math:`\lambda`, at least 0.
        unimodal_weight: Weight of the uni-modal losses beside it; 0 in the paper, where the joint network's uni-modal
            heads stay untrained.

    Source:
        Du et al. 2023, arXiv:2305.01233, section on Uni-Modal Teacher. We do not know one value of :math:`\lambda` that
        the authors give for all data; the default is ours. What differs: the features are normalised per width, and
        the distance counts samples that have the modality.

    Example:
        >>> UniModalTeacher(("audio", "video"), ("mood",)).teachers
        ('audio', 'video')
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        weight: Annotated[float, Field(ge=0)] = 1.0,
        unimodal_weight: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        self.teachers = modalities
        self.weight, self.unimodal_weight = weight, unimodal_weight

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Adds a term ``teacher/<modality>`` for each distance."""
        assert step.output is not None
        fused, own = split_terms(terms, self.unimodal_weight)
        counted = {**fused, **own} if fused else terms
        weighted = {name: counted[name] for name in terms if name in counted}
        if step.teacher is None or not self.weight:
            return weighted
        for name in self.teachers:
            here = step.output.present[name]
            away = step.output.features[name] - step.teacher.features[name]
            distance = away.to(torch.promote_types(away.dtype, torch.float32)).square().mean(dim=1)
            mean = mean_over_union(distance[here])  # always: other processes wait for this one
            if mean.requires_grad:  # else the branch is frozen, or absent from the batch
                weighted[f"teacher/{name}"] = self.weight * mean
        return weighted
