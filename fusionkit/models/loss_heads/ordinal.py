"""One class of several that have an order."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.interfaces import Metric
from fusionkit.models.loss_heads.class_head import ClassHead
from fusionkit.models.loss_heads.class_metrics import (
    ACCURACY,
    RECALL,
    accuracy,
    log_frequencies,
    unweighted_average_recall,
)
from fusionkit.nn.layers import make_scoring


@LOSS_HEADS.register("ordinal")
class Ordinal(ClassHead):
    r"""One class of several that have an order, by one number and ordered thresholds.

    .. math::
        P(y > k) = \sigma(g - \theta_k), \qquad \theta_{k+1} = \theta_k + \mathrm{softplus}(\delta_k), \qquad
        \ell = -\ln\left(P(y > y_i - 1) - P(y > y_i)\right)

    g is one learned number per sample, :math:`\theta_0 < \dots < \theta_{K-2}` are learned thresholds between the K
    classes; they are ordered by construction, so probabilities are never negative. Choose it for intensities, grades
    and stages, where a near miss is better than a far one. The scores are the K - 1 logits :math:`g - \theta_k`.
    Training and evaluation are the same. The prediction is the median class, which is best under absolute error.

    Metrics: ``mae``, the mean distance in classes; ``accuracy``; ``uar``, the mean recall over the classes that occur
    in the targets.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
        classes: Names of the classes from low to high, at least two; left out, the dataset's.

    Raises:
        RecipeError: There are fewer than two classes, or one stands twice.

    Source:
        McCullagh 1980, https://doi.org/10.1111/j.2517-6161.1980.tb01109.x (the proportional odds model). The
        thresholds' softplus increments are ours.

    Example:
        >>> head = Ordinal(8, None, classes=("low", "middle", "high"))
        >>> head.distribution(head(torch.zeros(4, 8))).shape
        torch.Size([4, 3])
    """

    measures = (Metric("mae", higher_is_better=False, low=0.0), ACCURACY, RECALL)
    score = "mae"

    def __init__(self, in_features: int, hidden: int | None, *, classes: tuple[str, ...] = ()) -> None:
        super().__init__("ordinal", classes)
        self.out_features = len(classes) - 1
        self.position = make_scoring(in_features, hidden, 1)
        # All classes are equally probable at g = 0 before training.
        odds = [math.log(k / (len(classes) - k)) for k in range(1, len(classes))]
        gaps = torch.tensor(odds).diff()
        self.lowest = nn.Parameter(torch.tensor(odds[0]))
        self.increments = nn.Parameter(gaps.expm1().log())

    @property
    def thresholds(self) -> Float[Tensor, " out_features"]:
        """The thresholds between the classes, rising."""
        return torch.cat([self.lowest[None], self.lowest + functional.softplus(self.increments).cumsum(0)])

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """Returns the logits of lying above each threshold."""
        above: Tensor = self.position(features) - self.thresholds
        return above

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """Returns the negative logarithm of each sample's class probability."""
        # ln(sig(a) - sig(b)) = ln sig(a) + ln sig(-b) + ln(1 - exp(b - a)): no difference of near numbers is taken.
        last = self.out_features
        above = scores.gather(1, (targets - 1).clamp(min=0)[:, None])[:, 0]
        below = scores.gather(1, targets.clamp(max=last - 1)[:, None])[:, 0]
        over_lower = torch.where(targets > 0, functional.logsigmoid(above), 0.0)
        under_upper = torch.where(targets < last, functional.logsigmoid(-below), 0.0)
        between = (targets > 0) & (targets < last)
        gap = torch.where(between, above - below, 1.0)
        return -(over_lower + under_upper + torch.where(between, torch.log(-torch.expm1(-gap)), 0.0))

    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """Returns the probabilities of the classes: differences of the cumulative ones."""
        ones = scores.new_ones(scores.shape[0], 1)
        above = torch.cat([ones, scores.sigmoid(), torch.zeros_like(ones)], dim=1)
        return above[:, :-1] - above[:, 1:]

    def predict(self, distribution: Tensor) -> Int[Tensor, " batch"]:
        """Returns the median class: the number of thresholds that the sample more probably lies above."""
        return (1 - distribution.cumsum(dim=1)[:, :-1] > 0.5).sum(dim=1)

    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Computes mean absolute distance in classes, accuracy and unweighted average recall."""
        confusion = self.confusion(distribution, targets)
        return {
            "mae": float((self.predict(distribution) - targets).abs().double().mean()),
            "accuracy": accuracy(confusion),
            "uar": unweighted_average_recall(confusion),
        }

    statistics = ClassHead.statistics  # `sums_suffice` asks for them beside the metrics, or below

    def constant(self, targets: Tensor) -> Float[Tensor, " out_features"]:
        """Returns the logits of the classes' cumulative frequencies, whose prediction is the median class."""
        frequencies = log_frequencies(targets, len(self.classes)).double().softmax(dim=0)
        above = frequencies.flip(0).cumsum(0).flip(0)[1:]
        tiny = torch.finfo(torch.float32).tiny
        below = frequencies.cumsum(0)[:-1]
        return (above.clamp(min=tiny).log() - below.clamp(min=tiny).log()).to(torch.get_default_dtype())
