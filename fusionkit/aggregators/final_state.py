"""The final state of a recurrent network over sequences of many lengths, by whichever path is fast."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from fusionkit.jagged import Jagged


class FinalState(nn.Module):
    """The last layer's state after a sample's own last element, and, if bidirectional, after its first one backwards.

    Two paths give the same values and gradients. `padded` runs over padded sequences and picks the valid step; on a
    CPU it is the faster one in training. `packed` uses cuDNN's packed sequences, which are the fast ones on CUDA.

    Args:
        cell: ``lstm`` or ``gru``.
        in_features: Width of the elements.
        hidden: Width of the state in each direction.
        layers: Recurrent layers.
        dropout: Probability of dropping a value between layers and in the final state.
        bidirectional: Read the sequence backwards as well.
    """

    def __init__(
        self,
        cell: Literal["lstm", "gru"],
        in_features: int,
        hidden: int,
        *,
        layers: int,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        # A single layer has no "between layers"; torch warns when it is given a dropout all the same.
        between = dropout if layers > 1 else 0.0
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.network = kind(in_features, hidden, layers, dropout=between, bidirectional=bidirectional, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.out_features = hidden * (2 if bidirectional else 1)

    def forward(self, sequence: Jagged) -> Tensor:
        """The final states, ``(batch, out_features)``."""
        state = self.packed(sequence) if sequence.values.is_cuda else self.padded(sequence)
        dropped: Tensor = self.dropout(state)
        return dropped

    def packed(self, sequence: Jagged) -> Tensor:
        """By `PackedSequence`."""
        lengths = torch.tensor(sequence.sizes)
        packed = pack_padded_sequence(sequence.to_padded(), lengths, batch_first=True, enforce_sorted=False)
        state = self.network(packed)[1]
        hidden: Tensor = state[0] if isinstance(self.network, nn.LSTM) else state
        return torch.cat([hidden[-2], hidden[-1]], dim=1) if self.network.bidirectional else hidden[-1]

    def padded(self, sequence: Jagged) -> Tensor:
        """By padding, and picking each sample's own last step."""
        padded = sequence.to_padded()
        last = (torch.arange(len(sequence), device=sequence.device), sequence.lengths - 1)
        if self.network.bidirectional:
            forwards, backwards = self._both_directions(padded, sequence.lengths)
            return torch.cat([forwards[last], backwards[last]], dim=1)
        states: Tensor = self.network(padded)[0]
        return states[last]

    def _both_directions(self, padded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States of the last layer, forwards in time, and backwards in the order in which they were computed."""
        step = torch.arange(padded.shape[1], device=padded.device)
        # Each sample is reversed within its own length, so that its backward pass starts at its own last element.
        mirror = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)[:, :, None]
        forwards, backwards = self._layer(0, padded, mirror)
        for layer in range(1, self.network.num_layers):
            below = torch.cat([forwards, _mirrored(backwards, mirror)], dim=2)
            below = nn.functional.dropout(below, self.network.dropout, self.training)
            forwards, backwards = self._layer(layer, below, mirror)
        return forwards, backwards

    def _layer(self, layer: int, padded: Tensor, mirror: Tensor) -> tuple[Tensor, Tensor]:
        forward_weights, backward_weights = self.network.all_weights[2 * layer : 2 * layer + 2]
        forwards = self._one_direction(padded, list(forward_weights))
        return forwards, self._one_direction(_mirrored(padded, mirror), list(backward_weights))

    def _one_direction(self, padded: Tensor, weights: list[Tensor]) -> Tensor:
        start = padded.new_zeros(1, len(padded), self.network.hidden_size)
        # biases, one layer, no dropout, one direction, batch first
        settings = (True, 1, 0.0, self.training, False, True)
        if isinstance(self.network, nn.LSTM):
            return torch.lstm(padded, (start, start), weights, *settings)[0]
        return torch.gru(padded, start, weights, *settings)[0]


def _mirrored(padded: Tensor, mirror: Tensor) -> Tensor:
    return padded.gather(1, mirror.expand(-1, -1, padded.shape[2]))
