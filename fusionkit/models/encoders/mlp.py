"""Dense units on each element."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from fusionkit.config.components.registry import ENCODERS
from fusionkit.interfaces import ElementEncoder
from fusionkit.models.encoders.activations import ActivationName, NormName, make_activation, make_norm


@ENCODERS.register("mlp")
class Mlp(ElementEncoder):
    r"""Dense units with activations, applied to each flattened element alone.

    .. math::
        F(x) = W_n h_{n-1} + b_n, \qquad
        h_k = \mathrm{Dropout}(\phi(\mathrm{Norm}(W_k h_{k-1} + b_k))), \qquad h_0 = \mathrm{vec}(x)

    :math:`\phi` is the activation. For vectors without a spatial or temporal axis: action units, embeddings, tabular
    data. Dropout and the batch's statistics act in training only.

    Args:
        in_shape: Shape of one element, any; it is flattened.
        hidden: Widths of the hidden units, each positive; none of them leaves one linear map.
        out: Width of the output, positive.
        activation: What follows each hidden unit.
        norm: Normalisation in each hidden unit: ``batch`` over the packed elements of the batch, ``layer`` over each
            vector, or ``none``.
        dropout: Probability of dropping a hidden value, 0 to below 1.

    Source:
        Rumelhart, Hinton and Williams 1986, https://doi.org/10.1038/323533a0; normalisation before the activation as
        in Ioffe and Szegedy 2015, arXiv:1502.03167.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> import torch
        >>> Mlp((2, 3), hidden=(8,), out=4)(Jagged(torch.zeros(5, 2, 3), torch.tensor([2, 3]))).values.shape
        torch.Size([5, 4])
    """

    whole_numbers = ()
    suits_one_element = True

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        hidden: tuple[Annotated[int, Field(gt=0)], ...] = (64,),
        out: Annotated[int, Field(gt=0)] = 64,
        activation: ActivationName = "relu",
        norm: NormName = "none",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.out_shape = (out,)
        units: list[nn.Module] = []
        width = math.prod(in_shape)
        for wider in hidden:
            units += [nn.Linear(width, wider), make_norm(norm, wider), make_activation(activation), nn.Dropout(dropout)]
            width = wider
        self.units = nn.Sequential(*units, nn.Linear(width, out))

    def encode(self, values: Tensor) -> Tensor:
        """Encodes every element."""
        encoded: Tensor = self.units(values.flatten(1) if values.ndim > 1 else values[:, None])
        return encoded
