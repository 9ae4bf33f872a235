"""Numbers in units of their spread over the training part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.interfaces import ElementEncoder, Fitted, Passes

_IQR_OF_A_GAUSSIAN = 1.3489795003921634


@ENCODERS.register("scale")
class Scale(Fitted, ElementEncoder):
    r"""Every number of an element by its mean and deviation over the training part.

    .. math::
        F(x)_j = \frac{x_j - a_j}{b_j}

    By ``deviation``, a and b are mean and population standard deviation over all elements of all training samples; by
    ``quartiles``, median and the range of the middle half over 1.349, which is the standard deviation of a Gaussian: a
    quarter of the numbers may be outliers. A number that never changes is centred only. They are learned once, in
    double precision, from the samples that the fold trains on, and kept with the weights. Choose it first in a chain
    whose numbers have different units; `standardize` scales every sample by its own numbers instead, `feature_norm`
    by those of a batch. It has no parameters; training and evaluation are the same.

    Args:
        in_shape: Shape of one element, any.
        by: ``deviation``, or ``quartiles`` to bear outliers, which keeps all numbers in memory while it learns.

    Source:
        Rousseeuw and Croux 1993, https://doi.org/10.1080/01621459.1993.10476408 (estimates of scale that bear
        outliers); z scores are older than their publications.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> scale = Scale((1,))
        >>> scale.fit(lambda: [Jagged(torch.tensor([[1.0], [3.0]]), torch.tensor([2]))])
        >>> scale(Jagged(torch.tensor([[5.0]]), torch.tensor([1]))).values
        tensor([[3.]])
    """

    whole_numbers = ()
    suits_one_element = True
    learned = ("location", "spread")
    location: Tensor
    spread: Tensor

    def __init__(self, in_shape: tuple[int, ...], *, by: Literal["deviation", "quartiles"] = "deviation") -> None:
        super().__init__()
        self.out_shape, self.by = tuple(in_shape), by
        self.register_buffer("location", torch.zeros(in_shape))
        self.register_buffer("spread", torch.ones(in_shape))

    def fit(self, passes: Passes) -> None:
        """Learns locations and spreads."""
        measure = _measure_moments if self.by == "deviation" else _measure_quartiles
        found = measure(passes)
        if found is None:
            return
        location, spread = found
        self.location.copy_(location)
        smallest = torch.finfo(torch.float32).tiny  # below it a spread has no inverse in single precision
        self.spread.copy_(torch.where(spread >= smallest, spread, 1.0))

    def encode(self, values: Tensor) -> Tensor:
        """Scales every element."""
        return (values - self.location) / self.spread


def _read(passes: Passes) -> Iterator[Tensor]:
    """Yields the elements of every batch that has any, in double precision."""
    yield from (batch.values.double() for batch in passes() if batch.total)


def _measure_moments(passes: Passes) -> tuple[Tensor, Tensor] | None:
    """Measures mean and deviation, in two passes: the squares of large numbers would swallow their differences."""
    count, total = 0, torch.zeros((), dtype=torch.float64)
    for values in _read(passes):
        count, total = count + len(values), values.sum(dim=0) + total.to(values.device)
    if not count:
        return None
    mean, squares = total / count, torch.zeros_like(total)
    for values in _read(passes):
        squares = squares + (values - mean).square().sum(dim=0)
    deviation = (squares / count).sqrt()
    # What rounding leaves of a constant is no deviation.
    return mean, torch.where(deviation > 1e-12 * mean.abs(), deviation, 0.0)


def _measure_quartiles(passes: Passes) -> tuple[Tensor, Tensor] | None:
    """Measures median and middle range."""
    batches = [values.float().cpu() for values in _read(passes)]
    if not batches:
        return None
    numbers = torch.cat(batches).double().sort(dim=0).values
    low, middle, high = (_find_quantile(numbers, share) for share in (0.25, 0.5, 0.75))
    return middle, (high - low) / _IQR_OF_A_GAUSSIAN


def _find_quantile(ordered: Tensor, share: float) -> Tensor:
    """Returns a quantile of ordered numbers, between two of them in proportion; torch.quantile has a limit of size."""
    place = share * (len(ordered) - 1)
    below = int(place)
    return torch.lerp(ordered[below], ordered[min(below + 1, len(ordered) - 1)], place - below)
