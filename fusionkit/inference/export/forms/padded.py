"""Sequences of many lengths as a graph sees them: padded to one length, with the lengths beside them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Padded(NamedTuple):
    """A batch of sequences, padded to one length.

    Args:
        values: Elements, ``(batch, time, *element)``; at least one for every sample.
        lengths: Elements of each sample, ``(batch,)`` int64; zero means that the sample lacks the modality.
    """

    values: Tensor
    lengths: Tensor

    @property
    def valid(self) -> Tensor:
        """The mask of elements that are no padding, ``(batch, time)``."""
        return torch.arange(self.values.shape[1], device=self.values.device) < self.lengths[:, None]

    @property
    def wide_mask(self) -> Tensor:
        """The mask of elements that are no padding, with an axis of length 1 for each axis of an element."""
        valid = self.valid
        return valid.reshape(*valid.shape, *(1,) * (self.values.ndim - 2))

    def fill(self, number: float = 0.0) -> Padded:
        """Puts a number wherever there is padding, which may hold anything."""
        filler = torch.full((), number, dtype=self.values.dtype, device=self.values.device)
        return Padded(torch.where(self.wide_mask, self.values, filler), self.lengths)

    def keep_one(self) -> Padded:
        """Lets absent samples have one element of padding, so that nothing divides by their length."""
        return Padded(self.values, self.lengths.clamp(min=1))


def divide_up(lengths: Tensor, stride: int) -> Tensor:
    """Divides lengths by a stride, rounding up."""
    return (lengths + (stride - 1)) // stride
