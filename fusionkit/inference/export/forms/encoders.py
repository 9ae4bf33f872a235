"""Forms of encoders that take every element by itself, and of convolutions over time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from fusionkit.inference.export.forms.padded import Padded, divide_up
from fusionkit.inference.export.forms.registry import Engine, register_form
from fusionkit.interfaces import ElementEncoder
from fusionkit.models.encoders import Conv1d


class ElementForm(nn.Module):
    """An encoder of single elements, on all elements of all samples at once; padding is encoded and never read.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: ElementEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, sequence: Padded) -> Padded:
        """Encodes every element."""
        batch, time = sequence.values.shape[:2]
        encoded = self.encoder.encode(sequence.values.flatten(0, 1))
        return Padded(encoded.reshape(batch, time, *self.encoder.out_shape), sequence.lengths)


@register_form(ElementEncoder)
def _make_element_form(encoder: ElementEncoder, engine: Engine) -> nn.Module:
    return ElementForm(encoder)


class ConvolutionForm(nn.Module):
    """Convolutions over time, between zeros on either side of every sample.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: Conv1d) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, sequence: Padded) -> Padded:
        """Convolves every sample, ``ceil(n / stride)`` elements from n at each convolution."""
        encoder = self.encoder
        batch, time = sequence.values.shape[:2]
        sequence = Padded(sequence.values.reshape(batch, time, -1), sequence.lengths)
        before = (encoder.kernel - 1) // 2
        for convolution, follower in zip(encoder.convolutions, encoder.followers, strict=True):
            # What stands behind a sample must be zero, as it is behind one that is convolved alone.
            stream = functional.pad(sequence.fill().values.transpose(1, 2), (before, encoder.kernel + encoder.stride))
            columns: torch.Tensor = convolution(stream).transpose(1, 2)
            batch, time, channels = columns.shape
            followed = follower(columns.reshape(-1, channels)).reshape(batch, time, channels)
            sequence = Padded(followed, divide_up(sequence.lengths, encoder.stride))
        return sequence


@register_form(Conv1d)
def _make_convolution_form(encoder: Conv1d, engine: Engine) -> nn.Module:
    return ConvolutionForm(encoder)
