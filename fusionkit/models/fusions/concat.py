"""The paper's FusionComponent up to its Scoring."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.layers import FeatureNorm


@FUSIONS.register("concat")
class Concat(Fusion):
    r"""All modalities side by side, normalised.

    .. math::
        \mathrm{fused} = \mathrm{FeatureNorm}([\hat f_1; \dots; \hat f_M])

    :math:`\hat f_m` is the normalised feature of modality m. With `classification` and its Scoring behind it, this is
    the paper's FusionComponent: N0 without uni-modal heads, N1 with them. A batch norm works on each feature alone,
    so it is computed for one modality's block after the other; rows that lack a modality hold the model's learned
    placeholder, are normalised as well, and do not enter that block's statistics. In evaluation the running
    statistics are used.

    Args:
        in_features: Width of each modality, in the recipe's order; the output has their sum.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eqs. (3), (7). Eq. (4) does not show the
        normalisation, the text and eq. (3) do; absent modalities are ours.

    Example:
        >>> fusion = Concat({"audio": 2, "video": 3})
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> fusion(features, {"audio": None, "video": None}).shape
        torch.Size([4, 5])
    """

    def __init__(self, in_features: Mapping[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.norms = nn.ModuleList(FeatureNorm(width) for width in in_features.values())
        self.blocks = tuple(in_features.values())
        self.out_features = sum(self.blocks)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Normalises and concatenates."""
        blocks = [
            norm(features[modality], present[modality])
            for modality, norm in zip(self.modalities, self.norms, strict=True)
        ]
        return torch.cat(blocks, dim=1)
