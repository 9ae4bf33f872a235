"""Summaries of a sequence without a state, computed on the packed elements."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import AGGREGATORS
from fusionkit.interfaces import Aggregator
from fusionkit.nn.jagged import Jagged


class Pooling(Aggregator):
    """A summary as wide as the elements, without a parameter; a subclass says how elements become one."""

    suits_one_element = True

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.out_features = in_features


@AGGREGATORS.register("mean")
class MeanPooling(Pooling):
    r"""The mean of the elements.

    .. math::
        A(x_1 \dots x_n) = \frac{1}{n} \sum_t x_t

    The order of the elements does not matter. The cheapest summary, and the right one for static vectors, which it
    leaves as they are. It has no parameters; training and evaluation are the same.

    Args:
        in_features: Width of the elements.

    Source:
        No publication; the average over time of Chang and Skarbek 2021, https://doi.org/10.3390/s21165452,
        without their transformer.

    Example:
        >>> MeanPooling(1)(Jagged(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 1]))).flatten()
        tensor([2., 5.])
    """

    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Averages every sample's elements."""
        return _reduce(sequence.values, sequence, "mean")


@AGGREGATORS.register("max")
class MaxPooling(Pooling):
    r"""The largest value of every feature.

    .. math::
        A(x_1 \dots x_n)_j = \max_t x_{tj}

    The order of the elements does not matter; a short event counts as much as a long one. It has no parameters;
    training and evaluation are the same.

    Args:
        in_features: Width of the elements.

    Source:
        Collobert et al. 2011, https://jmlr.org/papers/v12/collobert11a.html, section 3.3.2 (max over time).

    Example:
        >>> MaxPooling(1)(Jagged(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 1]))).flatten()
        tensor([3., 5.])
    """

    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Takes the maximum over every sample's elements."""
        return _reduce(sequence.values, sequence, "max")


@AGGREGATORS.register("attention")
class AttentionPooling(Aggregator):
    r"""A mean of the elements, weighted by how well each answers a learned query.

    .. math::
        A(x_1 \dots x_n) = \sum_t \alpha_t x_t, \qquad
        \alpha = \mathrm{softmax}_t(q^\top \tanh(W x_t + b))

    q, W and b are learned; the softmax is over the sample's own elements. Choose it where a few elements carry the
    message and their place is unknown; the order does not matter. Training and evaluation are the same.

    Args:
        in_features: Width of the elements.
        hidden: Width of the query q, positive.

    Source:
        Yang et al. 2016, https://doi.org/10.18653/v1/N16-1174, eqs. (5)-(7).

    Example:
        >>> AttentionPooling(3, hidden=4)(Jagged(torch.zeros(5, 3), torch.tensor([4, 1]))).shape
        torch.Size([2, 3])
    """

    def __init__(self, in_features: int, *, hidden: Annotated[int, Field(gt=0)] = 64) -> None:
        super().__init__()
        self.out_features = in_features
        self.dense = nn.Linear(in_features, hidden)
        self.query = nn.Linear(hidden, 1, bias=False)

    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Averages every sample's elements by their weights."""
        weights = self.weights(sequence)
        return _reduce(weights * sequence.values, sequence, "sum")

    def weights(self, sequence: Jagged) -> Float[Tensor, "total 1"]:
        """Returns the weight of every element; each sample's sum to one."""
        scores = self.query(self.dense(sequence.values).tanh())
        sample = sequence.sample_index
        # Subtracting the sample's largest score changes no weight and keeps the exponential finite.
        rising = (scores - _reduce(scores.detach(), sequence, "max")[sample]).exp()
        shares: Tensor = rising / _reduce(rising, sequence, "sum")[sample]
        return shares


@AGGREGATORS.register("last")
class LastElement(Pooling):
    r"""The last element.

    .. math::
        A(x_1 \dots x_n) = x_n

    For sequences that an encoder has already summarised step by step, and as the baseline of recurrent aggregators.
    It has no parameters; training and evaluation are the same.

    Args:
        in_features: Width of the elements.

    Source:
        No publication.

    Example:
        >>> LastElement(1)(Jagged(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 1]))).flatten()
        tensor([3., 5.])
    """

    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Picks every sample's last element."""
        return sequence.values[sequence.offsets[1:] - 1]


def _reduce(values: Tensor, sequence: Jagged, how: str) -> Tensor:
    if sequence.sizes == (1,) * len(sequence):  # a static vector is its own mean and its own maximum
        return values
    # The lengths of a Jagged are right by construction: checking them again would wait for the device.
    reduced: Tensor = torch.segment_reduce(values, how, lengths=sequence.lengths, axis=0, unsafe=True)
    return reduced
