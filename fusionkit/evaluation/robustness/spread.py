"""A test part before it is corrupted: who has a modality, how long it is, how much it varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.data.assembly import Assembly


class Spread:
    r"""The standard deviation of a modality over all elements of a test part, a channel at a time.

    .. math::
        \sigma_c = \sqrt{\frac{1}{N} \sum (x_c - \bar x_c)^2}

    Channels are the first axis of an element: the numbers of a vector, the colours of a frame; a wave has one.
    Samples are added one by one, each merged with what was before it, so that nothing is kept.

    Source:
        Chan, Golub and LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115, for merging.

    Example:
        >>> spread = Spread()
        >>> spread.add(torch.tensor([[0.0], [2.0]]))
        >>> spread.add(torch.tensor([[4.0]]))
        >>> round(float(spread.deviation[0]), 4)
        1.633
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros(1, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Adds a sample's elements, ``(length, *element)``."""
        if not values.numel():
            return
        channels = values.double().reshape(len(values), values.shape[1] if values.ndim > 1 else 1, -1)
        count = channels.shape[0] * channels.shape[2]
        variance, mean = torch.var_mean(channels, dim=(0, 2), correction=0)
        difference, whole = mean - self._mean, self._count + count
        self._squares = self._squares + variance * count + difference**2 * self._count * count / whole
        self._mean = self._mean + difference * count / whole
        self._count = whole

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of every channel, ``(channels,)``; zero where nothing was added."""
        return (self._squares / max(1, self._count)).sqrt()


@dataclass(frozen=True)
class Measured:
    """A modality over a test part.

    Args:
        sizes: Elements of every sample, as the network is given them.
        deviation: The standard deviation of every channel.
        rate: Elements per second; None where they are no time.
    """

    sizes: tuple[int, ...]
    deviation: Tensor
    rate: float | None

    @property
    def present(self) -> Tensor:
        """The samples that have it."""
        return torch.tensor([size > 0 for size in self.sizes])

    @property
    def static(self) -> bool:
        """True where no sample has more than one element, so that there is no time to shift."""
        return max(self.sizes, default=0) <= 1


def measure(assembly: Assembly, modalities: Sequence[str]) -> dict[str, Measured]:
    """Reads the test part once, batch by batch, and measures these modalities in it."""
    sizes = {name: list[int]() for name in modalities}
    spreads = {name: Spread() for name in modalities}
    for batch in assembly.loader(assembly.test_ids, training=False, modalities=modalities):
        for name in modalities:
            sizes[name] += batch.inputs[name].sizes
            for values in batch.inputs[name].unbind():
                spreads[name].add(values)
    return {name: Measured(tuple(sizes[name]), spreads[name].deviation, assembly.rate(name)) for name in modalities}
