"""Forms of recurrent networks: an operator of ONNX that knows lengths, or a scan over time in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops import scan

from fusionkit.inference.export.forms.padded import Padded
from fusionkit.inference.export.forms.registry import Engine, register_form
from fusionkit.models.aggregators.final_state import FinalState
from fusionkit.models.aggregators.recurrent import Recurrent

_ONNX_VERSION = 14
"""The version of ONNX's LSTM and GRU."""

_ORDER_OF_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""The gates of PyTorch in ONNX's order: input, output, forget, cell; update, reset, new."""


class OperatorForm(nn.Module):
    """Layers of ONNX's LSTM or GRU, which stop at each sample's own end and read backwards from there.

    It has no meaning outside an export.

    Args:
        state: The trained network.
    """

    def __init__(self, state: FinalState) -> None:
        super().__init__()
        network = state.network
        self.operator = "LSTM" if isinstance(network, nn.LSTM) else "GRU"
        self.hidden, self.directions = network.hidden_size, 2 if network.bidirectional else 1
        self.layers = nn.ModuleList()
        for layer in range(network.num_layers):
            start = layer * self.directions
            self.layers.append(_stack_weights(network.all_weights[start : start + self.directions], self.operator))

    def forward(self, sequence: Padded) -> Tensor:
        """Returns the last layer's final states, ``(batch, directions * hidden)``."""
        filled = sequence.fill()
        batch, time = filled.values.shape[:2]
        steps, lengths = filled.values.transpose(0, 1), filled.lengths.to(torch.int32)
        attributes: dict[str, Any] = {"hidden_size": self.hidden}
        attributes |= {"direction": "bidirectional"} if self.directions == 2 else {}
        attributes |= {"linear_before_reset": 1} if self.operator == "GRU" else {}
        final = (self.directions, batch, self.hidden)
        shapes = [(time, self.directions, batch, self.hidden), *(final for _ in range(2 - (self.operator == "GRU")))]
        for weights in self.layers:
            assert isinstance(weights, nn.ParameterList)
            states, last, *_ = torch.onnx.ops.symbolic_multi_out(
                self.operator,
                [steps, *weights, lengths],
                attributes,
                dtypes=[steps.dtype] * len(shapes),
                shapes=shapes,
                version=_ONNX_VERSION,
            )
            steps = states.transpose(1, 2).reshape(time, batch, self.directions * self.hidden)
        return last.transpose(0, 1).reshape(batch, self.directions * self.hidden)


def _stack_weights(directions: Sequence[Sequence[Tensor]], operator: str) -> nn.ParameterList:
    """Returns weights of inputs, of states, and biases of one layer as ONNX has them, each by direction."""
    order = _ORDER_OF_GATES[operator]

    def sort_gates(of: Tensor) -> Tensor:
        gates = of.detach().chunk(len(order))
        return torch.cat([gates[place] for place in order])

    sorted_ = [[sort_gates(weight) for weight in of] for of in directions]
    from_input, from_state, *biases = (torch.stack(of) for of in zip(*sorted_, strict=True))
    return nn.ParameterList([from_input, from_state, torch.cat(biases, dim=1)])


class ScanForm(nn.Module):
    """Layers of an LSTM or a GRU as scans over time, which leave the state of a sample alone behind its end.

    Args:
        state: The trained network.
    """

    def __init__(self, state: FinalState) -> None:
        super().__init__()
        self.network = state.network

    def forward(self, sequence: Padded) -> Tensor:
        """Returns the last layer's final states, ``(batch, directions * hidden)``."""
        values, lengths = sequence.fill()
        directions = 2 if self.network.bidirectional else 1
        step = torch.arange(values.shape[1])
        # Each sample is mirrored within its own length, so that it is read backwards from its own last element.
        mirror = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)[:, :, None]
        last: list[Tensor] = []
        for layer in range(self.network.num_layers):
            outputs, last = [], []
            for direction in range(directions):
                weights = self.network.all_weights[layer * directions + direction]
                read = _mirror(values, mirror) if direction else values
                final, states = self._read(list(weights), read, lengths)
                outputs.append(_mirror(states, mirror) if direction else states)
                last.append(final)
            values = torch.cat(outputs, dim=2)
        return torch.cat(last, dim=1)

    def _read(self, weights: list[Tensor], values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        from_input, from_state, bias_input, bias_state = weights
        batch, hidden = values.shape[0], self.network.hidden_size
        of_input = nn.functional.linear(values, from_input, bias_input).transpose(0, 1).contiguous()
        start = values.new_zeros(batch, hidden)
        is_lstm = isinstance(self.network, nn.LSTM)

        def step(carried: Sequence[Tensor], given: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
            inputs, place = given
            of_state = nn.functional.linear(carried[0], from_state, bias_state)
            found = _step_lstm(inputs, of_state, carried[1]) if is_lstm else _step_gru(inputs, of_state, carried[0])
            here = (place < lengths)[:, None]
            kept = [torch.where(here, new, old) for new, old in zip(found, carried, strict=True)]
            # AOTInductor finds the size of the batch by this reshape only.
            return kept, kept[0].clone().reshape(batch, hidden)

        states = [start, start.clone()] if is_lstm else [start]
        carried, outputs = scan(step, states, [of_input, torch.arange(values.shape[1])])
        final: Tensor = carried[0]
        return final, outputs.transpose(0, 1)


def _step_lstm(inputs: Tensor, of_state: Tensor, cell: Tensor) -> list[Tensor]:
    entry, forget, content, exit_ = (inputs + of_state).chunk(4, dim=1)
    cell = forget.sigmoid() * cell + entry.sigmoid() * content.tanh()
    return [exit_.sigmoid() * cell.tanh(), cell]


def _step_gru(inputs: Tensor, of_state: Tensor, state: Tensor) -> list[Tensor]:
    reset, update, new = inputs.chunk(3, dim=1)
    reset_of_state, update_of_state, new_of_state = of_state.chunk(3, dim=1)
    content = (new + (reset + reset_of_state).sigmoid() * new_of_state).tanh()
    gate = (update + update_of_state).sigmoid()
    return [(1 - gate) * content + gate * state]


def _mirror(padded: Tensor, mirror: Tensor) -> Tensor:
    return padded.gather(1, mirror.expand(-1, -1, padded.shape[2]))


@register_form(Recurrent)
def _make_recurrent(aggregator: Recurrent, engine: Engine) -> nn.Module:
    return OperatorForm(aggregator.state) if engine == "onnx" else ScanForm(aggregator.state)
