"""Gradients of loss terms merged by the aggregators of torchjd."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from fusionkit.config.components.registry import BALANCERS
from fusionkit.errors import Problem, RecipeError
from fusionkit.training.balancers.separate_gradients import MergedGradients

CLASSES = {
    "upgrad": "UPGrad",
    "mgda": "MGDA",
    "dualproj": "DualProj",
    "pcgrad": "PCGrad",
    "imtl_g": "IMTLG",
    "aligned_mtl": "AlignedMTL",
    "config": "ConFIG",
}


@BALANCERS.register("jacobian_descent")
class JacobianDescent(MergedGradients):
    r"""One gradient of the matrix of all loss terms' gradients, by an aggregator of torchjd.

    .. math::
        g = \mathcal{A}(J), \qquad J = \begin{pmatrix} g_1^\top \\ \vdots \\ g_T^\top \end{pmatrix}

    The rows of J are the loss terms' gradients with respect to the parameters that they share: an encoder is shared by
    its uni-modal terms and the fused ones, the fusion by the fused terms of several targets. :math:`\mathcal{A}` is

    - `upgrad`: the mean of the gradients after each is projected so that it conflicts with none (UPGrad),
    - `mgda`: the shortest vector between them,
    - `dualproj`: their mean, projected so that it conflicts with none,
    - `pcgrad`: the sum of the gradients after each lost what points against another,
    - `imtl_g`: the combination with equal projections on all of them,
    - `aligned_mtl`: their mean after the matrix is aligned to equal singular values,
    - `config`: a vector of equal angles with all of them (ConFIG).

    Choose it to compare methods that resolve conflicts, or for `upgrad`, which none of ours is; `pcgrad` and `cagrad`
    are here without a further package. Most aggregators take means where a plain sum would be T times as long, so
    the learning rate may have to rise. It acts in training only and costs a backward pass per loss term instead of one.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
        aggregator: :math:`\mathcal{A}`, as torchjd has it without options.

    Raises:
        RecipeError: torchjd, or a package that its aggregator needs, is not installed.

    Source:
        Quinton and Rey 2024, arXiv:2406.16232 (UPGrad and the library torchjd, whose documentation has the sources of
        the others). What differs: J is taken for every shared block by itself rather than for all parameters; a
        parameter that one term reaches keeps that term's gradient. With several processes each merges the gradients of
        its own batch.

    Example:
        >>> BALANCERS.get("jacobian_descent").name
        'jacobian_descent'
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        aggregator: Literal["upgrad", "mgda", "dualproj", "pcgrad", "imtl_g", "aligned_mtl", "config"] = "upgrad",
    ) -> None:
        super().__init__()
        needed = ("torchjd", *(("qpsolvers", "quadprog") if aggregator in ("upgrad", "dualproj") else ()))
        missing = [package for package in needed if find_spec(package) is None]
        if missing:
            message = f"jacobian_descent by {aggregator} needs {' and '.join(missing)}, not installed here"
            remedy = "pip install fusionkit-multimodal[torchjd], or take pcgrad or cagrad, which need nothing"
            raise RecipeError([Problem("train.balancer", message, remedy)])
        from torchjd import aggregation

        self.aggregate: Any = getattr(aggregation, CLASSES[aggregator])()

    def merge(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Merges the gradients of a block by the aggregator."""
        merged: Tensor = self.aggregate(torch.stack(tuple(gradients.values())))
        return merged
