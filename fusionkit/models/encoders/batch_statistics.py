"""Batch norms that meet a batch of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def use_running_statistics(network: nn.Module, *, where: bool = True) -> Iterator[None]:
    """Lets batch norms read their running statistics: those of a single element may not exist.

    Args:
        network: The network.
        where: Whether to; otherwise nothing changes.
    """
    modules = network.modules() if where else ()  # a walk over a ResNet takes as long as one of its small layers
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True
