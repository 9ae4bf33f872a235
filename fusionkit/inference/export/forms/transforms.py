"""Forms of transforms, as they are in evaluation."""

from __future__ import annotations

import torch
from torch import nn

from fusionkit.data.transforms import GaussianNoise, Standardize, Subsample, TimeMask, TimeSlice
from fusionkit.inference.export.forms.padded import Padded, divide_up
from fusionkit.inference.export.forms.registry import Engine, Unchanged, register_form


@register_form(TimeSlice)
@register_form(TimeMask)
def _leave_as_it_is(transform: object, engine: Engine) -> nn.Module:
    return Unchanged()


class _AsFloats(nn.Module):
    """Whole numbers as floats, and nothing else: noise is for training."""

    def forward(self, sequence: Padded) -> Padded:
        values = sequence.values
        return sequence if values.is_floating_point() else Padded(values.float(), sequence.lengths)


@register_form(GaussianNoise)
def _add_no_noise(transform: GaussianNoise, engine: Engine) -> nn.Module:
    return _AsFloats()


class _Thinned(nn.Module):
    """Every k-th element, from the first on."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def forward(self, sequence: Padded) -> Padded:
        time = sequence.values.shape[1]
        # At least two elements, since an exported graph takes an axis of length 1 for one that always has it.
        kept = torch.arange(torch.sym_max((time + self.every - 1) // self.every, 2)) * self.every
        return Padded(sequence.values[:, kept.clamp(max=time - 1)], divide_up(sequence.lengths, self.every))


@register_form(Subsample)
def _thin(transform: Subsample, engine: Engine) -> nn.Module:
    return _Thinned(transform.every)


class _Standardized(nn.Module):
    """A sample by its own mean and standard deviation, over its elements and nothing else."""

    def __init__(self, *, per_channel: bool, floor: float) -> None:
        super().__init__()
        self.per_channel, self.floor = per_channel, floor

    def forward(self, sequence: Padded) -> Padded:
        values = sequence.values
        # Sums over long samples lose digits in single precision, and graphs add them up in another order.
        exact = Padded(values.double(), sequence.lengths)
        axes = (1,) if self.per_channel else tuple(range(1, values.ndim))
        share = 1.0 if self.per_channel else float(values.shape[2:].numel())
        counts = (sequence.lengths.clamp(min=1).double() * share).reshape(-1, *(1,) * (values.ndim - 1))
        centred = exact.values - exact.fill().values.sum(dim=axes, keepdim=True) / counts
        squares = Padded(centred.square(), sequence.lengths).fill().values
        deviation = (squares.sum(dim=axes, keepdim=True) / counts).sqrt()
        # What rounding leaves of a constant is no deviation; the floor is far below that of any signal.
        scaled = centred / deviation.clamp(min=self.floor)
        return Padded(scaled.to(values.dtype if values.is_floating_point() else torch.float32), sequence.lengths)


@register_form(Standardize)
def _standardize(transform: Standardize, engine: Engine) -> nn.Module:
    return _Standardized(per_channel=transform.per_channel, floor=transform.floor)
