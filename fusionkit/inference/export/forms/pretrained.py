"""The form of encoders of windows, which are pretrained networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.inference.export.forms.padded import Padded
from fusionkit.inference.export.forms.registry import Engine, register_form
from fusionkit.models.encoders.pretrained import HfAudio, WindowEncoder
from fusionkit.models.encoders.pretrained.speech import EPSILON, SpeechWaves


class WindowForm(nn.Module):
    """An encoder of windows, on all windows of all samples at once.

    A window that is not the last of its sample is full, so the outputs of a sample are one run from its first on.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: WindowEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, sequence: Padded) -> Padded:
        """Encodes every sample."""
        encoder = self.encoder
        if isinstance(encoder, HfAudio):
            sequence = _prepare_waves(encoder, sequence)
        batch, time = sequence.values.shape[:2]
        element = sequence.values.shape[2:]
        if encoder.least == encoder.window:  # an exported graph takes an axis of length 1 for one that always has it
            width, count = encoder.window, torch.sym_max((time + encoder.window - 1) // encoder.window, 2)
        else:
            width, count = _measure_windows(encoder, sequence.lengths)
        starts = torch.arange(count, device=sequence.lengths.device) * width
        place = starts[:, None] + torch.arange(width, device=starts.device)
        there = (place < sequence.lengths[:, None, None]).reshape(batch, count, width, *(1,) * len(element))
        windows = torch.where(there, sequence.values[:, place.clamp(max=time - 1)], 0).flatten(0, 1)
        sizes = (sequence.lengths[:, None] - starts).clamp(min=0).clamp(max=width)
        encoded = encoder.encode_windows(windows, sizes.flatten())
        counts = encoder.count_encoded(sizes).sum(dim=1)
        return Padded(torch.unflatten(encoded, 0, (batch, count)).flatten(1, 2), counts)


def _measure_windows(encoder: WindowEncoder, lengths: Tensor) -> tuple[int, int]:
    """Measures windows that need not be full: as long as the longest sample, if that is no longer than a window.

    Numbers that come of tensors leave a graph open for any; those that come of shapes would need proofs.
    """
    shortest = 2 * encoder.least  # of which two elements come, so that no axis of the network has length 1
    longest = lengths.max().clamp(min=shortest)
    width: Any = longest.clamp(max=encoder.window).item()
    torch._check(width >= shortest)
    torch._check(width <= encoder.window)
    count: Any = ((longest + width - 1) // width).item()
    torch._check(count >= 1)
    return width, count


def _prepare_waves(encoder: HfAudio, sequence: Padded) -> Padded:
    """Normalises every wave, where the encoder does."""
    waves = Padded(sequence.values.flatten(1), sequence.lengths)
    if not (isinstance(encoder.waves, SpeechWaves) and encoder.waves.normalize):
        return waves
    counts = waves.lengths.clamp(min=1).to(waves.values.dtype)[:, None]
    centred = waves.values - waves.fill().values.sum(dim=1, keepdim=True) / counts
    squares = Padded(centred.square(), waves.lengths).fill().values
    return Padded(centred / (squares.sum(dim=1, keepdim=True) / counts + EPSILON).sqrt(), waves.lengths)


@register_form(WindowEncoder)
def _make_window_form(encoder: WindowEncoder, engine: Engine) -> nn.Module:
    return WindowForm(encoder)
