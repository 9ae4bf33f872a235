"""Samples of many lengths as one long sequence with gaps between them, for windows that slide over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.nn.jagged import Jagged


@dataclass(frozen=True)
class GappedLayout:
    r"""The places of a batch's samples in one long sequence, such that no window covers two of them.

    Window t covers elements ``t * stride - before .. t * stride + after`` of the long sequence. Every sample starts
    at a multiple of the stride, and after it lie at least ``max(before, after)`` zeros, so the windows centred on a
    sample's elements see that sample and zeros: what padding each sample alone with zeros gives, without padding to
    the longest. A sample of n elements has :math:`\lceil n / \mathrm{stride} \rceil` windows; an empty one has none.

    Args:
        sizes: Elements of each sample.
        before: Elements of a window before its centre.
        after: Elements of a window after its centre.
        stride: Elements from one window to the next.
    """

    sizes: tuple[int, ...]
    before: int
    after: int
    stride: int

    @property
    def windows(self) -> list[int]:
        """Windows of each sample."""
        return [-(-size // self.stride) for size in self.sizes]

    @property
    def _slots(self) -> list[int]:
        gap = max(self.before, self.after)
        return [-(-(size + gap) // self.stride) if size else 0 for size in self.sizes]

    def spread(self, samples: Jagged) -> Tensor:
        """Returns the long sequence ``(length, *element)``, from which windows are cut without any further padding."""
        gaps = [slot * self.stride - size for slot, size in zip(self._slots, self.sizes, strict=True)]
        zeros = samples.values.new_zeros((max([self.before, self.after, *gaps]), *samples.element_shape))
        pieces = [zeros[: self.before]]
        for sample, gap in zip(samples.unbind(), gaps, strict=True):
            pieces += [sample, zeros[:gap]]
        return torch.cat([*pieces, zeros[: self.after]])

    def gather(self, windows: Tensor) -> Jagged:
        """Returns the windows ``(count, *out)`` of the long sequence that belong to samples, by sample."""
        return Jagged.from_sizes(self.keep(windows), self.windows)

    def keep(self, windows: Tensor) -> Tensor:
        """Returns them one sample after another, of any dtype: spectra are complex, which a `Jagged` is not."""
        # A split has one backward pass for all its pieces; a slice per sample would cost a full-length gradient each.
        parts: list[int] = []
        for used, slot in zip(self.windows, self._slots, strict=True):
            parts += [used, slot - used]
        return torch.cat(torch.split(windows, parts)[::2])


def lay_out(sizes: Sequence[int], width: int, centre: int, stride: int) -> GappedLayout:
    """Lays samples out for windows of a width; each stands for its element number `centre`."""
    return GappedLayout(tuple(sizes), before=centre, after=width - 1 - centre, stride=stride)
