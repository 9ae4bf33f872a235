"""The multi-modal residual perceptron network's fusion: residual perceptrons in front of any other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.config.components.specs import FusionSpec
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.layers import ResidualPerceptron

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
    statistic. Of a fusion that reads sequences the elements are corrected instead, each by itself. In evaluation the
    running statistics are used. It costs :math:`\sum_m d_m^2` multiply-adds a sample.

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
        widths, wired = in_features, [in_features]
        self.bends_sequences = of.type != "mrpn" and FUSIONS.get(of.type).cls.reads_sequences
        if self.bends_sequences:
            if sequence_features is None:
                raise ValueError(f"mrpn: {of.type} reads sequences, so sequence_features must be given")
            widths, wired = sequence_features, [in_features, sequence_features]
        elif of.type == "mrpn" and sequence_features is not None:
            wired = [in_features, sequence_features]
        self.perceptrons = nn.ModuleList(ResidualPerceptron(widths[modality]) for modality in self.modalities)
        self.fusion: Fusion = FUSIONS.build(of.type, *wired, **of.options)
        self.out_features, self.blocks = self.fusion.out_features, self.fusion.blocks
        self.reads_sequences = self.fusion.reads_sequences

    @property
    def adapts_for(self) -> Fusion | None:
        """The fusion behind the perceptrons, unless they correct elements of sequences."""
        return None if self.bends_sequences else self.fusion

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Corrects what is present, then fuses."""
        pairs = zip(self.modalities, self.perceptrons, strict=True)
        if self.bends_sequences:
            assert sequences is not None
            sequences = {name: sequences[name].with_values(bend(sequences[name].values)) for name, bend in pairs}
        else:
            features = {name: bend_feature(bend, features[name], present[name]) for name, bend in pairs}
        extra = {"sequences": sequences} if self.fusion.reads_sequences else {}
        fused: Tensor = self.fusion(features, present, **extra)
        return fused


def bend_feature(perceptron: nn.Module, feature: Tensor, present: Tensor | None) -> Tensor:
    """Corrects a feature; rows that are absent stay as they are."""
    bent: Tensor = perceptron(feature, present)
    return bent if present is None else torch.where(present[:, None], bent, feature)
