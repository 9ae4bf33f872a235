"""Transforms along time."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import TRANSFORMS
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Transform


@TRANSFORMS.register("time_slice")
class TimeSlice(Transform):
    r"""A random contiguous slice of at least so many seconds.

    .. math::
        x'_t = x_{s+t}, \quad t < n', \qquad n' \sim U\{\lceil T_{\min} r \rceil, \ldots, n\}, \quad
        s \sim U\{0, \ldots, n - n'\}

    n elements at r per second become n'. Training only: in evaluation, and where the sample is no longer than the
    minimum, it passes unchanged. The slice is a view: of a clip that is mapped into memory only the slice is read.

    Each modality draws its own slice, unless `together` is set. Then all modalities that set it draw the same two
    numbers u and v between 0 and 1, and each takes :math:`n' = m + u (n - m)` elements, m those of the minimum, from
    :math:`s = v (n - n')` on, rounded: the same seconds of all of them. Begin and end agree within the difference of
    the modalities' lengths in seconds, and one element of each. Give them the same `min_seconds`.

    Args:
        min_seconds: The shortest slice, in seconds.
        together: Whether the modality is cut at the same instants as others that set it; the paper does not say which.

    Raises:
        DataError: The modality has no rate, so a second of it is not defined.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 4.4 and Fig. 9.

    Example:
        >>> slicer = TimeSlice((), 10.0, min_seconds=1.0)
        >>> slicer(torch.arange(40.0), torch.Generator().manual_seed(0), training=False).shape
        torch.Size([40])
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        rate: float | None,
        *,
        min_seconds: Annotated[float, Field(gt=0)] = 1.0,
        together: bool = False,
    ) -> None:
        self._shortest = _count_elements("time_slice", min_seconds, rate)
        self.together = together

    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Cuts ``(length, *in_shape)``."""
        if not training or len(values) <= self._shortest:
            return values
        if self.together:
            start, stop = _find_slice(self._shortest, len(values), generator)
            return values[start:stop]
        length = _draw(self._shortest, len(values), generator)
        start = _draw(0, len(values) - length, generator)
        return values[start : start + length]


@TRANSFORMS.register("subsample")
class Subsample(Transform):
    r"""Every k-th element, to do less work on films whose frames resemble their neighbours.

    .. math::
        x'_t = x_{\varphi + k t}, \qquad \varphi \sim U\{0, \ldots, \min(k, n) - 1\}

    In training the phase is random, so that all frames are learnt from in the course of epochs; in evaluation it
    is 0. The result is a view: nothing of a clip that is mapped into memory is copied. Not for waves, whose higher
    frequencies would fold onto lower ones.

    Args:
        every: k, of how many elements one is kept.

    Example:
        >>> Subsample((), 30.0, every=3)(torch.arange(8.0), torch.Generator(), training=False).tolist()
        [0.0, 3.0, 6.0]
    """

    def __init__(
        self, in_shape: tuple[int, ...], rate: float | None, *, every: Annotated[int, Field(ge=1)] = 2
    ) -> None:
        self.every = self.keeps_every = every

    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Thins ``(length, *in_shape)``."""
        phases = min(self.every, len(values))
        phase = _draw(0, phases - 1, generator) if training and phases > 1 else 0
        return values[phase :: self.every]


@TRANSFORMS.register("time_mask")
class TimeMask(Transform):
    r"""A random contiguous stretch set to zero.

    .. math::
        x'_t = 0 \quad \text{for } s \le t < s + w, \qquad w \sim U\{0, \ldots, \lfloor T_{\max} r \rfloor\}

    Training only. The stretch never covers a whole sample: it is at most half of it.

    Args:
        max_seconds: The longest stretch, in seconds.

    Raises:
        DataError: The modality has no rate, so a second of it is not defined.

    Source:
        Park et al. 2019, SpecAugment, https://arxiv.org/abs/1904.08779, section 2, applied to any sequence.
    """

    def __init__(
        self, in_shape: tuple[int, ...], rate: float | None, *, max_seconds: Annotated[float, Field(gt=0)] = 0.2
    ) -> None:
        self._longest = _count_elements("time_mask", max_seconds, rate)

    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Masks ``(length, *in_shape)``."""
        longest = min(self._longest, len(values) // 2)
        if not training or longest == 0:
            return values
        width = _draw(0, longest, generator)
        start = _draw(0, len(values) - width, generator)
        masked = values.clone()
        masked[start : start + width] = 0
        return masked


def _count_elements(name: str, seconds: float, rate: float | None) -> int:
    if rate is None:
        remedy = "state the rate of the modality in the dataset's options, or leave the transform out"
        raise DataError([Problem(name, "the modality has no rate, so a second of it is not defined", remedy)])
    return max(1, round(seconds * rate))


def _draw(lowest: int, highest: int, generator: torch.Generator) -> int:
    """Draws a whole number between two bounds, both included."""
    return int(torch.randint(lowest, highest + 1, (), generator=generator))


def _find_slice(shortest: int, length: int, generator: torch.Generator) -> tuple[int, int]:
    """Finds begin and end of a slice from shares of the sample's own length; at least ``shortest`` elements apart."""
    share, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    wanted = shortest + share * (length - shortest)
    start = place * (length - wanted)
    return math.floor(start + 0.5), min(length, math.floor(start + wanted + 0.5))
