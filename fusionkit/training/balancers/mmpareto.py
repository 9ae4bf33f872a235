"""Gradients of the fused and of the uni-modal loss, integrated without conflict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import Step
from fusionkit.training.balancers.separate_gradients import MergedGradients
from fusionkit.training.balancers.terms import sum_branches


@BALANCERS.register("mmpareto")
class MMPareto(MergedGradients):
    r"""A direction for every encoder that helps its uni-modal loss without harming the fused one.

    .. math::
        h = 2 a g_f + 2 (1 - a) g_u, \qquad
        a = \begin{cases} \frac{1}{2} & \cos(g_f, g_u) > 0 \\
        \frac{(g_u - g_f)^\top g_u}{\lVert g_f - g_u \rVert^2} & \text{otherwise} \end{cases}

    .. math::
        g = \gamma \max\left(1, \frac{\lVert g_f + g_u \rVert}{\lVert h \rVert}\right) h

    :math:`g_f` and :math:`g_u` are the gradients of the fused and of the modality's own loss (each summed over
    targets) with respect to the modality's encoder. Where they agree, both count alike. Where they conflict, a makes
    h the shortest vector between them, which descends on both; it is then lengthened to what the plain sum would have
    been, and by :math:`\gamma`, since short steps generalise worse. Choose it where uni-modal losses help the encoders
    but disturb the fusion (as `multi_term` lets them). Heads and fusion follow their own
    gradient. It acts in training only and costs a backward pass per branch instead of one.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        gamma: Factor on the encoders' gradients, positive; 1 leaves agreeing gradients at their sum.

    Source:
        Wei and Hu 2024, arXiv:2405.17730, section 3 and algorithm 1 (equations without numbers), and the
        authors' program for :math:`\gamma = 1.5` and for a cosine of exactly 0, which counts as conflict. What
        differs: the two-vector minimum has a closed form, used in place of their iterative solver; the length is
        restored for an encoder as a whole, their program does it tensor by tensor; where the shortest vector is zero
        (opposite gradients), the encoder rests. With several processes each integrates the gradients of its own
        batch.

    Example:
        >>> fused, own = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
        >>> MMPareto(("audio",), ("mood",), gamma=1.0).integrate(fused, own)
        tensor([0.4472, 0.8944])
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        gamma: Annotated[float, Field(gt=0)] = 1.5,
    ) -> None:
        super().__init__()
        self.gamma = gamma

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Sums each branch's terms over targets."""
        return sum_branches(terms)

    def merge(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Integrates the two gradients of an encoder; those of other blocks are summed."""
        fused = gradients.get("fused")
        own = [gradient for branch, gradient in gradients.items() if branch != "fused"]
        if fused is None or len(own) != 1:
            return torch.stack(tuple(gradients.values())).sum(dim=0)
        return self.integrate(fused, own[0])

    def integrate(self, fused: Tensor, own: Tensor) -> Tensor:
        """Computes the gradient of an encoder from that of the fused and that of its own loss."""
        difference = (fused - own).square().sum()
        dot = fused @ own
        shortest = ((own @ own - dot) / difference.clamp(min=torch.finfo(fused.dtype).tiny)).clamp(0, 1)
        share = torch.where(dot > 0, torch.full_like(dot, 0.5), shortest)
        direction = 2 * share * fused + 2 * (1 - share) * own
        length, wanted = direction.norm(), (fused + own).norm()
        rest = length <= 16 * torch.finfo(fused.dtype).eps * (fused.norm() + own.norm())
        stretch = torch.where(rest, torch.zeros_like(length), (wanted / length).clamp(min=1))
        return self.gamma * torch.where(rest, torch.zeros_like(direction), stretch * direction)
