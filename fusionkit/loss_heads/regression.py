"""Numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fusionkit.interfaces import LossHead, RawTarget
from fusionkit.layers import scoring
from fusionkit.loss_heads.numeric import NUMBER_METRICS, as_columns, encode_numbers, number_metrics
from fusionkit.registry import LOSS_HEADS


@LOSS_HEADS.register("regression")
class Regression(LossHead):
    r"""One or several numbers.

    .. math::
        \ell = \frac{1}{|K|} \sum_{j \in K} \rho(s_j - y_j), \qquad
        \rho(r) = r^2, \quad |r| \quad\text{or}\quad
        \begin{cases} r^2 / 2 & |r| \le \delta \\ \delta (|r| - \delta / 2) & \text{otherwise} \end{cases}

    s are the predicted, y the wanted numbers, K the outputs that are stated for the sample (a missing one is NaN).
    ``l1`` and ``huber`` bear outliers better than ``mse``. Targets are not rescaled: several outputs of different
    units should be standardised in the data. Training and evaluation are the same.

    Metrics, each the mean over outputs: ``mae``; ``rmse``; ``r2``; ``ccc``, Lin's concordance with the population
    variance. One that is not defined for some output (r2 of a constant target) is NaN.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
        outputs: How many numbers, positive.
        loss: ``mse``, ``l1`` or ``huber``.
        delta: Residual from which the Huber loss is linear, positive, in the target's unit; other losses ignore it.

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

    kind = "numbers"
    measures = NUMBER_METRICS
    score = "mae"

    def __init__(
        self,
        in_features: int,
        hidden: int | None,
        *,
        outputs: Annotated[int, Field(gt=0)] = 1,
        loss: Literal["mse", "l1", "huber"] = "mse",
        delta: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__()
        self.out_features = outputs
        self.penalty, self.delta = loss, delta
        self.scores = scoring(in_features, hidden, outputs)

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """The predicted numbers."""
        scores: Tensor = self.scores(features)
        return scores

    def encode(self, value: RawTarget | None) -> Tensor:
        """A number as a scalar, several as a vector; NaN for missing ones."""
        return encode_numbers(value, self.out_features)

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """The mean loss over each sample's stated outputs."""
        wanted = as_columns(targets).to(scores.dtype)
        stated = ~wanted.isnan()
        filled = torch.where(stated, wanted, 0.0)
        if self.penalty == "huber":
            each = functional.huber_loss(scores, filled, reduction="none", delta=self.delta)
        else:
            residual = scores - filled
            each = residual.square() if self.penalty == "mse" else residual.abs()
        return torch.where(stated, each, 0.0).sum(dim=1) / stated.sum(dim=1).clamp(min=1)

    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """The predicted numbers, which an ensemble averages."""
        return scores

    def predict(self, distribution: Tensor) -> Tensor:
        """The predicted numbers, ``(batch,)`` for one output and ``(batch, outputs)`` for several."""
        return distribution[:, 0] if self.out_features == 1 else distribution

    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Mean absolute error, root mean square error, R2 and concordance."""
        return number_metrics(distribution, targets)
