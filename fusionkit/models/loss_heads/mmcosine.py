"""One class of several, by each modality's angle to the class alone."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.errors import ShapeError
from fusionkit.models.loss_heads.class_head import SoftmaxHead


@LOSS_HEADS.register("mmcosine")
class MMCosine(SoftmaxHead):
    r"""One class of several, whose scores are the sum over modalities of the cosine between features and class.

    .. math::
        s_c = s \sum_m \frac{W_{m,c} \cdot f_m}{\lVert W_{m,c} \rVert \, \lVert f_m \rVert}, \qquad
        \ell = -\ln \mathrm{SoftMax}(s)_y

    :math:`f_m` is modality m's block of the fused features, :math:`W_{m,c}` its weights of class c, s the scale, y the
    class. A joint network favours the modality that learns fast by longer weights and features of it; here no modality
    can say more than s for a class, and what counts is the angle. Choose it in place of `classification` where one
    modality dominates, classes are fine, and the fusion puts modalities side by side: `concat`, alone or in `mrpn`. An
    absent modality's block is that of the model's learned placeholder; uni-modal heads have one block. The
    probabilities are the same in training and evaluation, and with M modalities and C classes none is below
    :math:`1 / (1 + (C - 1) e^{2 s M})`.

    Metrics are those of `classification`: ``accuracy``, ``uar``, ``f1``, ``ece``.

    Args:
        in_features: Width of the features.
        hidden: Width of a Scoring; not read, since the weights belong to the features themselves.
        blocks: Widths of the modalities' blocks.
        classes: Names of the classes in order, at least two; left out, the dataset's.
        scale: s, positive.

    Raises:
        RecipeError: There are fewer than two classes, or one stands twice.
        ShapeError: The blocks do not add up to the features.

    Source:
        Xu et al. 2023 (ICASSP), arXiv:2303.05338, section on the multi-modal cosine loss (restated from the authors'
        program, whose scale is 10; equation numbers not checked). What differs: features are normalised by the fusion's
        FeatureNorm before their length is; any number of modalities, absent ones, and uni-modal heads with weights of
        their own.

    Example:
        >>> head = MMCosine(5, None, (2, 3), classes=("calm", "happy", "sad"))
        >>> head(torch.zeros(4, 5)).shape
        torch.Size([4, 3])
    """

    reads_blocks = True

    def __init__(
        self,
        in_features: int,
        hidden: int | None,
        blocks: tuple[int, ...],
        *,
        classes: tuple[str, ...] = (),
        scale: Annotated[float, Field(gt=0)] = 10.0,
    ) -> None:
        super().__init__("mmcosine", classes)
        if sum(blocks) != in_features:
            raise ShapeError(f"mmcosine: blocks of {list(blocks)} features are {sum(blocks)}, not {in_features}")
        self.scale, self.blocks = scale, blocks
        self.directions = nn.ParameterList(nn.Linear(width, len(classes), bias=False).weight for width in blocks)

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """Returns the scaled sum of cosines."""
        cosines = [
            functional.linear(functional.normalize(block), functional.normalize(direction))
            for block, direction in zip(torch.split(features, list(self.blocks), dim=1), self.directions, strict=True)
        ]
        return self.scale * torch.stack(cosines).sum(dim=0)

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """Returns the cross-entropy of each sample."""
        return functional.cross_entropy(scores, targets, reduction="none")
