"""Forms of fusions: of vectors each is its own, of sequences they are given padded ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusionkit.errors import ExportError
from fusionkit.inference.export.forms.padded import Padded
from fusionkit.inference.export.forms.registry import Engine, find_form, register_form
from fusionkit.interfaces import Fusion
from fusionkit.models.fusions import Bottleneck, CrossAttention, Mrpn
from fusionkit.models.fusions.mrpn import bend_feature
from fusionkit.nn.tokens import SequenceTokens, sinusoidal_positions

ByModality = Mapping[str, Tensor]


class VectorForm(nn.Module):
    """A fusion of vectors, as it is.

    Args:
        fusion: The fusion.
    """

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, features: ByModality, present: ByModality, sequences: Mapping[str, Padded]) -> Tensor:
        """Fuses the features."""
        fused: Tensor = self.fusion(features, present)
        return fused


@register_form(Fusion, restates=False)
def _make_vector_form(fusion: Fusion, engine: Engine) -> nn.Module:
    if fusion.reads_sequences:
        name = type(fusion).__name__
        message = "it reads sequences, and has no form for padded ones; `register_form` gives it one"
        raise ExportError(f"{name} cannot be exported: {message}; `fusionkit.load` runs the network as it is")
    return VectorForm(fusion)


class TokenForm(nn.Module):
    """A fusion that attends to the tokens of sequences.

    Args:
        fusion: The fusion.
    """

    def __init__(self, fusion: Bottleneck | CrossAttention) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, features: ByModality, present: ByModality, sequences: Mapping[str, Padded]) -> Tensor:
        """Reads the tokens of every modality, and fuses them."""
        pairs = zip(self.fusion.modalities, self.fusion.tokens, strict=True)
        given = [_read_tokens(tokens, sequences[name]) for name, tokens in pairs]
        fusion = self.fusion
        return fusion.attend(given, present) if isinstance(fusion, Bottleneck) else fusion.attend(given)


def _read_tokens(tokens: nn.Module, sequence: Padded) -> tuple[Tensor, Tensor]:
    assert isinstance(tokens, SequenceTokens)
    elements = tokens.dense(sequence.fill().values)
    # An absent modality has tokens as well, of padding, which nothing attends to.
    elements = torch.where(sequence.wide_mask, elements, 0.0)
    return elements + sinusoidal_positions(elements), sequence.valid


@register_form(Bottleneck)
@register_form(CrossAttention)
def _make_token_form(fusion: Bottleneck | CrossAttention, engine: Engine) -> nn.Module:
    return TokenForm(fusion)


class PerceptronForm(nn.Module):
    """Residual perceptrons of vectors or of elements, and the form of the fusion behind them.

    Args:
        fusion: The fusion with its perceptrons.
        engine: What runs the graph.
    """

    def __init__(self, fusion: Mrpn, engine: Engine) -> None:
        super().__init__()
        self.modalities, self.bends_sequences = fusion.modalities, fusion.bends_sequences
        self.perceptrons = fusion.perceptrons
        self.behind = find_form(fusion.fusion, engine)

    def forward(self, features: ByModality, present: ByModality, sequences: Mapping[str, Padded]) -> Tensor:
        """Corrects what is present, then fuses."""
        pairs = list(zip(self.modalities, self.perceptrons, strict=True))
        if self.bends_sequences:
            sequences = {name: _bend_elements(perceptron, sequences[name]) for name, perceptron in pairs}
        else:
            features = {name: bend_feature(perceptron, features[name], present[name]) for name, perceptron in pairs}
        fused: Tensor = self.behind(features, present, sequences)
        return fused


def _bend_elements(perceptron: nn.Module, sequence: Padded) -> Padded:
    bent = perceptron(sequence.values.flatten(0, 1))
    return Padded(bent.reshape(sequence.values.shape), sequence.lengths)


@register_form(Mrpn)
def _make_perceptron_form(fusion: Mrpn, engine: Engine) -> nn.Module:
    return PerceptronForm(fusion, engine)
