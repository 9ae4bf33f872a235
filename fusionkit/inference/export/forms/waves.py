"""Forms of spectrograms: a Fourier transform as a convolution, whose kernels are windowed sines and cosines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.inference.export.forms.padded import Padded, divide_up
from fusionkit.inference.export.forms.registry import Engine, register_form
from fusionkit.models.encoders import LogMel, Spectrogram
from fusionkit.models.encoders.stft import WaveEncoder

Describe = Callable[[Tensor], Tensor]
"""From the power of columns ``(..., bins)`` to what an encoder says of them."""


class WaveForm(nn.Module):
    """Waves to columns of a Fourier transform, or to segments of such columns.

    Args:
        waves: What the transform is like.
        describe: What is said of the power of columns.
        bins: The number of bins that are described, from the lowest on.
    """

    fourier: Tensor

    def __init__(self, waves: WaveEncoder, describe: Describe, bins: int) -> None:
        super().__init__()
        self.waves, self.describe, self.bins = waves, describe, bins
        self.register_buffer("fourier", _make_kernels(waves.window, bins))

    def forward(self, sequence: Padded) -> Padded:
        """Transforms every wave."""
        batch, time = sequence.values.shape[:2]
        clips = Padded(sequence.values.reshape(batch, time), sequence.lengths)
        clips = (_standardize(clips) if self.waves.standardize else clips).fill()
        width = self.waves.columns
        if width is None:
            columns = self.describe(self._transform(clips.values))
            return Padded(columns, divide_up(clips.lengths, self.waves.hop))
        samples, step = width * self.waves.hop, self.waves.columns_hop
        # A clip that is shorter than a segment is one segment, with zeros behind the clip.
        stride = step * self.waves.hop
        counts = torch.where(clips.lengths > 0, (clips.lengths - samples).clamp(min=0) // stride + 1, 0)
        # At least two of them, since an exported graph takes an axis of length 1 for one that always has it.
        segments = torch.sym_max(time - samples, stride) // stride + 1
        longer = functional.pad(clips.values, (0, samples + stride))
        first = torch.arange(segments)[:, None] * step
        if self.waves.mode == "per_segment":
            cut = longer[:, first * self.waves.hop + torch.arange(samples)]
            described = self.describe(self._transform(cut.flatten(0, 1)))[:, :width]
            images = described.reshape(batch, segments, 1, width, -1)
        else:
            described = self.describe(self._transform(longer))
            images = described[:, first + torch.arange(width)][:, :, None]
        return Padded(images.transpose(3, 4), counts)

    def _transform(self, clips: Tensor) -> Tensor:
        """Returns the power of every column, ``(clips, columns, bins)``, and of some more behind the last one."""
        padded = functional.pad(clips[:, None], (self.waves.window // 2, self.waves.window + self.waves.hop))
        parts = functional.conv1d(padded, self.fourier, stride=self.waves.hop)
        squares = parts.square()
        return (squares[:, : self.bins] + squares[:, self.bins :]).transpose(1, 2)


def _make_kernels(window: int, bins: int) -> Tensor:
    """Makes the kernels of real and imaginary parts, ``(2 * bins, 1, window)``."""
    place = torch.arange(window, dtype=torch.float64)
    # The product is reduced before it is an angle: large angles have few digits.
    turns = (torch.arange(bins)[:, None] * torch.arange(window)) % window
    angles = 2 * torch.pi * turns.double() / window
    hann = 0.5 - 0.5 * (2 * torch.pi * place / window).cos()
    return torch.cat([angles.cos() * hann, -angles.sin() * hann])[:, None].float()


def _standardize(clips: Padded) -> Padded:
    """Standardizes waves as `WaveEncoder` does: silence is only centred."""
    counts = clips.lengths.clamp(min=1).double()[:, None]
    mean = clips.fill().values.double().sum(dim=1, keepdim=True) / counts
    centred = clips.values.double() - mean
    squares = Padded(centred.square(), clips.lengths).fill().values
    deviation = (squares.sum(dim=1, keepdim=True) / counts).sqrt()
    floor = 4 * torch.finfo(clips.values.dtype).eps * mean.abs()
    scaled = centred / torch.where(deviation > floor, deviation, 1.0)
    return Padded(scaled.to(clips.values.dtype), clips.lengths)


@register_form(LogMel)
def _make_log_mel(encoder: LogMel, engine: Engine) -> nn.Module:
    return WaveForm(encoder, encoder.describe_power, encoder.filters.shape[0])


@register_form(Spectrogram)
def _make_spectrogram(encoder: Spectrogram, engine: Engine) -> nn.Module:
    magnitude = encoder.scale == "magnitude"
    return WaveForm(encoder, torch.sqrt if magnitude else encoder.describe_power, encoder.bins)
