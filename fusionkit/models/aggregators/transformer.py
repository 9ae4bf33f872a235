"""A transformer whose outputs are averaged."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from einops import repeat
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import AGGREGATORS
from fusionkit.interfaces import Aggregator
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.tokens import attention_width, sinusoidal_positions


@AGGREGATORS.register("transformer")
class Transformer(Aggregator):
    r"""Self-attention over the sequence, then the average of its outputs or that of a class token.

    .. math::
        A(x_1 \dots x_n) = \frac{1}{n} \sum_t z_t, \qquad
        z = \mathrm{LayerNorm}(\mathrm{Transformer}(W x_t + b + p_t))

    :math:`p_t` is the sinusoidal code of the position. With ``summary: class_token`` a learned vector is put before
    the sequence and its output is the summary. Every element sees every other one of its sample and none of another:
    padding is masked. Choose it where far elements must meet and there are data enough. Dropout acts in training only.

    Args:
        in_features: Width of the elements.
        width: Width inside and of the output, positive, a multiple of `heads`.
        heads: Attention heads, positive.
        layers: Transformer layers, positive.
        feedforward: Hidden width of each layer's dense units, positive; None for four times `width`.
        dropout: Probability of dropping a value in every layer, 0 to below 1.
        summary: ``average`` of the valid outputs (the paper's), or the output of a learned ``class_token``.

    Raises:
        RecipeError: `width` is no multiple of `heads`.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, sections 3.1-3.5, normalised before each block as in Xiong et al. 2020,
        arXiv:2002.04745; averaged as in Chang and Skarbek 2021, https://doi.org/10.3390/s21165452; class token as in
        Devlin et al. 2019, https://doi.org/10.18653/v1/N19-1423.

    Example:
        >>> Transformer(3, width=8, heads=2)(Jagged(torch.zeros(5, 3), torch.tensor([4, 1]))).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        in_features: int,
        *,
        width: Annotated[int, Field(gt=0)] = 128,
        heads: Annotated[int, Field(gt=0)] = 4,
        layers: Annotated[int, Field(gt=0)] = 1,
        feedforward: Annotated[int, Field(gt=0)] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        summary: Literal["average", "class_token"] = "average",
    ) -> None:
        super().__init__()
        self.out_features = attention_width(width, heads, width, source="transformer")
        self.dense = nn.Linear(in_features, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, feedforward or 4 * width, dropout, batch_first=True, norm_first=True
        )
        # Nested tensors would warn, and are refused by layers that normalise first.
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.token = nn.Parameter(torch.randn(width) / math.sqrt(width)) if summary == "class_token" else None

    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Lets every sample's elements attend to each other, and summarises them."""
        elements = sequence.with_values(self.dense(sequence.values))
        return self.summarise_padded(elements.to_padded(), elements.lengths)

    def summarise_padded(
        self, padded: Float[Tensor, "batch time width"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch out_features"]:
        """Does so with elements that are of the inner width already, and padded."""
        padded = padded + sinusoidal_positions(padded)
        if self.token is not None:
            token = repeat(self.token, "width -> batch 1 width", batch=padded.shape[0])
            padded = torch.cat([token, padded], dim=1)
            lengths = lengths + 1
        padding = torch.arange(padded.shape[1], device=padded.device) >= lengths[:, None]
        outputs: Tensor = self.layers(padded, src_key_padding_mask=padding)
        if self.token is not None:
            return outputs[:, 0]
        return outputs.masked_fill(padding[:, :, None], 0.0).sum(dim=1) / lengths[:, None]
