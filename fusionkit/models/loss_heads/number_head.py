"""The interface of loss heads of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces import LossHead, RawTarget
from fusionkit.models.loss_heads.number_metrics import NUMBER_METRICS, check_precision, encode_numbers, number_metrics
from fusionkit.models.loss_heads.target_scale import TargetScale
from fusionkit.nn.layers import make_scoring


class NumberHead(LossHead):
    r"""One or several numbers, learned in units of their spread and predicted in their own.

    Scores are numbers :math:`z` scaled by a `TargetScale`, ``scaling``; the distribution is :math:`y = a + b z`. A
    subclass states its `score`, its `loss` over ``scaling.scale(targets)``, and its `constant` where it knows it.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
        outputs: How many numbers.
        scale_targets: Take location and spread from the training part; they are 0 and 1 otherwise.
        robust: Take those that bear outliers, for a loss that bears them.
    """

    kind = "numbers"
    measures = NUMBER_METRICS

    def __init__(
        self, in_features: int, hidden: int | None, outputs: int, *, scale_targets: bool, robust: bool = False
    ) -> None:
        super().__init__()
        self.out_features, self.scale_targets, self.robust = outputs, scale_targets, robust
        self.scores = make_scoring(in_features, hidden, outputs)
        self.scaling = TargetScale(outputs)

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """Predicts numbers, in units of the spread around the location."""
        scores: Tensor = self.scores(features)
        return scores

    def encode(self, value: RawTarget | None) -> Tensor:
        """Returns a number as a scalar, several as a vector; NaN for missing ones."""
        return encode_numbers(value, self.out_features)

    def check_targets(self, values: Sequence[RawTarget | None]) -> None:
        """Refuses numbers that single precision does not tell apart."""
        if type(self).encode is NumberHead.encode:  # another encoding may subtract an offset, or take logarithms
            check_precision(values, self.out_features)

    def fit_targets(self, targets: Tensor) -> None:
        """Takes location and spread of each output, unless it is not to scale."""
        if self.scale_targets:
            self.scaling.fit(targets, robust=self.robust)

    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """Returns the predicted numbers in the target's unit, which an ensemble averages."""
        return self.scaling.unscale(scores)

    def predict(self, distribution: Tensor) -> Tensor:
        """Returns the predicted numbers, ``(batch,)`` for one output and ``(batch, outputs)`` for several."""
        return distribution[:, 0] if self.out_features == 1 else distribution

    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Computes mean absolute error, root mean square error, R2 and concordance."""
        return number_metrics(distribution, targets)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *found: Any) -> None:
        # Weights of earlier versions hold no scale: they say numbers in the target's unit. Weights that hold nothing
        # of this head, as those of a part of a network, leave its scale alone.
        scale = {
            f"{prefix}scaling.{name}": value for name, value in TargetScale(self.out_features).state_dict().items()
        }
        if any(key.startswith(f"{prefix}scores.") for key in state_dict) and not scale.keys() & state_dict.keys():
            state_dict |= scale
        super()._load_from_state_dict(state_dict, prefix, *found)
