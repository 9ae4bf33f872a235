"""Any number of labels at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import suggest_names
from fusionkit.interfaces import LossHead, RawTarget, share
from fusionkit.models.loss_heads.class_metrics import F1, check_names, order_weights
from fusionkit.nn.layers import make_scoring


@LOSS_HEADS.register("multilabel")
class Multilabel(LossHead):
    r"""Any number of labels at once, each by a logistic unit.

    .. math::
        p_l = \sigma(s_l), \qquad
        \ell = -\frac{1}{|K|} \sum_{l \in K} \left(w_l\, y_l \ln p_l + (1 - y_l) \ln(1 - p_l)\right)

    :math:`y_l` is one where the sample has label l, K are the labels that are stated for the sample (a missing one is
    NaN), :math:`w_l` weighs a label's presence against its absence. Choose it where labels do not exclude each other.
    Training and evaluation are the same.

    Metrics, each the mean over the labels that are stated at all: ``f1`` (over labels that occur in targets or
    predictions), ``accuracy``; and ``exact``, the share of samples all of whose stated labels are right.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring; None for one dense unit.
        labels: Names of the labels, at least one.
        presence_weights: Weight of each label's presence by name, positive; one for those left out.
        threshold: Least probability at which a label is predicted, above 0 and below 1.

    Raises:
        RecipeError: There is no label, one stands twice, or a weight belongs to none.

    Source:
        Zhang and Zhou 2014, https://doi.org/10.1109/TKDE.2013.39, section 3.1.1 (binary relevance).

    Example:
        >>> head = Multilabel(8, None, labels=("indoors", "speech", "music"))
        >>> head.encode(("speech", "music"))
        tensor([0., 1., 1.])
        >>> head(torch.zeros(4, 8)).shape
        torch.Size([4, 3])
    """

    kind = "labels"
    measures = (F1, share("accuracy"), share("exact", of_samples=True))
    score = "f1"
    presence_weights: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int | None,
        *,
        labels: tuple[str, ...] = (),
        presence_weights: Annotated[dict[str, Annotated[float, Field(gt=0)]] | None, ANY_ORDER] = None,
        threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__()
        check_names("multilabel", "labels", labels, least=1)
        self.classes, self.threshold = labels, threshold
        self.out_features = len(labels)
        self.scores = make_scoring(in_features, hidden, len(labels))
        weights = order_weights("multilabel", "presence_weights", presence_weights or {}, labels)
        self.register_buffer("presence_weights", torch.tensor(weights), persistent=False)

    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """Returns the logits of the labels."""
        scores: Tensor = self.scores(features)
        return scores

    def encode(self, value: RawTarget | None) -> Tensor:
        """Names of the labels that are present, or one number per label: 1 present, 0 absent, NaN not known."""
        if value is None:
            return torch.full((len(self.classes),), math.nan)
        given = value if isinstance(value, tuple) else (value,)
        if given and all(isinstance(item, (int, float)) for item in given):
            return self._encode_numbers(tuple(float(item) for item in given))
        names = [str(item).strip() for item in given]
        for name in names:
            if name not in self.classes:
                raise ValueError(
                    f"{name!r} is none of the {len(self.classes)} labels; {suggest_names(name, self.classes)}"
                )
        return torch.tensor([float(label in names) for label in self.classes])

    def _encode_numbers(self, numbers: tuple[float, ...]) -> Tensor:
        wrong = [number for number in numbers if not math.isnan(number) and number not in (0.0, 1.0)]
        if len(numbers) != len(self.classes) or wrong:
            raise ValueError(f"{numbers} is not one number (1, 0 or NaN) for each of {', '.join(self.classes)}")
        return torch.tensor(numbers)

    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """Returns the mean cross-entropy over each sample's stated labels."""
        stated = ~targets.isnan()
        filled = torch.where(stated, targets, 0.0).to(scores.dtype)
        each = functional.binary_cross_entropy_with_logits(
            scores, filled, reduction="none", pos_weight=self.presence_weights
        )
        return torch.where(stated, each, 0.0).sum(dim=1) / stated.sum(dim=1).clamp(min=1)

    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """Returns the probability of each label."""
        return scores.sigmoid()

    def predict(self, distribution: Tensor) -> Bool[Tensor, "batch labels"]:
        """Returns the mask of the labels that are predicted."""
        return distribution >= self.threshold

    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Computes macro F1, mean accuracy over labels, and the share of samples whose stated labels are all right."""
        stated, present, predicted = ~targets.isnan(), targets == 1, self.predict(distribution)
        right = stated & (present == predicted)
        hits = (right & present).sum(dim=0).double()
        named = (stated & present).sum(dim=0) + (stated & predicted).sum(dim=0)
        counts = stated.sum(dim=0)
        samples = stated.any(dim=1)
        return {
            "f1": float((2 * hits[named > 0] / named[named > 0]).mean()),
            "accuracy": float((right.sum(dim=0).double()[counts > 0] / counts[counts > 0]).mean()),
            "exact": float((right | ~stated).all(dim=1)[samples].double().mean()),
        }

    def constant(self, targets: Tensor) -> Float[Tensor, " out_features"]:
        """Returns the logits of the labels' frequencies where they are stated; even odds for one that none states."""
        stated = ~targets.isnan()
        share_of = torch.where(stated, targets, 0.0).sum(dim=0) / stated.sum(dim=0)
        tiny = torch.finfo(share_of.dtype).tiny
        return share_of.nan_to_num(0.5).clamp(min=tiny).log() - (1 - share_of.nan_to_num(0.5)).clamp(min=tiny).log()
