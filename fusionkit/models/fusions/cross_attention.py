"""Cross-modal attention between the modalities' sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.errors import RecipeError
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.tokens import SequenceTokens, attention_width

Positive = Annotated[int, Field(gt=0)]
Tokens = tuple[Tensor, Tensor]
"""``(batch, time, width)``, and which of them are padding, ``(batch, time)``."""


@FUSIONS.register("cross_attention")
class CrossAttention(Fusion):
    r"""Attention of every modality's sequence to every other one, then to itself; its last moment sums it up.

    .. math::
        \mathrm{fused} = [\mathrm{last}(y_1); \dots; \mathrm{last}(y_M)], \qquad
        y_m = \mathrm{Transformer}_m\left([z_{n \to m} : n \ne m]\right), \qquad
        z_{n \to m} = \mathrm{CrossModal}_{nm}(z_m, z_n)

    :math:`z_m` is the encoded sequence of modality m at width w with the codes of its positions. A layer of CrossModal
    is :math:`z \leftarrow z + \mathrm{Attention}(\mathrm{LN}(z), \mathrm{LN}(z_n))`, then the usual dense units: the
    queries are the target's elements, keys and values the source's, so the two need not be aligned in time. It reads
    the sequences before aggregation; the aggregators serve the uni-modal heads only. The sequence of an absent modality
    is a learned token. Choose it for long unaligned sequences and many data: with sequences of T elements it costs
    some :math:`M (M - 1)\, T (12 w^2 + 2 T w) L` multiply-adds, and as much again for the Transformers at
    :math:`(M - 1) w`.

    Args:
        in_features: Width of each modality's vector, in the recipe's order; not read.
        sequence_features: Width of an element of each modality's sequence.
        width: Width w of an element, a multiple of `heads`; the output has M (M - 1) times as many numbers.
        layers: Layers L of each cross-modal and of each modality's own Transformer.
        heads: Attention heads.
        dropout: Probability of dropping a value in every layer, 0 to below 1.

    Raises:
        RecipeError: `width` is no multiple of `heads`, or there is one modality only.

    Source:
        Tsai et al. 2019, https://doi.org/10.18653/v1/P19-1656, section 3.1-3.3, eqs. (2)-(5), with a convolution of
        length 1. The identity is added unnormalised, as in the authors' program; absent modalities are ours.

    Example:
        >>> fusion = CrossAttention({"audio": 2, "video": 3}, {"audio": 4, "video": 5}, width=8)
        >>> features = {"audio": torch.zeros(2, 2), "video": torch.zeros(2, 3)}
        >>> films = {"audio": torch.zeros(3, 4), "video": torch.zeros(3, 5)}
        >>> films = {name: Jagged.from_sizes(values, [2, 1]) for name, values in films.items()}
        >>> fusion(features, {"audio": None, "video": None}, films).shape
        torch.Size([2, 16])
    """

    reads_sequences = True

    def __init__(
        self,
        in_features: Mapping[str, int],
        sequence_features: Mapping[str, int],
        *,
        width: Positive = 32,
        layers: Positive = 1,
        heads: Positive = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if len(in_features) < 2:
            raise RecipeError("cross_attention: there is no second modality to attend to; use bottleneck or attention")
        attention_width(width, heads, width, source="cross_attention")
        self.modalities = tuple(in_features)
        self.tokens = nn.ModuleList(SequenceTokens(sequence_features[name], width) for name in self.modalities)
        self.absent = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in self.modalities)
        self.ways = tuple(permutations(range(len(in_features)), 2))  # target, source
        self.crossings = nn.ModuleList(_CrossModal(width, heads, layers, dropout) for _ in self.ways)
        joined = width * (len(in_features) - 1)
        self.transformers = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(joined, heads, 4 * joined, dropout, batch_first=True, norm_first=True),
                layers,
                nn.LayerNorm(joined),
                enable_nested_tensor=False,
            )
            for _ in self.modalities
        )
        self.out_features = joined * len(in_features)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Lets every sequence attend to the others and to itself."""
        assert sequences is not None
        pairs = zip(self.modalities, self.tokens, strict=True)
        return self.attend([tokens(sequences[name], present[name]) for name, tokens in pairs])

    def attend(self, read: Sequence[Tokens]) -> Float[Tensor, "batch out_features"]:
        """Does so with tokens ``(batch, time, width)`` and the mask of those that count, by modality in order."""
        given = [self._stand_in(place, *of) for place, of in enumerate(read)]
        enriched: list[list[Tensor]] = [[] for _ in given]
        for (target, source), crossing in zip(self.ways, self.crossings, strict=True):
            enriched[target].append(crossing(given[target][0], *given[source]))
        last = []
        for states, (_, padding), transformer in zip(enriched, given, self.transformers, strict=True):
            outputs = transformer(torch.cat(states, dim=2), src_key_padding_mask=padding)
            final = (~padding).sum(dim=1) - 1
            last.append(outputs[torch.arange(outputs.shape[0], device=outputs.device), final])
        return torch.cat(last, dim=1)

    def _stand_in(self, place: int, tokens: Tensor, valid: Tensor) -> Tokens:
        """Returns the tokens and the mask of padding; the tokens of an absent modality are a single learned one."""
        nothing = ~valid.any(dim=1)
        first = torch.arange(tokens.shape[1], device=tokens.device) == 0
        stands_in = nothing[:, None] & first
        return torch.where(stands_in[:, :, None], self.absent[place], tokens), ~(valid | stands_in)


class _CrossModal(nn.Module):
    """Cross-modal layers one after another; all attend to the same source."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_CrossModalLayer(width, heads, dropout) for _ in range(layers))

    def forward(self, target: Tensor, source: Tensor, padding: Tensor) -> Tensor:
        """Enriches the target's elements ``(batch, time, width)``."""
        for layer in self.layers:
            target = layer(target, source, padding)
        return target


class _CrossModalLayer(nn.Module):
    """One cross-modal layer: the target's elements attend to the source's."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.source_norm, self.dense_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, source: Tensor, padding: Tensor) -> Tensor:
        """Enriches the target's elements ``(batch, time, width)``."""
        keys = self.source_norm(source)
        seen, _ = self.attention(self.norm(target), keys, keys, key_padding_mask=padding, need_weights=False)
        target = target + self.dropout(seen)
        enriched: Tensor = target + self.dropout(self.dense(self.dense_norm(target)))
        return enriched
