"""The mean gradient, turned towards the loss term that it helps least."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.training.balancers.separate_gradients import MergedGradients

SWEEPS = 200


@BALANCERS.register("cagrad")
class CAGrad(MergedGradients):
    r"""The direction near the mean gradient that improves the worst-served loss term most.

    .. math::
        g = K \left(g_0 + \frac{\sqrt\phi}{\lVert g_w \rVert} g_w\right), \qquad
        w = \arg\min_{w \in \Delta} g_w^\top g_0 + \sqrt\phi \lVert g_w \rVert, \qquad
        g_w = \sum_i w_i g_i, \quad g_0 = \frac{1}{K} \sum_i g_i, \quad \phi = c^2 \lVert g_0 \rVert^2

    i are the K loss terms that share a block of parameters (an encoder is shared by its uni-modal terms and the fused
    ones), :math:`\Delta` the weights that are not negative and sum to one. Among all directions within c times the
    mean's length of the mean, it is the one whose smallest gain over the terms is largest, so in the end the mean
    loss still converges. Choose it where `pcgrad` is wanted with a dial: c = 0 is the plain sum. It acts in training
    only and costs a backward pass per loss term instead of one, and a convex problem in K numbers per block.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        c: How far the direction may turn, 0 to below 1.

    Source:
        Liu et al. 2021, arXiv:2110.14048, algorithm 1 and eqs. (2)-(4) (numbers from memory of the print); c is the
        authors' 0.4. What differs: K times the direction is taken, so that c = 0 gives the sum of the terms as without
        a balancer; the weights are found by exact line searches over pairs, for two terms in closed form; each block
        is treated by itself.

    Example:
        >>> gradients = {"fused": torch.tensor([1.0, 0.0]), "audio": torch.tensor([-1.0, 1.0])}
        >>> CAGrad(("audio",), ("mood",), c=0.0).merge(gradients)
        tensor([0., 1.])
    """

    def __init__(
        self, modalities: tuple[str, ...], targets: tuple[str, ...], *, c: Annotated[float, Field(ge=0, lt=1)] = 0.4
    ) -> None:
        super().__init__()
        self.c = c

    def merge(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Turns the mean gradient of a block towards the term that it helps least."""
        stacked = torch.stack(tuple(gradients.values()))
        gram = (stacked.double() @ stacked.double().T).tolist()
        mean = stacked.mean(dim=0)
        # c times the length of the mean, which follows from the inner products
        radius = self.c * math.sqrt(max(0.0, sum(map(sum, gram)))) / len(gram)
        weights = find_worst_case(gram, radius)
        worst = torch.tensor(weights, dtype=stacked.dtype, device=stacked.device) @ stacked
        length = worst.norm()
        turned = radius * worst / length.clamp(min=torch.finfo(length.dtype).tiny)
        direction: Tensor = len(gram) * (mean + turned)
        return direction


def find_worst_case(gram: Sequence[Sequence[float]], radius: float) -> list[float]:
    r"""Finds the weights of the least :math:`g_w^\top g_0 + r \lVert g_w \rVert`, from the gradients' inner products.

    The function is convex; weight moves between two terms at a time, by an exact line search, until none moves.
    """
    size = len(gram)
    slope = [sum(row) / size for row in gram]
    weights = [1.0 / size] * size
    for _ in range(SWEEPS):
        moved = 0.0
        for one in range(size):
            for other in range(one):
                pool = weights[one] + weights[other]
                rest = [0.0 if place in (one, other) else weight for place, weight in enumerate(weights)]
                start = [pool if place == other else weight for place, weight in enumerate(rest)]
                ahead = [pool * ((place == one) - (place == other)) for place in range(size)]
                share = _line_search(gram, slope, start, ahead, radius)
                moved = max(moved, abs(pool * share - weights[one]))
                weights[one], weights[other] = pool * share, pool * (1 - share)
        if moved < 1e-12:
            break
    return weights


def _line_search(
    gram: Sequence[Sequence[float]], slope: Sequence[float], start: Sequence[float], ahead: Sequence[float], r: float
) -> float:
    r"""Finds the t in 0..1 of the least :math:`q t + r \sqrt{a t^2 + 2 b t + e}` from `start` to `ahead`."""

    def product(u: Sequence[float], v: Sequence[float]) -> float:
        return sum(x * y * gram[i][j] for i, x in enumerate(u) for j, y in enumerate(v))

    q = sum(x * y for x, y in zip(slope, ahead, strict=True))
    a, b, e = product(ahead, ahead), product(ahead, start), product(start, start)
    if r * r * a <= q * q:  # the straight part wins: the end it falls towards
        return 0.0 if q > 0 else 1.0 if q < 0 else 0.5
    root = math.sqrt(max(0.0, a * e - b * b) / (r * r * a - q * q))
    return min(1.0, max(0.0, (-q * root - b) / a))
