"""A sample by its own mean and standard deviation."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import TRANSFORMS
from fusionkit.interfaces import Transform


@TRANSFORMS.register("standardize")
class Standardize(Transform):
    r"""A sample by its own mean and standard deviation.

    .. math::
        x' = \frac{x - \mu}{\max(\sigma, \epsilon)}, \qquad \sigma^2 = \frac{1}{n} \sum (x - \mu)^2

    The mean and the (population) deviation run over time, for each channel by itself or for all of the sample at once.
    A constant channel becomes zero. The same in training and evaluation; it draws nothing. A single element has no
    deviation over time: give such a vector ``per_channel: false``. Whole numbers become floats.

    Args:
        per_channel: Whether every position of an element has its own mean and deviation.
        floor: The smallest deviation to divide by.

    Example:
        >>> Standardize((), None)(torch.tensor([1.0, 3.0]), torch.Generator(), training=True).tolist()
        [-1.0, 1.0]
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        rate: float | None,
        *,
        per_channel: bool = True,
        floor: Annotated[float, Field(gt=0)] = 1e-6,
    ) -> None:
        self.per_channel, self.floor = per_channel, floor

    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Standardizes ``(length, *in_shape)``; whole numbers in single precision."""
        values = values if values.is_floating_point() else values.float()
        axes = (0,) if self.per_channel else tuple(range(values.ndim))
        centred = values - values.mean(dim=axes, keepdim=True)
        centred -= centred.mean(dim=axes, keepdim=True)  # what rounding left of a constant is zero now
        deviation = centred.square().mean(dim=axes, keepdim=True).sqrt()  # torch.std_mean is much slower on a CPU
        return centred.div_(deviation.clamp(min=self.floor))
