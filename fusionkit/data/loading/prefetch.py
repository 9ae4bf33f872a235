"""Batches that are copied to a GPU beside the step before them, on a stream of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from fusionkit.data.loading.failures import name_batch
from fusionkit.interfaces import Batch
from fusionkit.nn.memory import FEWER_SAMPLES


class Lane(Protocol):
    """The stream on which copies run beside everything else."""

    def begin(self, batch: Batch) -> Batch:
        """Begins to copy a batch and does not wait; what the device is to compute of it stays pending."""
        ...

    def arrive(self, batch: Batch) -> None:
        """Lets what is computed from here on wait for all copies that were begun."""
        ...


class StreamLane:
    """A stream of a CUDA device that does nothing but copy.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def begin(self, batch: Batch) -> Batch:
        """Begins to copy a batch; from page-locked memory that runs beside what the device computes."""
        with torch.cuda.stream(self._stream):
            return batch.copy_to(self._device, non_blocking=True)

    def arrive(self, batch: Batch) -> None:
        """Lets the current stream wait, and keeps the memory of the batch until that stream is done with it."""
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for tensor in list_tensors(batch):
            tensor.record_stream(current)


def choose_lane(device: torch.device | None) -> Lane | None:
    """Chooses how batches get to a device ahead of their steps; None where nothing is gained by it."""
    return StreamLane(device) if device is not None and device.type == "cuda" else None


def fetch_ahead(
    batches: Iterator[Batch], lane: Lane, moving: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[Batch]:
    """Yields the batches on the device; the next is copied while a step learns, and none is taken before that.

    A step waits for the copy of its own batch only: the next one is begun after that wait is in the stream. Where the
    next batch cannot be loaded, the one before it is learnt from first, as without a lane.

    Args:
        batches: The batches, in the memory of the host.
        lane: Where they are copied.
        moving: Within it, copies are begun and waited for.

    Raises:
        Exception: Whatever loading raises, when the batch that could not be loaded is asked for.
    """

    def begin_next() -> Batch | None:
        batch = next(batches, None)
        if batch is None:
            return None
        with moving(), name_batch("moving", batch, "the device", FEWER_SAMPLES):
            return lane.begin(batch)

    coming = begin_next()
    while coming is not None:
        batch, coming, failure = coming, None, None
        with moving():
            lane.arrive(batch)
        try:
            coming = begin_next()
        except Exception as error:  # it is raised below, in its turn
            failure = error
        yield batch
        if failure is not None:
            raise failure


def list_tensors(batch: Batch) -> Iterable[Tensor]:
    """Lists all tensors of a batch."""
    for value in batch.inputs.values():
        yield from (value.values, value.lengths)
    yield from batch.targets.values()
    for steps in batch.pending.values():
        for _, parameters in steps:
            yield parameters
