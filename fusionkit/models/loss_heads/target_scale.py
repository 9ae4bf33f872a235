"""The scale of targets that are numbers, and their best constant answers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from fusionkit.errors import ShapeError
from fusionkit.models.loss_heads.number_metrics import as_columns

Numbers = NDArray[np.float64]
Center = Callable[[Numbers], float]
"""From the stated numbers of an output, at least one, to the one that stands for all."""

_IQR_OF_A_GAUSSIAN = 1.3489795003921634
_MAD_OF_A_GAUSSIAN = 0.6744897501960817


class TargetScale(nn.Module):
    r"""Location and spread of every output of a target of numbers: what a network learns is in their units.

    .. math::
        z_j = \frac{y_j - a_j}{b_j}, \qquad y_j = a_j + b_j z_j

    y are numbers in the user's unit, a locations, b spreads, by output j. Before `fit` a is 0 and b is 1, and nothing
    changes. Both are buffers: they are kept with the weights, and moved, copied and exported with them. In half
    precision they stay in single precision: numbers near 1000 are 4 apart in bfloat16.

    Args:
        outputs: How many numbers.

    Example:
        >>> scale = TargetScale(1)
        >>> scale.fit(torch.tensor([10.0, 20.0, 30.0, torch.nan]), robust=False)
        >>> scale.scale(torch.tensor([20.0, 30.0])).flatten()
        tensor([0.0000, 1.2247])
        >>> scale.unscale(torch.tensor([[0.0], [1.2247]])).flatten().round()
        tensor([20., 30.])
    """

    location: Tensor
    spread: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(outputs))
        self.register_buffer("spread", torch.ones(outputs))

    def fit(self, targets: Tensor, *, robust: bool) -> None:
        """Takes location and spread from targets, each output by itself, in double precision.

        They are mean and population standard deviation. Robust ones are the median and the range of the middle half
        over 1.349, which is the standard deviation of a Gaussian: a quarter of the samples may lie anywhere. Where the
        middle half is one number, the spread is the median distance from it of all others, over 0.674 for the same
        reason. A constant has spread 1, an output that no sample states location 0 and spread 1.

        Args:
            targets: Encoded targets in the user's unit; NaN is missing.
            robust: Bear outliers.

        Raises:
            ShapeError: The targets have another number of outputs.
        """
        measure = _robust_scale if robust else _moments
        for output, numbers in enumerate(self._find_stated(targets)):
            location, spread = measure(numbers) if len(numbers) else (0.0, 1.0)
            smallest = torch.finfo(torch.float32).tiny  # below it a spread has no inverse in single precision
            self.location[output], self.spread[output] = location, spread if spread >= smallest else 1.0

    def scale(self, targets: Tensor) -> Float[Tensor, "samples outputs"]:
        """Returns targets in units of the spread around the location; NaN stays NaN."""
        columns = as_columns(targets).to(torch.promote_types(targets.dtype, self.location.dtype))
        return (columns - self.location) / self.spread

    def unscale(self, numbers: Float[Tensor, "samples outputs"]) -> Float[Tensor, "samples outputs"]:
        """Returns numbers in the user's unit, in single precision at least."""
        wide = numbers.to(torch.promote_types(numbers.dtype, self.location.dtype))
        return wide * self.spread + self.location

    def constant(self, targets: Tensor, center: Center) -> Float[Tensor, " outputs"]:
        """Returns the scaled answer that stands for all targets, of each output by itself; 0 where none is stated.

        Args:
            targets: Encoded targets in the user's unit; NaN is missing.
            center: What stands for the scaled numbers of an output.
        """
        locations, spreads = (buffer.tolist() for buffer in (self.location, self.spread))
        found = [
            center((numbers - location) / spread) if len(numbers) else 0.0
            for numbers, location, spread in zip(self._find_stated(targets), locations, spreads, strict=True)
        ]
        return torch.tensor(found, dtype=self.location.dtype, device=targets.device)

    def _find_stated(self, targets: Tensor) -> list[Numbers]:
        columns: Numbers = as_columns(targets).detach().cpu().double().numpy()
        if columns.ndim != 2 or columns.shape[1] != len(self.location):
            expected = f"(samples, {len(self.location)})" if len(self.location) > 1 else "(samples,)"
            raise ShapeError(f"targets of shape {tuple(targets.shape)} are given, {expected} are expected")
        return [column[np.isfinite(column)] for column in columns.T]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TargetScale:
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in self.named_buffers():
            if buffer.dtype in (torch.float16, torch.bfloat16):
                setattr(self, name, before[name].to(buffer.device))
        return self


def mean(numbers: Numbers) -> float:
    """Returns the number of the least mean squared error."""
    return float(numbers.mean())


def median(numbers: Numbers) -> float:
    """Returns the number of the least mean absolute error; of an even count, midway between the two."""
    return float(np.median(numbers))


def huber_center(numbers: Numbers, delta: float) -> float:
    r"""Returns the number of the least mean Huber loss.

    .. math::
        c: \; g(c) = \sum_i \min(\max(c - y_i, -\delta), \delta) = 0

    g rises and is linear between the corners :math:`y_i \pm \delta`, so it is zero between the two neighbouring ones
    where its sign changes, at the intersection of a line with zero.

    Source:
        Huber 1964, https://doi.org/10.1214/aoms/1177703732, eq. (1.2) with his example of :math:`\rho`.

    Example:
        >>> huber_center(np.array([0.0, 1.0, 100.0]), delta=1.0)
        1.0
    """
    corners = np.sort(np.concatenate([numbers - delta, numbers + delta]))

    def slope(at: float) -> float:
        return float(np.clip(at - numbers, -delta, delta).sum())

    right = bisect_left(corners, 0.0, hi=len(corners) - 1, key=slope)
    left = max(right - 1, 0)
    below, above = slope(corners[left]), slope(corners[right])
    if above <= below:  # one number, or a delta that is nothing beside it
        return float(corners[right])
    return float(corners[left] + (corners[right] - corners[left]) * -below / (above - below))


def _moments(numbers: Numbers) -> tuple[float, float]:
    origin = numbers[0]  # a constant, however large, has no spread then, not even by rounding
    return float(origin + (numbers - origin).mean()), float((numbers - origin).std())


def _robust_scale(numbers: Numbers) -> tuple[float, float]:
    low, middle, high = np.quantile(numbers, (0.25, 0.5, 0.75))
    if high > low:
        return float(middle), float((high - low) / _IQR_OF_A_GAUSSIAN)
    others = numbers[numbers != middle]
    return float(middle), float(np.median(np.abs(others - middle)) / _MAD_OF_A_GAUSSIAN) if len(others) else 0.0
