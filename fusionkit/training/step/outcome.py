"""The outcome of a step, brought from the device and from all processes in one transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from fusionkit.nn.distributed import world_size

TOTAL = "total"
"""The name of the sum of all weighted terms among the terms of a step."""


@dataclass(frozen=True)
class Outcome:
    """The loss and loss terms of a step, the signal that some process was sent, and compared gradients."""

    loss: float
    terms: Mapping[str, float]
    signal: int
    gradients: Mapping[str, Mapping[str, float]]


def fetch_terms(
    rows: Sequence[Mapping[str, Tensor]], flaw: Tensor, signal: int, dtype: torch.dtype
) -> tuple[dict[str, float], bool, int]:
    """Fetches loss terms, flaw and signal in one transfer, for which the device is waited for once in a step.

    Args:
        rows: By batch, its loss terms.
        flaw: Zero where all gradients are finite.
        signal: The signal that this process was sent; zero for none.
        dtype: Of the numbers on their way.

    Returns:
        The terms as means over the union of all processes' batches, whether there is a flaw, and the highest signal.
    """
    names = tuple(rows[0])
    terms = [row[name].detach().to(dtype) for row in rows for name in names]
    told = torch.stack([*terms, flaw.to(dtype)])
    if world_size() > 1:
        dist.all_reduce(told[:-1].div_(world_size()))
        signals = told.new_tensor(signal)
        dist.all_reduce(signals, op=dist.ReduceOp.MAX)
        signal = int(signals)
    *values, flaw_value = told.tolist()
    means = {name: sum(values[place :: len(names)]) / len(rows) for place, name in enumerate(names)}
    return means, flaw_value != 0.0, signal
