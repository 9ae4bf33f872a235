"""Sums over the processes of one training; in a single process they are the identity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum over all processes; gradients flow back to every one of them."""
    if world_size() == 1:
        return tensor
    summed: Tensor = _Sum.apply(tensor)
    return summed


class _Sum(torch.autograd.Function):
    """The sum over all processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed


def mean_over_union(values: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""This process's share of the weighted mean over the union of all processes' batches.

    .. math::
        W \frac{\sum_i w_i v_i}{\max(1, n)}

    n counts the values of all W processes. The mean of the shares is the mean over the union, and so is the mean of
    their gradients, however many values each process holds. Without any value it is zero.

    Example:
        >>> mean_over_union(torch.tensor([1.0, 2.0, 6.0]))
        tensor(3.)
    """
    wide = torch.promote_types(values.dtype, torch.float32)  # half precision cannot count beyond a few hundred
    total = (values if weights is None else values * weights).sum(dtype=wide)
    processes = world_size()
    if processes == 1:
        return total / max(1, len(values))
    with torch.no_grad():
        count = sum_over_processes(torch.tensor(float(len(values)), dtype=wide, device=values.device))
    return processes * total / count.clamp(min=1.0)
