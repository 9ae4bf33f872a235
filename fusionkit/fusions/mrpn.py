"""The multi-modal residual perceptron network's fusion."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusionkit.fusions.concat import Concat
from fusionkit.interfaces import Fusion
from fusionkit.jagged import Jagged
from fusionkit.layers import ResidualPerceptron
from fusionkit.registry import FUSIONS


@FUSIONS.register("mrpn")
class Mrpn(Fusion):
    r"""A residual perceptron for each modality, then all side by side, normalised.

    .. math::
        \mathrm{fused} = \mathrm{FeatureNorm}([f'_1; \dots; f'_M]), \qquad
        f'_m = \hat f_m + \mathrm{FeatureNorm}(\sigma(W_m \hat f_m + b_m))

    :math:`\hat f_m` is the normalised feature of modality m, which the uni-modal heads keep reading. The perceptrons
    absorb what only the fused task asks of a feature, so that its gradient does not spoil what the modality knows
    alone; with uni-modal heads this is the paper's N2. Choose it over `concat` where a uni-modal network beats the
    joint one. Placeholders of absent modalities pass the perceptron unchanged and enter no statistic. In evaluation
    the running statistics are used.

    Args:
        in_features: Width of each modality, in the recipe's order; the output has their sum.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eqs. (6), (9). Absent modalities are ours.

    Example:
        >>> fusion = Mrpn({"audio": 2, "video": 3})
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> fusion(features, {"audio": None, "video": None}).shape
        torch.Size([4, 5])
    """

    def __init__(self, in_features: Mapping[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.perceptrons = nn.ModuleList(ResidualPerceptron(width) for width in in_features.values())
        self.concat = Concat(in_features)
        self.out_features = self.concat.out_features

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Corrects what is present, then normalises and concatenates."""
        corrected = {}
        for modality, perceptron in zip(self.modalities, self.perceptrons, strict=True):
            feature, mask = features[modality], present[modality]
            bent = perceptron(feature, mask)
            corrected[modality] = bent if mask is None else torch.where(mask[:, None], bent, feature)
        fused: Tensor = self.concat(corrected, present)
        return fused
