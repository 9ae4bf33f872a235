"""Batch norms that meet a batch of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def running_statistics(network: nn.Module, *, where: bool = True) -> Iterator[None]:
    """Lets batch norms read their running statistics: those of a single element may not exist.

    Args:
        network: The network.
        where: Whether to; otherwise nothing changes.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training and where]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True
