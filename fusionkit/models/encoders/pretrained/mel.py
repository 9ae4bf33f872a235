"""Log-mel spectrograms as pretrained networks were given them: convolutions, whose kernels hold all that is linear."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Scale = Callable[[Tensor], Tensor]
"""From frequencies in Hz to places on a scale of pitch."""


class WhisperMel(nn.Module):
    r"""The log-mel spectrogram of Whisper.

    .. math::
        Y = \tfrac14 \bigl(4 + \max(S, \max S - 8)\bigr), \qquad
        S_{tb} = \log_{10} \max\Bigl(\sum_k M_{bk} |X_t(k)|^2,\; 10^{-10}\Bigr)

    X is the Fourier transform of n samples under a periodic Hann window, centred on sample ``t * hop``; at the edges of
    the wave it is mirrored. The maximum is that of the whole wave. M are triangles of unit area on Slaney's scale.

    Args:
        bands: Bands up to 8 kHz.
        rate: Samples per second.
        size: Samples n of the window.
        hop: Samples from one column to the next.

    Source:
        Radford et al. 2022, https://arxiv.org/abs/2212.04356, and its feature extractor in transformers.
    """

    kernels: Tensor
    filters: Tensor

    def __init__(self, bands: int, rate: int, size: int, hop: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        window = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(size, dtype=torch.float64) / size)
        self.register_buffer("kernels", _make_kernels(torch.diag(window), size), persistent=False)
        frequencies = torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size
        filters, edges = _make_triangles(frequencies, bands, 0.0, 8000.0, _to_slaney)
        area = 2 / (_from_slaney(edges[2:]) - _from_slaney(edges[:-2]))
        self.register_buffer("filters", (filters * area[:, None]).float(), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Transforms waves ``(rows, samples)`` to ``(rows, bands, samples // hop)``."""
        with torch.autocast(waves.device.type, enabled=False):
            mirrored = functional.pad(waves[:, None], (self.size // 2, self.size // 2), mode="reflect")
            power = _measure_power(mirrored, self.kernels, self.hop)[..., : waves.shape[1] // self.hop]
            logarithm = (self.filters @ power).clamp(min=1e-10).log10()
            loudest = logarithm.amax(dim=(1, 2), keepdim=True)
            scaled: Tensor = (torch.maximum(logarithm, loudest - 8.0) + 4.0) / 4.0
        return scaled


class KaldiMel(nn.Module):
    r"""The log-mel filter banks of Kaldi, as AST is given them.

    .. math::
        Y_{tb} = \ln \max\Bigl(\sum_k M_{bk} |X_t(k)|^2,\; \epsilon\Bigr), \qquad
        X_t = \mathrm{FFT}_{512}\bigl(h \odot P (x_t - \bar x_t)\bigr)

    :math:`x_t` are 25 ms from sample ``t * hop`` on, wholly inside the wave; P subtracts 0.97 of the sample before, h
    is a symmetric Hann window, M are triangles on the scale :math:`1127 \ln(1 + f / 700)` from 20 Hz on.

    Args:
        bands: Bands up to half the sample rate.
        rate: Samples per second.

    Source:
        Povey et al. 2011, The Kaldi speech recognition toolkit; Gong et al. 2021, https://arxiv.org/abs/2104.01778,
        and its feature extractor in transformers.
    """

    kernels: Tensor
    filters: Tensor

    def __init__(self, bands: int, rate: int) -> None:
        super().__init__()
        self.size, self.hop = rate * 25 // 1000, rate // 100
        padded = 2 ** math.ceil(math.log2(self.size))
        window = 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(self.size, dtype=torch.float64) / (self.size - 1))
        centre = torch.eye(self.size, dtype=torch.float64) - 1 / self.size
        before = torch.diag(torch.ones(self.size - 1, dtype=torch.float64), -1)
        before[0, 0] = 1.0  # before the first sample stands the first
        emphasis = torch.eye(self.size, dtype=torch.float64) - 0.97 * before
        self.register_buffer("kernels", _make_kernels(torch.diag(window) @ emphasis @ centre, padded), persistent=False)
        frequencies = torch.arange(padded // 2 + 1, dtype=torch.float64) * rate / padded
        filters, _ = _make_triangles(frequencies, bands, 20.0, rate / 2, _to_kaldi)
        self.register_buffer("filters", filters.float(), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Transforms waves ``(rows, samples)`` to ``(rows, 1 + (samples - size) // hop, bands)``."""
        with torch.autocast(waves.device.type, enabled=False):
            power = _measure_power(waves[:, None], self.kernels, self.hop)
            logarithm: Tensor = (self.filters @ power).clamp(min=torch.finfo(torch.float32).eps).log()
        return logarithm.transpose(1, 2)


def _make_kernels(before: Tensor, size: int) -> Tensor:
    """Makes the kernels of both parts of a Fourier transform of `size` samples, behind a linear map of a frame."""
    samples = before.shape[0]
    # The product is reduced before it is an angle: large angles have few digits.
    turns = (torch.arange(size // 2 + 1)[:, None] * torch.arange(samples)) % size
    angles = 2 * torch.pi * turns.double() / size
    return (torch.cat([angles.cos(), -angles.sin()]) @ before)[:, None].float()


def _measure_power(waves: Tensor, kernels: Tensor, hop: int) -> Tensor:
    parts = functional.conv1d(waves, kernels, stride=hop).square()
    bins = kernels.shape[0] // 2
    return parts[:, :bins] + parts[:, bins:]


def _make_triangles(frequencies: Tensor, bands: int, low: float, high: float, scale: Scale) -> tuple[Tensor, Tensor]:
    """Makes triangles over frequencies; in Hz for Slaney's scale, on the scale itself for Kaldi's."""
    ends = scale(torch.tensor([low, high], dtype=torch.float64))
    edges = ends[:1] + (ends[1:] - ends[:1]) * torch.arange(bands + 2) / (bands + 1)
    in_hertz = scale is _to_slaney
    corners = _from_slaney(edges) if in_hertz else edges
    places = frequencies if in_hertz else scale(frequencies)
    rising = (places - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - places) / (corners[2:] - corners[1:-1])[:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    if not in_hertz:
        triangles[:, -1] = 0  # Kaldi leaves out the last bin
    return triangles, edges


def _to_kaldi(frequencies: Tensor) -> Tensor:
    return 1127 * torch.log1p(frequencies / 700)


def _to_slaney(frequencies: Tensor) -> Tensor:
    """Returns places on Slaney's scale: linear to 1 kHz, logarithmic above."""
    above = 15 + torch.log(frequencies.clamp(min=1000.0) / 1000) * (27 / math.log(6.4))
    return torch.where(frequencies < 1000, frequencies * 3 / 200, above)


def _from_slaney(places: Tensor) -> Tensor:
    above = 1000 * torch.exp((places.clamp(min=15.0) - 15) * (math.log(6.4) / 27))
    return torch.where(places < 15, places * 200 / 3, above)
