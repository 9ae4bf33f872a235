"""The best that a device could do: rates measured on it, and the time of some work at these rates."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from fusionkit.nn.timer import time_work

REPEATS = 5
CALLS = 10


@dataclass(frozen=True)
class Rates:
    """Measured rates of a device.

    Args:
        matmul: Floating-point operations per second of a large product of matrices.
        convolution: The same of a convolution of ResNet-18.
        bandwidth: Bytes per second, read and written, of a copy.
    """

    matmul: float
    convolution: float
    bandwidth: float


def measure_rates(device: torch.device, dtype: torch.dtype, *, scale: int) -> Rates:
    """Measures them.

    Args:
        device: The device.
        dtype: Of the numbers that are multiplied.
        scale: Rows of the matrices; the convolution has ``scale / 32`` images, the copy ``4 scale^2`` bytes.
    """
    a, b = (torch.randn(scale, scale, device=device, dtype=dtype) for _ in range(2))
    images = torch.randn(max(1, scale // 32), 64, 56, 56, device=device, dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    layer = nn.Conv2d(64, 64, 3, padding=1, bias=False).to(device, dtype).to(memory_format=torch.channels_last)
    of, to = (torch.zeros(scale, scale, device=device) for _ in range(2))
    with torch.no_grad():
        return Rates(
            matmul=2 * scale**3 / _seconds(lambda: a @ b, device),
            convolution=2 * 9 * 64 * images.numel() / _seconds(lambda: layer(images), device),
            bandwidth=2 * of.nbytes / _seconds(lambda: to.copy_(of), device),
        )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    def several() -> None:
        for _ in range(CALLS):
            work()

    several()
    return statistics.median(time_work(several, device) for _ in range(REPEATS)) / CALLS


class Roofline(TorchDispatchMode):
    """Adds up the least seconds of all operations that run within it, one after the other.

    An operation takes at least what its arithmetic takes at the faster of the two measured rates, and at least what
    reading its inputs and writing its outputs takes at the measured bandwidth. Code that does several operations in
    one pass over memory, as compiled code does, may be faster.
    """

    def __init__(self, rates: Rates) -> None:
        super().__init__()
        self.peak, self.bandwidth = max(rates.matmul, rates.convolution), rates.bandwidth
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and adds its time."""
        kwargs = kwargs or {}
        if func not in flop_registry and torch.is_inference_mode_enabled():  # there operations come in one piece
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        found = func(*args, **kwargs)
        if not func.is_view:
            moved = sum(each.nbytes for each in tree_leaves((args, kwargs, found)) if isinstance(each, Tensor))
            count = flop_registry.get(func.overloadpacket)
            flops = count(*args, **kwargs, out_val=found) if count else 0
            self.seconds += max(flops / self.peak, moved / self.bandwidth)
        return found
