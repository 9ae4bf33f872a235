"""Conflicting gradients, projected onto each other's normal planes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.training.balancers.separate_gradients import MergedGradients


@BALANCERS.register("pcgrad")
class PCGrad(MergedGradients):
    r"""Gradients of loss terms, each without the part that points against another term's.

    .. math::
        g_i^{\mathrm{PC}} \leftarrow g_i^{\mathrm{PC}}
        - \frac{g_i^{\mathrm{PC}} \cdot g_j}{\lVert g_j \rVert^2} g_j
        \quad \text{for each } j \ne i \text{ with } g_i^{\mathrm{PC}} \cdot g_j < 0, \qquad
        g = \sum_i g_i^{\mathrm{PC}}

    i and j are loss terms, :math:`g_i` their gradients with respect to the parameters that they share: an encoder
    is shared by its uni-modal terms and the fused ones, the fusion by the fused terms of several targets. Terms that
    agree are summed as always; of two that conflict, each keeps only what does not undo the other. The j are visited
    in an order drawn anew for each i. Choose it where `multi_term` lets terms undo each other. It acts in
    training only and costs a backward pass per loss term instead of one.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.

    Source:
        Yu et al. 2020, arXiv:2001.06782, algorithm 1 and definition 1. What differs: the projection is done for every
        shared block by itself (an encoder, the fusion) rather than for all parameters as one vector, since two
        encoders share nothing. The order is drawn from the step's seed, so a resumed run draws the same. With several
        processes each projects the gradients of its own batch.

    Example:
        >>> gradients = {"fused": torch.tensor([1.0, 0.0]), "audio": torch.tensor([-1.0, 1.0])}
        >>> PCGrad(("audio",), ("mood",)).merge(gradients)
        tensor([0.5000, 1.5000])
    """

    def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...]) -> None:
        super().__init__()

    def merge(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Sums the projected gradients of a block."""
        given = list(gradients.values())
        projected = []
        for place, gradient in enumerate(given):
            for index in torch.randperm(len(given)).tolist():
                if index != place:
                    other = given[index]
                    against = (gradient @ other).clamp(max=0) / (other @ other).clamp(min=torch.finfo(other.dtype).tiny)
                    gradient = gradient - against * other  # noqa: PLW2901
            projected.append(gradient)
        return torch.stack(projected).sum(dim=0)
