"""Low-rank multi-modal fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged

Positive = Annotated[int, Field(gt=0)]


@FUSIONS.register("low_rank")
class LowRank(Fusion):
    r"""A dense unit on the outer product of all modalities, with weights of low rank, so the product is never formed.

    .. math::
        \mathrm{fused} = b + \sum_{i=1}^{r} \bigodot_{m=1}^{M} W_m^{(i)} [\hat f_m; 1]

    :math:`\hat f_m` is the normalised feature of modality m, :math:`\odot` the element-wise product over modalities.
    Choose it as `tensor`, for wider or more modalities: weights and work grow with the sum of the widths instead of
    their product. An absent modality enters with the model's learned placeholder. It costs :math:`r \sum_m d_m d`
    multiply-adds a sample.

    Args:
        in_features: Width of each modality, in the recipe's order.
        features: Width d of the output; None for that of the widest modality.
        rank: How many products r are summed.

    Source:
        Liu et al. 2018, https://doi.org/10.18653/v1/P18-1209, eq. (7). The bias is that of the authors' program, which
        also weighs each product by a learned number that the factors can take up; absent modalities are ours.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> LowRank({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 3])
    """

    def __init__(self, in_features: Mapping[str, int], *, features: Positive | None = None, rank: Positive = 4) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.out_features = features or max(in_features.values())
        self.factors = nn.ParameterList(
            nn.Parameter(torch.empty(rank, width + 1, self.out_features)) for width in in_features.values()
        )
        self.bias = nn.Parameter(torch.zeros(self.out_features))
        for factor in self.factors:
            for matrix in factor:
                nn.init.xavier_normal_(matrix)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Projects by every rank's factors, multiplies over modalities, adds over ranks."""
        products = []
        for modality, factor in zip(self.modalities, self.factors, strict=True):
            feature = features[modality]
            products.append(torch.cat([feature, feature.new_ones(feature.shape[0], 1)], dim=1) @ factor)
        return torch.stack(products).prod(dim=0).sum(dim=0) + self.bias
