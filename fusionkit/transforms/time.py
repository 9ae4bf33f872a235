"""Transforms along time."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Transform
from fusionkit.registry import TRANSFORMS


@TRANSFORMS.register("time_slice")
class TimeSlice(Transform):
    r"""A random contiguous slice of at least so many seconds.

    .. math::
        x'_t = x_{s+t}, \quad t < n', \qquad n' \sim U\{\lceil T_{\min} r \rceil, \ldots, n\}, \quad
        s \sim U\{0, \ldots, n - n'\}

    n elements at r per second become n'. Training only: in evaluation, and where the sample is no longer than the
    minimum, it passes unchanged. Every modality draws its own slice.

    Args:
        min_seconds: The shortest slice, in seconds.

    Raises:
        DataError: The modality has no rate, so a second of it is not defined.

    Source:
        Chang and Skarbek 2021, https://doi.org/10.3390/s21165452, section 4.4.

    Example:
        >>> slicer = TimeSlice((), 10.0, min_seconds=1.0)
        >>> slicer(torch.arange(40.0), torch.Generator().manual_seed(0), training=False).shape
        torch.Size([40])
    """

    def __init__(
        self, in_shape: tuple[int, ...], rate: float | None, *, min_seconds: Annotated[float, Field(gt=0)] = 1.0
    ) -> None:
        self._shortest = _elements("time_slice", min_seconds, rate)

    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Cuts ``(length, *in_shape)``."""
        if not training or len(values) <= self._shortest:
            return values
        length = _draw(self._shortest, len(values), generator)
        start = _draw(0, len(values) - length, generator)
        return values[start : start + length]


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
        self._longest = _elements("time_mask", max_seconds, rate)

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


def _elements(name: str, seconds: float, rate: float | None) -> int:
    if rate is None:
        remedy = "state the rate of the modality in the dataset's options, or leave the transform out"
        raise DataError([Problem(name, "the modality has no rate, so a second of it is not defined", remedy)])
    return max(1, round(seconds * rate))


def _draw(lowest: int, highest: int, generator: torch.Generator) -> int:
    """A whole number between two bounds, both included."""
    return int(torch.randint(lowest, highest + 1, (), generator=generator))
