"""Attention among the modalities."""

from __future__ import annotations

import math
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
from fusionkit.nn.tokens import attention_width

Positive = Annotated[int, Field(gt=0)]


@FUSIONS.register("attention")
class Attention(Fusion):
    r"""Attention among the modalities as tokens, in a Transformer layer whose class token sums up.

    .. math::
        \mathrm{fused} = \mathrm{LayerNorm}(z_0), \qquad
        z = \mathrm{Transformer}\left([c;\; W_1 \hat f_1 + b_1;\; \dots;\; W_M \hat f_M + b_M]\right)

    :math:`\hat f_m` is the normalised feature of modality m, c a learned class token; the bias of each projection also
    tells which modality a token is of. Absent modalities are masked: nothing attends to them, so no placeholder is
    used. Choose it for many modalities that may be missing. With width w it costs some
    :math:`(M + 1) \cdot 12 w^2` multiply-adds a sample and layer.

    Args:
        in_features: Width of each modality, in the recipe's order.
        width: Width w of the tokens and of the output, a multiple of `heads`; None for that of the widest modality,
            rounded up to such a multiple.
        heads: Attention heads.
        layers: Transformer layers.
        dropout: Probability of dropping a value in every layer, 0 to below 1.

    Raises:
        RecipeError: `width` is no multiple of `heads`.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, sections 3.1-3.3, normalised before each block as in Xiong et al. 2020,
        arXiv:2002.04745; the class token as in Devlin et al. 2019, https://doi.org/10.18653/v1/N19-1423.

    Example:
        >>> features = {"audio": torch.zeros(4, 2), "video": torch.zeros(4, 3)}
        >>> Attention({"audio": 2, "video": 3}, heads=2)(features, {"audio": None, "video": None}).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        in_features: Mapping[str, int],
        *,
        width: Positive | None = None,
        heads: Positive = 4,
        layers: Positive = 1,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.out_features = attention_width(width, heads, max(in_features.values()), source="attention")
        self.projections = Projections(in_features, self.out_features)
        self.token = nn.Parameter(torch.randn(self.out_features) / math.sqrt(self.out_features))
        layer = nn.TransformerEncoderLayer(
            self.out_features, heads, 4 * self.out_features, dropout, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(self.out_features)
        self.layers = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Lets the modalities attend to each other."""
        tokens = self.projections(features)
        everyone = torch.ones(tokens[0].shape[0], dtype=torch.bool, device=tokens[0].device)
        masks = [present[modality] for modality in self.modalities]
        seen = torch.stack([everyone, *(everyone if mask is None else mask for mask in masks)], dim=1)
        padded = torch.stack([self.token.expand_as(tokens[0]), *tokens], dim=1)
        outputs: Tensor = self.layers(padded, src_key_padding_mask=~seen)
        return outputs[:, 0]
