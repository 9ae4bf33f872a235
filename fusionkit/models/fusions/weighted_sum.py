"""All modalities projected to one width and averaged with learned weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.interfaces import Fusion
from fusionkit.models.fusions.projections import Projections
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.layers import masked_softmax


@FUSIONS.register("weighted_sum")
class WeightedSum(Fusion):
    r"""All modalities projected to one width and averaged with learned weights.

    .. math::
        \mathrm{fused} = \sum_m \alpha_m \left(W_m \hat f_m + b_m\right), \qquad
        \alpha_m = \frac{p_m e^{a_m}}{\sum_n p_n e^{a_n}}

    :math:`\hat f_m` is the normalised feature of modality m, :math:`a_m` a learned number that starts at 0, :math:`p_m`
    1 where the sample has the modality and 0 where it lacks it: what is absent weighs nothing, and what is present
    shares its weight. Choose it to read off how much each modality counts; the weights are the same for every sample
    (see `gated` for weights that are not). It costs :math:`\sum_m d_m d` multiply-adds a sample.

    Args:
        in_features: Width of each modality, in the recipe's order.
        features: Width d of the output; None for that of the widest modality.

    Source:
        The scalar mix of Peters et al. 2018, https://doi.org/10.18653/v1/N18-1202, eq. (1), without its factor, over
        modalities instead of layers; absent modalities are ours.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> WeightedSum({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 3])
    """

    def __init__(self, in_features: Mapping[str, int], *, features: Annotated[int, Field(gt=0)] | None = None) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.projections = Projections(in_features, features)
        self.out_features = self.projections.width
        self.logits = nn.Parameter(torch.zeros(len(in_features)))

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Projects, weighs and adds."""
        projected = torch.stack(self.projections(features), dim=1)
        logits = self.logits.expand(projected.shape[0], -1)
        weights = masked_softmax(logits, [present[modality] for modality in self.modalities])
        return (weights[:, :, None] * projected).sum(dim=1)
