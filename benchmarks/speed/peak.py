"""The most memory that tensors take at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from fusionkit.nn.timer import wait_for


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Returns the bytes of tensors, at their most during some work, beyond those that are there before it.

    On a CPU every allocation and every release of torch's allocator is read from its profiler, temporary ones within
    an operation included; on a GPU torch keeps this figure itself.
    """
    if device.type == "cuda":
        wait_for(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        wait_for(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        kept = work()
    del kept
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(accumulate(changes, initial=0))


def sum_bytes(tensors: Iterable[Tensor]) -> int:
    """Sums the bytes of the storages of tensors, each counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
