"""Networks on spectrograms of fixed length: Whisper's encoder and AST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import reduce
from torch import Tensor, nn

from fusionkit.models.encoders.pretrained.mel import KaldiMel, WhisperMel
from fusionkit.models.encoders.pretrained.network import HiddenStates
from fusionkit.nn.jagged import Jagged

_AST_MEAN, _AST_STD = -4.2677393, 4.5689974
"""Mean and deviation of AudioSet, which AST's extractor takes where a file states none."""


class WhisperWaves(nn.Module):
    """Waves into Whisper's encoder: windows of its one length, with silence behind the last samples of a clip.

    Args:
        network: The network.
        rate: Samples per second.
        size: Samples of a Fourier transform of its spectrogram.
        hop: Samples from one column of it to the next.
    """

    def __init__(self, network: Any, rate: int, size: int, hop: int) -> None:
        super().__init__()
        self.mel = WhisperMel(network.config.num_mel_bins, rate, size, hop)
        self.step: int = hop * network.conv1.stride[0] * network.conv2.stride[0]
        self.window = self.least = network.config.max_source_positions * self.step

    def prepare(self, waves: Jagged) -> Jagged:
        """Leaves clips as they are."""
        return waves

    def forward(self, network: Any, states: HiddenStates, windows: Tensor, sizes: Tensor | None) -> Tensor:
        """Encodes windows."""
        return states.take(network, self.mel(windows))

    def count(self, sizes: Tensor) -> Tensor:
        """Counts the vectors of windows."""
        return (sizes + (self.step - 1)) // self.step


class AstWaves(nn.Module):
    """Waves into AST: windows of its one length, with empty columns behind those of a clip.

    Tokens of one time are averaged over frequency, so there is a vector for every step of patches in time.

    Args:
        network: The network.
        preparation: What its extractor says of the spectrogram.
        rate: Samples per second.
    """

    def __init__(self, network: Any, preparation: Mapping[str, Any], rate: int) -> None:
        super().__init__()
        config = network.config
        self.mel = KaldiMel(config.num_mel_bins, rate)
        self.normalize = bool(preparation.get("do_normalize", True))
        self.mean, self.deviation = float(preparation.get("mean", _AST_MEAN)), float(preparation.get("std", _AST_STD))
        self.step: int = config.time_stride
        self.bands, self.times = network.embeddings.get_shape(config)
        self.window = self.least = (config.max_length - 1) * self.mel.hop + self.mel.size

    def prepare(self, waves: Jagged) -> Jagged:
        """Leaves clips as they are."""
        return waves

    def forward(self, network: Any, states: HiddenStates, windows: Tensor, sizes: Tensor | None) -> Tensor:
        """Encodes windows."""
        columns = self.mel(windows)
        if sizes is not None:
            valid = torch.arange(columns.shape[1], device=columns.device) < self._count_columns(sizes)[:, None]
            columns = torch.where(valid[:, :, None], columns, 0.0)
        if self.normalize:
            columns = (columns - self.mean) / (self.deviation * 2)
        tokens = states.take(network, columns)[:, 2:]
        by_time: Tensor = reduce(tokens, "rows (bands times) width -> rows times width", "mean", bands=self.bands)
        return by_time

    def count(self, sizes: Tensor) -> Tensor:
        """Counts the vectors of windows."""
        counts = ((self._count_columns(sizes) + (self.step - 1)) // self.step).clamp(max=self.times)
        return torch.where(sizes > 0, counts, 0)

    def _count_columns(self, sizes: Tensor) -> Tensor:
        return (sizes.clamp(min=self.mel.size) - self.mel.size) // self.mel.hop + 1
