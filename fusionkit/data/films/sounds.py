"""The sound of a clip as it is stored: 16-bit samples that begin with the picture."""

from __future__ import annotations

import torch
from torch import Tensor

FULL_SCALE = 32768
"""Stored value of a sample of 1.0; loading returns -1.0 ... 1.0."""


def convert_to_int16(wave: Tensor) -> tuple[Tensor, int]:
    r"""Converts a wave to 16-bit samples, and counts those that were beyond full scale.

    .. math::
        y = \min(\max(\mathrm{round}(32768\, x), -32768), 32767)

    Halves are rounded to the even neighbour. The error is half a step at most, 96 dB below full scale; what is louder
    than full scale is clipped.

    Example:
        >>> convert_to_int16(torch.tensor([0.0, 0.5, -1.0, 1.5]))
        (tensor([     0,  16384, -32768,  32767], dtype=torch.int16), 1)
    """
    scaled = (wave * FULL_SCALE).round()
    beyond = int((scaled.abs() > FULL_SCALE).sum())
    return scaled.clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16), beyond


def convert_to_float(samples: Tensor) -> Tensor:
    """Converts 16-bit samples to a wave in -1..1."""
    return samples.to(torch.float32).div_(FULL_SCALE)


def align(wave: Tensor, late: float, rate: int) -> Tensor:
    """Aligns a wave that begins so many seconds after the picture: silence before it, or a cut where it is early."""
    samples = round(late * rate)
    return torch.cat([torch.zeros(samples), wave]) if samples > 0 else wave[-samples:]
