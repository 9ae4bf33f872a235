"""All modalities projected to one width and added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import FUSIONS
from fusionkit.interfaces import Fusion
from fusionkit.models.fusions.projections import Projections
from fusionkit.nn.jagged import Jagged


@FUSIONS.register("sum")
class Sum(Fusion):
    r"""All modalities projected to one width and added.

    .. math::
        \mathrm{fused} = \sum_{m=1}^M \left(W_m \hat f_m + b_m\right)

    :math:`\hat f_m` is the normalised feature of modality m. A dense unit on a concatenation is such a sum, so this is
    what `concat` and one layer do, with an output that does not grow with the modalities. An absent modality adds the
    projection of the model's learned placeholder. It costs :math:`\sum_m d_m d` multiply-adds a sample.

    Args:
        in_features: Width of each modality, in the recipe's order.
        features: Width d of the output; None for that of the widest modality.

    Source:
        The additive combination that Baltrusaitis et al. 2019, https://doi.org/10.1109/TPAMI.2018.2798607, section 6.1,
        count among the model-agnostic fusions; absent modalities are ours.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> Sum({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 3])
    """

    def __init__(self, in_features: Mapping[str, int], *, features: Annotated[int, Field(gt=0)] | None = None) -> None:
        super().__init__()
        self.projections = Projections(in_features, features)
        self.out_features = self.projections.width

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Projects and adds."""
        return torch.stack(self.projections(features)).sum(dim=0)
