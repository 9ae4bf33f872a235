"""A mixture of experts on subsets of the modalities."""

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
from fusionkit.nn.layers import masked_softmax

Positive = Annotated[int, Field(gt=0)]
_MOST_EXPERTS = 64


@FUSIONS.register("mixture")
class Mixture(Fusion):
    r"""An expert for every subset of the modalities, and a gate that weighs them for each sample.

    .. math::
        \mathrm{fused} = \sum_{S} g_S\, \mathrm{ReLU}(W_S [\hat f_m : m \in S] + b_S), \qquad
        g = \mathrm{softmax}_{S : p_S = 1}\left(V [\hat f_1; \dots; \hat f_M] + c\right)

    S runs over the non-empty subsets of up to `largest` modalities; :math:`p_S` is 1 where the sample has all of S, and
    only these experts are weighed, so a sample that lacks a modality is judged by experts that never needed it. Choose
    it where modalities are often missing or where one alone is best for some samples. A sample that lacks every
    modality is given the mean of all experts on the model's learned placeholders. With M modalities there are
    :math:`2^M - 1` subsets, and it costs :math:`d \sum_S \sum_{m \in S} d_m` multiply-adds a sample.

    Args:
        in_features: Width of each modality, in the recipe's order.
        features: Width d of the output; None for that of the widest modality.
        largest: Modalities in the largest subset; None for all of them.

    Raises:
        RecipeError: There would be more than 64 experts.

    Source:
        Jacobs et al. 1991, https://doi.org/10.1162/neco.1991.3.1.79, whose gate this is; experts per subset of the
        modalities as in Yun et al. 2024 (Flex-MoE), arXiv:2410.08245, here dense instead of sparse and without its bank
        of missing modalities.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> Mixture({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 3])
    """

    def __init__(
        self, in_features: Mapping[str, int], *, features: Positive | None = None, largest: Positive | None = None
    ) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        sizes = range(1, min(largest or len(in_features), len(in_features)) + 1)
        self.subsets = tuple(subset for size in sizes for subset in combinations(in_features, size))
        if len(self.subsets) > _MOST_EXPERTS:
            message = f"{len(in_features)} modalities have {len(self.subsets)} subsets, above {_MOST_EXPERTS}"
            raise RecipeError(
                [Problem("largest", message, "set largest: 2 for single ones and pairs")], source="mixture"
            )
        self.out_features = features or max(in_features.values())
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(sum(in_features[name] for name in subset), self.out_features), nn.ReLU())
            for subset in self.subsets
        )
        self.gate = nn.Linear(sum(in_features.values()), len(self.subsets))

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Asks every expert, and weighs those that miss nothing."""
        said = [
            expert(torch.cat([features[name] for name in subset], dim=1))
            for subset, expert in zip(self.subsets, self.experts, strict=True)
        ]
        gate = self.gate(torch.cat([features[name] for name in self.modalities], dim=1))
        weights = masked_softmax(gate, [_intersect([present[name] for name in subset]) for subset in self.subsets])
        return (weights[:, :, None] * torch.stack(said, dim=1)).sum(dim=1)


def _intersect(masks: list[Tensor | None]) -> Tensor | None:
    """Returns the mask of the samples where all masks hold; None where none is given."""
    given = [mask for mask in masks if mask is not None]
    return torch.stack(given).all(dim=0) if given else None
