"""Encoders that change no shape."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.errors import ShapeError
from fusionkit.interfaces import ElementEncoder
from fusionkit.nn.layers import FeatureNorm


@ENCODERS.register("identity")
class Identity(ElementEncoder):
    r"""The elements as they are.

    .. math::
        F(x) = x

    For elements that are features already: embeddings, action units, tabular vectors. It has no parameters, so
    training and evaluation are the same.

    Args:
        in_shape: Shape of one element, any.

    Source:
        The neutral element of the chain; no publication.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> import torch
        >>> Identity((3,))(Jagged(torch.zeros(5, 3), torch.tensor([2, 3]))).element_shape
        (3,)
    """

    whole_numbers = ()
    suits_one_element = True

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.out_shape = tuple(in_shape)

    def encode(self, values: Tensor) -> Tensor:
        """Returns its input."""
        return values


@ENCODERS.register("feature_norm")
class FeatureNormEncoder(ElementEncoder):
    r"""Batch normalisation of vectors, over all elements of all samples.

    .. math::
        F(x) = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    :math:`\mu` and :math:`\sigma^2` are mean and population variance per feature, :math:`\gamma` and :math:`\beta` are
    learned. Choose it first in a chain when raw features have different units and the data are not standardised.
    In training the statistics are those of the batch's elements (the running ones where fewer than two elements are
    present), in evaluation the running ones.

    Args:
        in_shape: ``(features,)``.
        momentum: Weight of the newest batch in the running statistics, above 0 and at most 1.

    Raises:
        ShapeError: `in_shape` is no vector.

    Source:
        Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1. The batch is the packed elements, so that no padding
        enters the statistics.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> import torch
        >>> FeatureNormEncoder((3,))(Jagged(torch.zeros(5, 3), torch.tensor([2, 3]))).values.shape
        torch.Size([5, 3])
    """

    whole_numbers = ()
    suits_one_element = True

    def __init__(self, in_shape: tuple[int, ...], *, momentum: Annotated[float, Field(gt=0, le=1)] = 0.1) -> None:
        super().__init__()
        if len(in_shape) != 1:
            raise ShapeError(
                f"feature_norm: an element of shape {tuple(in_shape)} is not a vector (features,); put an encoder that "
                "makes vectors, such as mlp, before it"
            )
        self.out_shape = tuple(in_shape)
        self.norm = FeatureNorm(in_shape[0], momentum)

    def encode(self, values: Tensor) -> Tensor:
        """Normalises every element."""
        normalised: Tensor = self.norm(values)
        return normalised
