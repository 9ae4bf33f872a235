"""The final state of a recurrent network over sequences of many lengths, by the path that is fast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from fusionkit.nn.jagged import Jagged

Cell = Literal["lstm", "gru"]

PIECE = 256
"""Elements of a sample that are read at once in evaluation where no gradient is wanted."""

States = tuple[Tensor, ...]
"""States that a recurrent network carries from one element to the next, each ``(layers, batch, hidden)``."""

Reads = Callable[[Tensor, States | None], tuple[Tensor, States]]
"""Reads ``(batch, time, features)`` from given states on; gives the last layer's states and what it carries on."""


class FinalState(nn.Module):
    """The last layer's state after a sample's own last element, and, if bidirectional, after its first one backwards.

    Two paths give the same values and gradients. `read_padded` runs over padded sequences and picks the valid step,
    which is the faster one in training on a CPU. `read_packed` uses cuDNN's packed sequences, which are fast on CUDA.

    Where no gradient is wanted in evaluation, long sequences are read in pieces, so that the memory they take does not
    grow with them. Several layers in both directions cannot be: a layer reads what the one below says of the end.

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
        cell: Cell,
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
        """Returns the final states, ``(batch, out_features)``."""
        whole = self.network.bidirectional and self.network.num_layers > 1
        if max(sequence.sizes) > PIECE and not (whole or self.training or torch.is_grad_enabled()):
            return self.read_pieces(sequence)
        state = self.read_packed(sequence) if sequence.values.is_cuda else self.read_padded(sequence)
        dropped: Tensor = self.dropout(state)
        return dropped

    def read_packed(self, sequence: Jagged) -> Tensor:
        """Reads by `PackedSequence`."""
        lengths = torch.tensor(sequence.sizes)
        packed = pack_padded_sequence(sequence.to_padded(), lengths, batch_first=True, enforce_sorted=False)
        state = self.network(packed)[1]
        hidden: Tensor = state[0] if isinstance(self.network, nn.LSTM) else state
        return torch.cat([hidden[-2], hidden[-1]], dim=1) if self.network.bidirectional else hidden[-1]

    def read_pieces(self, sequence: Jagged) -> Tensor:
        """Reads some elements of every sample after the other, and carries the states between them on."""
        if not self.network.bidirectional:
            return _read_by_pieces(sequence, self._read_on)
        ahead, back = (partial(self._read_direction, list(weights)) for weights in self.network.all_weights)
        return torch.cat([_read_by_pieces(sequence, ahead), _read_by_pieces(sequence, back, backwards=True)], dim=1)

    def _read_on(self, part: Tensor, states: States | None) -> tuple[Tensor, States]:
        if isinstance(self.network, nn.LSTM):
            outputs, carried = self.network(part, states)
            return outputs, carried
        outputs, hidden = self.network(part, None if states is None else states[0])
        return outputs, (hidden,)

    def read_padded(self, sequence: Jagged) -> Tensor:
        """Reads padded sequences, and picks each sample's own last step."""
        padded = sequence.to_padded()
        last = (torch.arange(len(sequence), device=sequence.device), sequence.lengths - 1)
        if self.network.bidirectional:
            forwards, backwards = self._read_both_ways(padded, sequence.lengths)
            return torch.cat([forwards[last], backwards[last]], dim=1)
        states: Tensor = self.network(padded)[0]
        return states[last]

    def _read_both_ways(self, padded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the states of the last layer, forwards in time, and backwards in the order of their computation."""
        step = torch.arange(padded.shape[1], device=padded.device)
        # Each sample is reversed within its own length, so that its backward pass starts at its own last element.
        mirror = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)[:, :, None]
        forwards, backwards = self._read_layer(0, padded, mirror)
        for layer in range(1, self.network.num_layers):
            below = torch.cat([forwards, _mirror(backwards, mirror)], dim=2)
            below = nn.functional.dropout(below, self.network.dropout, self.training)
            forwards, backwards = self._read_layer(layer, below, mirror)
        return forwards, backwards

    def _read_layer(self, layer: int, padded: Tensor, mirror: Tensor) -> tuple[Tensor, Tensor]:
        forward_weights, backward_weights = self.network.all_weights[2 * layer : 2 * layer + 2]
        forwards, _ = self._read_direction(list(forward_weights), padded)
        backwards, _ = self._read_direction(list(backward_weights), _mirror(padded, mirror))
        return forwards, backwards

    def _read_direction(
        self, weights: list[Tensor], padded: Tensor, states: States | None = None
    ) -> tuple[Tensor, States]:
        """Returns the states of one layer in one direction, and what it carries on."""
        start = padded.new_zeros(1, len(padded), self.network.hidden_size)
        # biases, one layer, no dropout, one direction, batch first
        settings = (True, 1, 0.0, self.training, False, True)
        if isinstance(self.network, nn.LSTM):
            outputs, *carried = torch.lstm(padded, states or (start, start), weights, *settings)
            return outputs, tuple(carried)
        outputs, hidden = torch.gru(padded, start if states is None else states[0], weights, *settings)
        return outputs, (hidden,)


def _read_by_pieces(sequence: Jagged, read: Reads, *, backwards: bool = False) -> Tensor:
    """Returns the last layer's state after every sample's last element, or after its first one if read backwards.

    A sample that has ended leaves the batch, so the others go on as a smaller one.
    """
    samples, rows, states = sequence.unbind(), list(range(len(sequence))), None
    found: dict[int, Tensor] = {}
    start = 0
    while rows:
        stop = start + PIECE
        ends = [len(samples[row]) for row in rows]
        parts = [
            samples[row][max(0, end - stop) : end - start].flip(0) if backwards else samples[row][start:stop]
            for row, end in zip(rows, ends, strict=True)
        ]
        piece = Jagged.from_list(parts)
        outputs, carried = read(piece.to_padded(), states)
        # A sample that ends in this piece is padded behind its end: its state is the output at its last element,
        # and what the network carries on is of padding.
        going = [place for place, end in enumerate(ends) if end > stop]
        for place, row in enumerate(rows):
            if ends[place] <= stop:
                found[row] = outputs[place, piece.sizes[place] - 1]
        rows = [rows[place] for place in going]
        states = tuple(state[:, going] for state in carried)
        start = stop
    return torch.stack([found[row] for row in range(len(sequence))])


def _mirror(padded: Tensor, mirror: Tensor) -> Tensor:
    return padded.gather(1, mirror.expand(-1, -1, padded.shape[2]))
