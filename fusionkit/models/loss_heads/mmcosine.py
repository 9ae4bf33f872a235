"""One class of several, by each modality's angle to the class alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.config.registry import LOSS_HEADS
from fusionkit.errors import ShapeError
from fusionkit.interfaces import LossHead, RawTarget
from fusionkit.models.loss_heads.categorical import (
    CLASS_METRICS,
    check_names,
    class_metrics,
    class_statistics,
    confusion_matrix,
    encode_class,
    log_frequencies,
    metrics_of_class_sums,
)


@LOSS_HEADS.register("mmcosine")
class MMCosine(LossHead):
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

    kind = "classes"
    measures = CLASS_METRICS
    score = "accuracy"
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
        super().__init__()
        check_names("mmcosine", "classes", classes, least=2)
        if sum(blocks) != in_features:
            raise ShapeError(f"mmcosine: blocks of {list(blocks)} features are {sum(blocks)}, not {in_features}")
        self.classes, self.scale, self.blocks = classes, scale, blocks
        self.out_features = len(classes)
        self.directions = nn.ParameterList(nn.Linear(width, len(classes), bias=False).weight for width in blocks)

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """The scaled sum of cosines."""
        cosines = [
            functional.linear(functional.normalize(block), functional.normalize(direction))
            for block, direction in zip(torch.split(features, list(self.blocks), dim=1), self.directions, strict=True)
        ]
        return self.scale * torch.stack(cosines).sum(dim=0)

    def encode(self, value: RawTarget | None) -> Tensor:
        """The index of a class by its name, or by the whole number that is its name; -1 for a missing one."""
        return encode_class(value, self.classes)

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """The cross-entropy of each sample."""
        return functional.cross_entropy(scores, targets, reduction="none")

    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """The probabilities of the classes."""
        return scores.softmax(dim=1)

    def predict(self, distribution: Tensor) -> Int[Tensor, " batch"]:
        """The most probable class."""
        return distribution.argmax(dim=1)

    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Accuracy, unweighted average recall, macro F1 and expected calibration error."""
        return class_metrics(self.confusion(distribution, targets), distribution, targets)

    def confusion(self, distribution: Tensor, targets: Tensor) -> Int[Tensor, "classes classes"]:
        """How often each class (row) was predicted as each class (column)."""
        return confusion_matrix(self.predict(distribution), targets, len(self.classes))

    def constant(self, targets: Tensor) -> Float[Tensor, " out_features"]:
        """The logarithms of the classes' frequencies: their prediction is the majority class."""
        return log_frequencies(targets, len(self.classes))

    def statistics(self, distribution: Tensor, targets: Tensor) -> Float[Tensor, "samples statistics"]:
        """The cell of the confusion matrix of each sample, and what it adds to the calibration error's bins."""
        return class_statistics(self.predict(distribution), distribution, targets)

    def metrics_of_sums(self, sums: Float[Tensor, "resamples statistics"]) -> Mapping[str, Float[Tensor, " resamples"]]:
        """The metrics of many sets of samples."""
        return metrics_of_class_sums(sums, [each.name for each in self.measures])
