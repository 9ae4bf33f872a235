"""Attention bottlenecks between the modalities' sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from einops import repeat
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import FUSIONS
from fusionkit.interfaces import Fusion
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.layers import masked_softmax
from fusionkit.nn.tokens import SequenceTokens, attention_width

Positive = Annotated[int, Field(gt=0)]


@FUSIONS.register("bottleneck")
class Bottleneck(Fusion):
    r"""Transformer layers for every modality's own sequence; a few shared tokens are all that passes between.

    .. math::
        [z_m^{l+1}; \hat b_m^{l+1}] = \mathrm{Transformer}_m^l([z_m^l; b^l]), \qquad
        b^{l+1} = \frac{1}{|P|} \sum_{m \in P} \hat b_m^{l+1}, \qquad
        \mathrm{fused} = \frac{1}{|P|} \sum_{m \in P} \mathrm{LayerNorm}(z_{m,0}^L)

    :math:`z_m^0` is a learned class token and the encoded sequence of modality m, with the codes of its positions,
    :math:`b^0` the learned bottleneck, P the modalities that the sample has: an absent one says nothing to the
    bottleneck and nothing to the mean. It reads the sequences before aggregation; the aggregators serve the uni-modal
    heads only. Choose it for long sequences whose moments matter to each other and enough data. With width w and
    sequences of T elements a layer costs some :math:`(T + B + 1)(12 w^2 + 2 (T + B + 1) w)` multiply-adds per modality.

    Args:
        in_features: Width of each modality's vector, in the recipe's order; not read.
        sequence_features: Width of an element of each modality's sequence.
        width: Width w of the tokens and of the output, a multiple of `heads`.
        bottlenecks: Shared tokens B.
        layers: Layers L of every modality.
        heads: Attention heads.
        dropout: Probability of dropping a value in every layer, 0 to below 1.

    Raises:
        RecipeError: `width` is no multiple of `heads`.

    Source:
        Nagrani et al. 2021, arXiv:2107.00135, section 3.2.3, eqs. (8), (9), every layer a fusion layer, since the
        encoders are the layers before. The authors average the class tokens' scores, here the tokens are averaged;
        absent modalities are ours.

    Example:
        >>> fusion = Bottleneck({"audio": 2, "video": 3}, {"audio": 4, "video": 5}, width=8)
        >>> features = {"audio": torch.zeros(2, 2), "video": torch.zeros(2, 3)}
        >>> films = {"audio": torch.zeros(3, 4), "video": torch.zeros(3, 5)}
        >>> films = {name: Jagged.from_sizes(values, [2, 1]) for name, values in films.items()}
        >>> fusion(features, {"audio": None, "video": None}, films).shape
        torch.Size([2, 8])
    """

    reads_sequences = True

    def __init__(
        self,
        in_features: Mapping[str, int],
        sequence_features: Mapping[str, int],
        *,
        width: Positive = 64,
        bottlenecks: Positive = 4,
        layers: Positive = 2,
        heads: Positive = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.modalities = tuple(in_features)
        self.out_features = attention_width(width, heads, width, source="bottleneck")
        self.tokens = nn.ModuleList(SequenceTokens(sequence_features[name], width) for name in self.modalities)
        self.class_tokens = nn.Parameter(torch.randn(len(self.modalities), width) / math.sqrt(width))
        self.bottleneck = nn.Parameter(torch.randn(bottlenecks, width) / math.sqrt(width))
        self.depth = layers
        self.layers = nn.ModuleList(  # one modality's after the other
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True, norm_first=True)
            for _ in self.modalities
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.modalities)

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Lets every sequence attend to itself and to the bottleneck."""
        assert sequences is not None
        pairs = zip(self.modalities, self.tokens, strict=True)
        return self.attend([tokens(sequences[name], present[name]) for name, tokens in pairs], present)

    def attend(
        self, given: Sequence[tuple[Tensor, Tensor]], present: Mapping[str, Bool[Tensor, " batch"] | None]
    ) -> Float[Tensor, "batch out_features"]:
        """Does so with tokens ``(batch, time, width)`` and the mask of those that count, by modality in order."""
        states, padding = [], []
        batch = given[0][0].shape[0]  # `len` would be a constant in an exported graph
        for (elements, valid), first in zip(given, self.class_tokens, strict=True):
            always = valid.new_ones(batch, 1)
            start = repeat(first, "width -> batch 1 width", batch=batch)
            states.append(torch.cat([start, elements], dim=1))
            # The class token stands first and the bottleneck last; both are there even for an absent modality.
            padding.append(~torch.cat([always, valid, always.expand(-1, len(self.bottleneck))], dim=1))
        masks = [present[name] for name in self.modalities]
        weights = masked_softmax(states[0].new_zeros(batch, len(states)), masks)
        shared: Tensor = repeat(self.bottleneck, "tokens width -> batch tokens width", batch=batch)
        for depth in range(self.depth):
            bent = []
            for place, state in enumerate(states):
                layer = self.layers[place * self.depth + depth]
                output = layer(torch.cat([state, shared], dim=1), src_key_padding_mask=padding[place])
                states[place] = output[:, : state.shape[1]]
                bent.append(output[:, state.shape[1] :])
            shared = torch.einsum("bm,mbtw->btw", weights, torch.stack(bent))
        said = [norm(state[:, 0]) for norm, state in zip(self.norms, states, strict=True)]
        return torch.einsum("bm,mbw->bw", weights, torch.stack(said))
