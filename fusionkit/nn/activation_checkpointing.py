"""Activations that are computed again in the backward pass, and statistics that must not be counted twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def count_statistics_once(network: nn.Module) -> None:
    """Lets batch norms leave their running statistics alone where a forward pass is repeated for its backward pass.

    Otherwise every step would move them twice: what was computed with them in evaluation would change.
    """
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None:
            module.register_forward_pre_hook(_hold)
            module.register_forward_hook(_release, always_call=True)


def recompute(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Returns a function's value, and keeps nothing but the input for the backward pass."""
    if not torch.is_grad_enabled():
        return function(values)
    kept: Tensor = checkpoint(function, values, use_reentrant=False)
    return kept


def call_beside_statistics(module: nn.Module, *args: Any, **options: Any) -> Tensor:
    """Computes a module's output beside its buffers: the backward pass of another call still needs them."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    output: Tensor = functional_call(module, buffers, args, options)
    return output


def _hold(module: nn.Module, _: Any) -> None:
    if module.training and _is_in_backward():
        module.__dict__["_held"] = module.momentum
        module.momentum = 0.0  # type: ignore[assignment]


def _release(module: nn.Module, *_: Any) -> None:
    if "_held" in module.__dict__:
        module.momentum = module.__dict__.pop("_held")
        if isinstance(counted := getattr(module, "num_batches_tracked", None), Tensor):
            counted.sub_(1)


def _is_in_backward() -> bool:
    """Tells whether a backward pass runs this; torch's own checkpoints ask in the same way."""
    return bool(torch._C._current_graph_task_id() != -1)
