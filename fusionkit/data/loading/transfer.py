"""Batches on their way from a worker process to the one that learns.

PyTorch hands each tensor over as a file of its own in shared memory, however small it is, and on Linux as an open file:
the receiver has to ask the worker for it, busy as that is, and holds it open as long as the tensor. So small tensors
travel in the message itself, and the files of large ones have names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fusionkit.data.loading.failures import Failure
from fusionkit.data.loading.processes import describe_shared_memory
from fusionkit.interfaces import Batch
from fusionkit.nn.jagged import Jagged

_SMALL = 2**12
"""Bytes of a tensor up to which it travels in the message: a pipe must hold several messages, or the worker waits."""

_Packed = tuple[bytes, torch.dtype, torch.Size] | Tensor


class Parcel:
    """A batch to be sent: who unpickles it has the `Batch`, or a `Failure` where there was no room for it."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        batch = self._batch
        try:
            inputs = {name: (_pack(value.values), value.sizes) for name, value in batch.inputs.items()}
            targets = {name: _pack(value) for name, value in batch.targets.items()}
            pending = {
                name: tuple((transform, _pack(parameters)) for transform, parameters in steps)
                for name, steps in batch.pending.items()
            }
        except RuntimeError as error:
            # A thread of the queue pickles: what is raised there is printed, and the receiver waits for ever.
            size = sum(value.values.nbytes for value in batch.inputs.values())
            return Failure, (describe_shared_memory(len(batch.sample_ids), size, str(error)),)
        return _unpack_batch, (inputs, targets, batch.sample_ids, pending, dict(batch.said))


def prepare_worker() -> None:
    """Lets a worker process name the files of the tensors that it sends, so that nobody has to ask it for them."""
    torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]


def _unpack_batch(
    inputs: dict[str, tuple[_Packed, tuple[int, ...]]],
    targets: dict[str, _Packed],
    sample_ids: tuple[str, ...],
    pending: dict[str, tuple[tuple[Any, _Packed], ...]],
    said: dict[str, tuple[tuple[str, ...], str]],
) -> Batch:
    return Batch(
        {name: Jagged.from_sizes(_unpack(values), sizes) for name, (values, sizes) in inputs.items()},
        {name: _unpack(values) for name, values in targets.items()},
        sample_ids,
        {name: tuple((each, _unpack(parameters)) for each, parameters in steps) for name, steps in pending.items()},
        said,
    )


def _pack(tensor: Tensor) -> _Packed:
    if tensor.nbytes > _SMALL:
        shared: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]
        return shared
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes(), tensor.dtype, tensor.shape


def _unpack(packed: _Packed) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    content, dtype, shape = packed
    flat = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
    return flat.view(shape)
