"""Recurrent networks whose final state summarises the sequence."""

from __future__ import annotations

from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import AGGREGATORS
from fusionkit.interfaces import Aggregator
from fusionkit.models.aggregators.final_state import Cell, FinalState
from fusionkit.nn.jagged import Jagged

Positive = Annotated[int, Field(gt=0)]


class Recurrent(Aggregator):
    """The final state of a recurrent network; a subclass states its cell and whether it reads backwards as well."""

    cell: ClassVar[Cell]
    bidirectional: bool = False

    def __init__(
        self,
        in_features: int,
        *,
        hidden: Positive = 128,
        layers: Positive = 1,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.state = FinalState(
            self.cell, in_features, hidden, layers=layers, dropout=dropout, bidirectional=self.bidirectional
        )
        self.out_features = self.state.out_features

    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Reads every sample to its own end, and from there to its beginning where it reads both ways."""
        state: Tensor = self.state(sequence)
        return state


@AGGREGATORS.register("lstm")
class Lstm(Recurrent):
    r"""The final state of a long short-term memory.

    .. math::
        A(x_1 \dots x_n) = \mathrm{Dropout}(h_n), \qquad (h_t, c_t) = \mathrm{LSTM}(x_t, h_{t-1}, c_{t-1})

    The paper's aggregator: order matters and late elements weigh most. Dropout acts in training only; otherwise
    training and evaluation are the same.

    Args:
        in_features: Width of the elements.
        hidden: Width of the state and of the output, positive.
        layers: Recurrent layers on top of each other, positive.
        dropout: Probability of dropping a value between layers and in the final state, 0 to below 1.

    Source:
        Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gate of Gers,
        Schmidhuber and Cummins 2000, https://doi.org/10.1162/089976600300015015; as SAC in Chang and Skarbek 2021,
        https://doi.org/10.3390/s21165452, eq. (1).

    Example:
        >>> import torch
        >>> Lstm(3, hidden=8)(Jagged(torch.zeros(5, 3), torch.tensor([4, 1]))).shape
        torch.Size([2, 8])
    """

    cell = "lstm"


@AGGREGATORS.register("bilstm")
class BiLstm(Recurrent):
    r"""The final states of two long short-term memories; the second reads backwards.

    .. math::
        A(x_1 \dots x_n) = \mathrm{Dropout}([\overrightarrow{h}_n; \overleftarrow{h}_1])

    The backward one starts at the sample's own last element. Choose it where the beginning of a clip matters as much
    as its end. Dropout acts in training only; otherwise training and evaluation are the same.

    Args:
        in_features: Width of the elements.
        hidden: Width of the state in each direction, positive; the output has twice this width.
        layers: Recurrent layers on top of each other, positive; each reads both directions of the one below.
        dropout: Probability of dropping a value between layers and in the final states, 0 to below 1.

    Source:
        Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093; Graves and Schmidhuber 2005,
        https://doi.org/10.1016/j.neunet.2005.06.042.

    Example:
        >>> import torch
        >>> BiLstm(3, hidden=8)(Jagged(torch.zeros(5, 3), torch.tensor([4, 1]))).shape
        torch.Size([2, 16])
    """

    cell = "lstm"
    bidirectional = True


@AGGREGATORS.register("gru")
class Gru(Recurrent):
    r"""The final state of gated recurrent units, read forwards or both ways.

    .. math::
        A(x_1 \dots x_n) = \mathrm{Dropout}(h_n) \quad\text{or}\quad
        \mathrm{Dropout}([\overrightarrow{h}_n; \overleftarrow{h}_1]), \qquad h_t = \mathrm{GRU}(x_t, h_{t-1})

    Three quarters of the parameters and the time of an LSTM of the same width. Dropout acts in training only;
    otherwise training and evaluation are the same.

    Args:
        in_features: Width of the elements.
        hidden: Width of the state in each direction, positive.
        layers: Recurrent layers on top of each other, positive.
        dropout: Probability of dropping a value between layers and in the final state, 0 to below 1.
        bidirectional: Read backwards as well, which doubles the width of the output.

    Source:
        Cho et al. 2014, https://doi.org/10.3115/v1/D14-1179, eqs. (5)-(8); torch's variant applies the reset gate
        after the recurrent product.

    Example:
        >>> import torch
        >>> Gru(3, hidden=8, bidirectional=True)(Jagged(torch.zeros(5, 3), torch.tensor([4, 1]))).shape
        torch.Size([2, 16])
    """

    cell = "gru"

    def __init__(
        self,
        in_features: int,
        *,
        hidden: Positive = 128,
        layers: Positive = 1,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        bidirectional: bool = False,
    ) -> None:
        self.bidirectional = bidirectional  # before the constructor of the interface, which reads it
        super().__init__(in_features, hidden=hidden, layers=layers, dropout=dropout)
