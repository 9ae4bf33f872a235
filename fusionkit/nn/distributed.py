"""Sums over the processes of one training; in a single process they are the identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch import distributed as dist


def world_size() -> int:
    """Returns the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def part_from_others() -> bool:
    """Ends the common work of all processes, and says whether this one goes on: only the first does, alone.

    What it computes from then on waits for no other.
    """
    if world_size() == 1:
        return True
    first = dist.get_rank() == 0
    dist.destroy_process_group()
    return first


def link_to_all(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Links outputs to every parameter of a module, for wrappers that average gradients and wait for each.

    Much plays no part in a batch: the placeholder of what no sample lacks, the branch of what every sample lacks, heads
    whose scores no loss reads. The backward pass of any linked output reaches all of it, with no gradient: nothing is
    computed for it, and where nobody averages it has none, as if the output were not linked. Only while a training with
    `torch.distributed` computes gradients is there anything to do.

    Example:
        >>> unused = nn.Linear(2, 2)
        >>> link_to_all(unused)(torch.tensor(3.0))
        tensor(3.)
    """
    if not (module.training and torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()):
        return lambda output: output
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not learning:
        return lambda output: output
    everything: Tensor = _Linked.apply(learning[0].new_zeros(()), *learning)
    return lambda output: _Linked.apply(output, everything)


class _Linked(torch.autograd.Function):
    """The first tensor, whose gradient is its own alone; the others are reached without one."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, *others: Tensor) -> Tensor:
        ctx.others = len(others)
        ctx.set_materialize_grads(False)
        return tensor.clone()  # a view could not be written into

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        return (gradient, *[None] * ctx.others)


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Sums over all processes; gradients flow back to every one of them."""
    if world_size() == 1:
        return tensor
    summed: Tensor = _Sum.apply(tensor)
    return summed


_groups: WeakKeyDictionary[dist.ProcessGroup, dist.ProcessGroup] = WeakKeyDictionary()


def _find_own_group() -> dist.ProcessGroup:
    """Returns a group of all processes for sums alone, made when all of them ask for the first one.

    A wrapper that averages gradients does it within the backward pass, whenever some are complete. Where batches lack
    different modalities that is not at the same place between the sums, and in one group the two would be mixed up.
    """
    world = dist.group.WORLD
    assert world is not None
    if world not in _groups:
        made = dist.new_group()
        assert isinstance(made, dist.ProcessGroup)
        _groups[world] = made
    return _groups[world]


class _Sum(torch.autograd.Function):
    """The sum over all processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.clone()
        dist.all_reduce(summed, group=_find_own_group())
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed, group=_find_own_group())
        return summed


def mean_over_union(values: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Returns this process's share of the weighted mean over the union of all processes' batches.

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
