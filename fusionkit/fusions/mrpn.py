"""The multi-modal residual perceptron network's fusion: residual perceptrons in front of any other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusionkit.interfaces import Fusion
from fusionkit.jagged import Jagged
from fusionkit.layers import ResidualPerceptron
from fusionkit.registry import FUSIONS
from fusionkit.spec import FusionSpec

_SIDE_BY_SIDE = FusionSpec(type="concat")


@FUSIONS.register("mrpn")
class Mrpn(Fusion):
    r"""A residual perceptron for each modality, then a fusion: the modalities side by side, or any other.

    .. math::
        \mathrm{fused} = \mathrm{Fusion}(f'_1, \dots, f'_M), \qquad
        f'_m = \hat f_m + \mathrm{FeatureNorm}(\sigma(W_m \hat f_m + b_m))

    :math:`\hat f_m` is the normalised feature of modality m, which the uni-modal heads keep reading. The perceptrons
    absorb what only the fused task asks of a feature, so that its gradient does not spoil what the modality knows
    alone; with uni-modal heads and `concat` this is the paper's N2. Choose it over the bare fusion where a uni-modal
    network beats the joint one. Placeholders of absent modalities pass the perceptron unchanged and enter no
    statistic. A fusion that reads sequences is given the corrections of their elements too, by perceptrons of their
    own. In evaluation the running statistics are used. It costs :math:`\sum_m d_m^2` multiply-adds a sample.

    Args:
        in_features: Width of each modality, in the recipe's order.
        sequence_features: Width of an element of each modality's sequence; only a fusion that reads them asks for it.
        of: The fusion behind the perceptrons, by name or with its options.

    Raises:
        ValueError: The fusion reads sequences, and their widths are not given.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, eqs. (6), (9), who claim that residual perceptrons go
        with any fusion. Absent modalities and sequences are ours.

    Example:
        >>> fusion = Mrpn({"audio": 2, "video": 3})
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> fusion(features, {"audio": None, "video": None}).shape
        torch.Size([4, 5])
    """

    reads_sequences = True

    def __init__(
        self,
        in_features: Mapping[str, int],
        sequence_features: Mapping[str, int] | None = None,
        *,
        of: FusionSpec = _SIDE_BY_SIDE,
    ) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.perceptrons = nn.ModuleList(ResidualPerceptron(width) for width in in_features.values())
        self.sequence_perceptrons = nn.ModuleList()
        wired = [in_features]
        if FUSIONS.get(of.type).cls.reads_sequences:
            if sequence_features is None:
                raise ValueError(f"mrpn: {of.type} reads sequences, so sequence_features must be given")
            wired.append(sequence_features)
            if of.type != "mrpn":
                widths = (sequence_features[modality] for modality in self.modalities)
                self.sequence_perceptrons.extend(ResidualPerceptron(width) for width in widths)
        self.fusion = FUSIONS.build(of.type, *wired, **of.options)
        self.out_features = self.fusion.out_features

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Corrects what is present, then fuses."""
        corrected = {}
        for modality, perceptron in zip(self.modalities, self.perceptrons, strict=True):
            feature, mask = features[modality], present[modality]
            bent = perceptron(feature, mask)
            corrected[modality] = bent if mask is None else torch.where(mask[:, None], bent, feature)
        if self.sequence_perceptrons and sequences is not None:
            pairs = zip(self.modalities, self.sequence_perceptrons, strict=True)
            sequences = {
                modality: sequences[modality].with_values(perceptron(sequences[modality].values))
                for modality, perceptron in pairs
            }
        extra = {"sequences": sequences} if self.fusion.reads_sequences else {}
        fused: Tensor = self.fusion(corrected, present, **extra)
        return fused
