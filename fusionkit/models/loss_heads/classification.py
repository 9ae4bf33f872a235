"""One class of several."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.models.loss_heads.class_head import SoftmaxHead
from fusionkit.models.loss_heads.class_metrics import order_weights
from fusionkit.nn.layers import make_scoring


@LOSS_HEADS.register("classification")
class Classification(SoftmaxHead):
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
        super().__init__("classification", classes)
        self.label_smoothing = label_smoothing
        self.scores = make_scoring(in_features, hidden, len(classes))
        weights = order_weights("classification", "class_weights", class_weights or {}, classes)
        self.register_buffer("class_weights", torch.tensor(weights), persistent=False)

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """Scores the classes."""
        scores: Tensor = self.scores(features)
        return scores

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """Returns the weighted cross-entropy of each sample."""
        return functional.cross_entropy(
            scores, targets, self.class_weights, reduction="none", label_smoothing=self.label_smoothing
        )
