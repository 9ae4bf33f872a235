"""Bilinear fusion of every pair of modalities."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.errors import Problem, RecipeError
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged

Positive = Annotated[int, Field(gt=0)]


@FUSIONS.register("bilinear")
class Bilinear(Fusion):
    r"""A bilinear form of every pair of modalities, added up.

    .. math::
        \mathrm{fused}_k = b_k + \sum_{m < n} \hat f_m^\top W_{mn}^{(k)} \hat f_n

    :math:`\hat f_m` is the normalised feature of modality m. Choose it where only products of features of two
    modalities matter, and they are narrow; it holds no feature by itself (`tensor` and `low_rank` do). An absent
    modality enters with the model's learned placeholder. It costs, and holds as weights, :math:`d \sum_{m<n} d_m d_n`
    multiply-adds a sample.

    Args:
        in_features: Width of each modality, in the recipe's order.
        features: Width d of the output; None for that of the widest modality.
        limit: The number of weights from which on it refuses to be built.

    Raises:
        RecipeError: There is one modality only, or more weights than `limit`.

    Source:
        Tenenbaum and Freeman 2000, https://doi.org/10.1162/089976600300015349, eq. (1), with features of modalities as
        style and content; pairs of more than two modalities, and absent ones, are ours.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> Bilinear({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 3])
    """

    def __init__(
        self, in_features: Mapping[str, int], *, features: Positive | None = None, limit: Positive = 16_777_216
    ) -> None:
        super().__init__()
        if len(in_features) < 2:
            raise RecipeError("bilinear: there is no second modality to pair the first with; use concat")
        self.pairs = tuple(combinations(in_features, 2))
        self.out_features = features or max(in_features.values())
        weights = self.out_features * sum(in_features[first] * in_features[second] for first, second in self.pairs)
        if weights > limit:
            message = f"{weights:,} weights are above {limit:,}"
            remedy = "narrow the modalities or the output by `features`, or take low_rank"
            raise RecipeError([Problem("limit", message, remedy)], source="bilinear")
        self.forms = nn.ModuleList(
            nn.Bilinear(in_features[first], in_features[second], self.out_features, bias=False)
            for first, second in self.pairs
        )
        self.bias = nn.Parameter(torch.zeros(self.out_features))

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Evaluates every form and adds."""
        pairs = zip(self.pairs, self.forms, strict=True)
        forms = [form(features[first], features[second]) for (first, second), form in pairs]
        return torch.stack(forms).sum(dim=0) + self.bias
