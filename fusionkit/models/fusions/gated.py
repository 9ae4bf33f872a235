"""Gated multi-modal units."""

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


@FUSIONS.register("gated")
class Gated(Fusion):
    r"""Gated multi-modal unit: every sample opens its own gates, feature by feature.

    .. math::
        h_m = \tanh(W_m \hat f_m), \qquad z_m = \sigma\left(V_m [\hat f_1; \dots; \hat f_M]\right), \qquad
        \mathrm{fused} = \sum_m z_m \odot h_m

    With two modalities the gates are tied, as the authors do: :math:`z_2 = 1 - z_1`. :math:`\hat f_m` is the normalised
    feature of modality m. Choose it where which modality to trust differs from sample to sample. The gate of an absent
    modality is shut; of two, the other's is then wide open. It costs :math:`\sum_m d_m d (1 + M)` multiply-adds a
    sample, of two :math:`2 \sum_m d_m d`.

    Args:
        in_features: Width of each modality, in the recipe's order.
        features: Width d of the output; None for that of the widest modality.

    Source:
        Arevalo et al. 2017, arXiv:1702.01992, section 3.2 and Fig. 2: (a) for many modalities, (b) for two. Absent
        modalities are ours.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> Gated({"audio": 2, "video": 3})(features, {"audio": None, "video": None}).shape
        torch.Size([4, 3])
    """

    def __init__(self, in_features: Mapping[str, int], *, features: Annotated[int, Field(gt=0)] | None = None) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.values = Projections(in_features, features, bias=False)
        self.out_features = self.values.width
        total, gates = sum(in_features.values()), 1 if len(in_features) == 2 else len(in_features)
        self.gates = nn.ModuleList(nn.Linear(total, self.out_features, bias=False) for _ in range(gates))

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Opens the gates and adds what passes."""
        everything = torch.cat([features[modality] for modality in self.modalities], dim=1)
        opened = [gate(everything).sigmoid() for gate in self.gates]
        masks = [present[modality] for modality in self.modalities]
        if len(masks) == 2:
            opened = _tie(opened[0], *masks)
        passed = []
        for value, gate, mask in zip(self.values(features), opened, masks, strict=True):
            shut = gate if mask is None else torch.where(mask[:, None], gate, 0.0)
            passed.append(shut * value.tanh())
        return torch.stack(passed).sum(dim=0)


def _tie(gate: Tensor, first: Tensor | None, second: Tensor | None) -> list[Tensor]:
    """Returns the gates of two modalities, which sum to 1: where one is absent, the other's is wide open."""
    if second is not None:
        gate = torch.where(second[:, None], gate, 1.0)
    if first is not None:
        gate = torch.where(first[:, None], gate, 0.0)
    return [gate, 1 - gate]
