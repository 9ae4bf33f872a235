"""Numbers."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.models.loss_heads.number_head import NumberHead
from fusionkit.models.loss_heads.target_scale import Center, huber_center, mean, median


@LOSS_HEADS.register("regression")
class Regression(NumberHead):
    r"""One or several numbers.

    .. math::
        \ell = \frac{1}{|K|} \sum_{j \in K} \rho\!\left(s_j - \frac{y_j - a_j}{b_j}\right), \qquad
        \rho(r) = r^2, \quad |r| \quad\text{or}\quad
        \begin{cases} r^2 / 2 & |r| \le \delta \\ \delta (|r| - \delta / 2) & \text{otherwise} \end{cases}

    s are the scores, y the wanted numbers, K the outputs that are stated for the sample (a missing one is NaN).
    ``l1`` and ``huber`` bear outliers better than ``mse``.

    a and b are location and spread of each output over the training part of the fold, so a target is learned alike in
    any unit, beside others. Of ``mse`` they are mean and standard deviation; of ``l1`` and ``huber`` median and
    interquartile range over 1.349, which up to a quarter of outliers cannot move far. Scores and losses are in units
    of b; predictions :math:`a_j + b_j s_j`, metrics and reports are in the target's own unit. Training and evaluation
    are the same.

    Metrics, each the mean over outputs: ``mae``; ``rmse``; ``r2``; ``ccc``, Lin's concordance with the population
    variance. One that is not defined for some output (r2 of a constant target) is NaN.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
        outputs: How many numbers, positive.
        loss: ``mse``, ``l1`` or ``huber``.
        delta: Residual from which the Huber loss is linear, positive; other losses ignore it. It is in units of the
            spread b (2 is twice the spread), without `scale_targets` in the target's own unit.
        scale_targets: Learn each output in units of its spread over the training part; false for its own unit.

    Source:
        Huber 1964, https://doi.org/10.1214/aoms/1177703732; as a branch of the network in Chang and Skarbek 2021,
        https://doi.org/10.3390/s21165452, Fig. 7.

    Example:
        >>> head = Regression(8, None, outputs=2, loss="huber")
        >>> head.encode((1.5, float("nan")))
        tensor([1.5000,    nan])
        >>> head(torch.zeros(4, 8)).shape
        torch.Size([4, 2])
    """

    score = "mae"

    def __init__(
        self,
        in_features: int,
        hidden: int | None,
        *,
        outputs: Annotated[int, Field(gt=0)] = 1,
        loss: Literal["mse", "l1", "huber"] = "mse",
        delta: Annotated[float, Field(gt=0)] = 1.0,
        scale_targets: bool = True,
    ) -> None:
        super().__init__(in_features, hidden, outputs, scale_targets=scale_targets, robust=loss != "mse")
        self.penalty, self.delta = loss, delta

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """Returns the mean loss over each sample's stated outputs."""
        wanted = self.scaling.scale(targets).to(scores.dtype)
        stated = ~wanted.isnan()
        filled = torch.where(stated, wanted, 0.0)
        if self.penalty == "huber":
            each = functional.huber_loss(scores, filled, reduction="none", delta=self.delta)
        else:
            residual = scores - filled
            each = residual.square() if self.penalty == "mse" else residual.abs()
        return torch.where(stated, each, 0.0).sum(dim=1) / stated.sum(dim=1).clamp(min=1)

    def constant(self, targets: Tensor) -> Float[Tensor, " out_features"]:
        """Returns the scores of the mean, of the median for ``l1``, and of what lies between them for ``huber``."""
        centers: dict[str, Center] = {"mse": mean, "l1": median, "huber": partial(huber_center, delta=self.delta)}
        return self.scaling.constant(targets, centers[self.penalty])
