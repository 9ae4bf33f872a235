"""One class of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fusionkit.config.marks import ANY_ORDER
from fusionkit.config.registry import LOSS_HEADS
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
    weights_by_name,
)
from fusionkit.nn.layers import scoring


@LOSS_HEADS.register("classification")
class Classification(LossHead):
    r"""One class of several, by softmax and cross-entropy.

    .. math::
        p = \mathrm{SoftMax}(s), \qquad
        \ell = -\sum_c w_c \left((1 - \alpha) [c = y] + \frac{\alpha}{C}\right) \ln p_c

    s are the scores, y is the class, :math:`w_c` its weight, :math:`\alpha` the label smoothing. The loss term is the
    plain mean of :math:`\ell` over the samples whose class is known: it is not divided by the weights, as torch's
    weighted mean is. Smoothing and weights shape the loss only; probabilities are the same in training and evaluation.

    Metrics: ``accuracy``; ``uar``, the mean recall over the classes that occur in the targets; ``f1``, the macro mean
    over the classes that occur in targets or predictions; ``ece``, the calibration error with 15 bins of confidence.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
        classes: Names of the classes in order, at least two; left out, the dataset's.
        class_weights: Weight of each class in the loss by name, positive; one for those left out.
        label_smoothing: Share of the target that is spread over all classes, 0 to below 1.

    Raises:
        RecipeError: There are fewer than two classes, one stands twice, or a weight belongs to none.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eqs. (2), (8) (SoftMax, CrossEntropy); smoothing of
        Szegedy et al. 2016, https://doi.org/10.1109/CVPR.2016.308, section 7.

    Example:
        >>> head = Classification(8, None, classes=("calm", "happy", "sad"))
        >>> head.encode("sad"), head.encode(None)
        (tensor(2), tensor(-1))
        >>> head(torch.zeros(4, 8)).shape
        torch.Size([4, 3])
    """

    kind = "classes"
    measures = CLASS_METRICS
    score = "accuracy"
    class_weights: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int | None,
        *,
        classes: tuple[str, ...] = (),
        class_weights: Annotated[dict[str, Annotated[float, Field(gt=0)]] | None, ANY_ORDER] = None,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        check_names("classification", "classes", classes, least=2)
        self.classes, self.label_smoothing = classes, label_smoothing
        self.out_features = len(classes)
        self.scores = scoring(in_features, hidden, len(classes))
        weights = weights_by_name("classification", "class_weights", class_weights or {}, classes)
        self.register_buffer("class_weights", torch.tensor(weights), persistent=False)

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """The scores of the classes."""
        scores: Tensor = self.scores(features)
        return scores

    def encode(self, value: RawTarget | None) -> Tensor:
        """The index of a class by its name, or by the whole number that is its name; -1 for a missing one."""
        return encode_class(value, self.classes)

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """The weighted cross-entropy of each sample."""
        return functional.cross_entropy(
            scores, targets, self.class_weights, reduction="none", label_smoothing=self.label_smoothing
        )

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
