"""Speech networks on waves of many lengths: wav2vec 2.0, HuBERT, WavLM, data2vec."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.errors import Problem, RecipeError
from fusionkit.models.encoders.pretrained.network import HiddenStates
from fusionkit.nn.jagged import Jagged

EPSILON = 1e-7
"""The number that transformers' feature extractor adds to the variance of a wave."""


class SpeechWaves(nn.Module):
    r"""Waves into a speech network, so that no clip's output depends on the clips that it is padded with.

    .. math::
        \hat x = \frac{x - \bar x}{\sqrt{\mathrm{var}(x) + 10^{-7}}}

    of whole clips, where the network was trained so. A network whose first convolution is followed by a norm over time
    (``feat_extract_norm: group``) is given a norm that leaves out what is padded; transformers' own takes the padding
    for signal. The same holds for positions that come of several convolutions.

    Args:
        network: The network, whose convolutions are replaced by those that know lengths, with the same weights.
        normalize: Whether clips are normalised.
        window: Samples of the longest window.
        source: The encoder, for error messages.

    Raises:
        RecipeError: The network has batch norms over time, which see all clips of a batch.
    """

    def __init__(self, network: Any, *, normalize: bool, window: int, source: str) -> None:
        super().__init__()
        if getattr(network.config, "conv_pos_batch_norm", False):
            message = "its positions have a batch norm over all clips of a batch"
            raise RecipeError([Problem("model", message, "take a network without conv_pos_batch_norm")], source=source)
        self.normalize = normalize
        self.steps = tuple(zip(network.config.conv_kernel, network.config.conv_stride, strict=True))
        self.least = 1
        for kernel, stride in reversed(self.steps):
            self.least = (self.least - 1) * stride + kernel
        self.window = max(window, 2 * self.least)  # an exported graph has windows of two vectors at least
        # WavLM's attention has masks of two kinds, about which torch warns at every call.
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask and attn_mask", UserWarning)
        network.feature_extractor = _Convolutions(network.feature_extractor.conv_layers)
        if hasattr(network.encoder.pos_conv_embed, "layers"):
            network.encoder.pos_conv_embed = _Positions(network.encoder.pos_conv_embed.layers)

    def prepare(self, waves: Jagged) -> Jagged:
        """Normalises every clip."""
        if not self.normalize:
            return waves
        clips = [clip for clip in waves.unbind() if len(clip)]
        scaled = [(clip - clip.mean()) / (clip.var(correction=0) + EPSILON).sqrt() for clip in clips]
        return waves.with_values(torch.cat(scaled))

    def forward(self, network: Any, states: HiddenStates, windows: Tensor, sizes: Tensor | None) -> Tensor:
        """Encodes windows."""
        if sizes is None:
            return states.take(network, (windows, None))
        sizes = sizes.clamp(min=self.least)
        mask = torch.arange(windows.shape[1], device=windows.device) < sizes[:, None]
        return states.take(network, (windows, sizes), attention_mask=mask)

    def count(self, sizes: Tensor) -> Tensor:
        """Counts the vectors of windows."""
        counts = sizes.clamp(min=self.least)
        for kernel, stride in self.steps:
            counts = (counts - kernel) // stride + 1
        return torch.where(sizes > 0, counts, 0)


class _Convolutions(nn.Module):
    """The convolutions of a speech network; a norm over time counts the frames of each wave alone."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(layers)

    def forward(self, waves: tuple[Tensor, Tensor | None]) -> Tensor:
        hidden, sizes = waves[0][:, None], waves[1]
        first: Any
        first, *others = self.conv_layers
        if sizes is not None and isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            hidden = first.conv(hidden)
            frames = (sizes - first.conv.kernel_size[0]) // first.conv.stride[0] + 1
            hidden = first.activation(_normalize_valid(first.layer_norm, hidden, frames))
        else:
            hidden = first(hidden)
        for layer in others:
            hidden = layer(hidden)
        if torch.compiler.is_exporting():  # attention asks for it, and nothing else says so
            torch._check(hidden.shape[2] > 1)
        convolved: Tensor = hidden
        return convolved


def _normalize_valid(norm: nn.GroupNorm, hidden: Tensor, frames: Tensor) -> Tensor:
    """Normalises every channel over the frames that a wave has; the norm has a group for each channel."""
    with torch.autocast(hidden.device.type, enabled=False):
        wide = hidden.to(norm.weight.dtype)
        valid = (torch.arange(wide.shape[2], device=wide.device) < frames[:, None])[:, None]
        count = frames[:, None, None].to(wide.dtype)
        mean = torch.where(valid, wide, 0.0).sum(dim=2, keepdim=True) / count
        variance = torch.where(valid, (wide - mean).square(), 0.0).sum(dim=2, keepdim=True) / count
        scaled = (wide - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None]
    return scaled.to(hidden.dtype)


class _Positions(nn.Module):
    """Positions of several convolutions, between which what is padded stays zero.

    The network has set padded frames to zero before, by which they are told.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, hidden: Tensor) -> Tensor:
        valid = hidden.ne(0).any(dim=2)[:, None]
        hidden = hidden.transpose(1, 2)
        for layer in self.layers:
            hidden = torch.where(valid, layer(hidden), 0.0)
        return hidden.transpose(1, 2)
