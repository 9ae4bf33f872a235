"""Memory that runs out, of a GPU or of the machine, in words of what was tried."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from fusionkit.errors import FusionKitError, TrainingError

_SAID = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "out of memory",
    "bad_alloc",
    "Storage size calculation overflowed",
    "numel: integer multiplication overflow",
    "Overflow when unpacking long",
    "ALLOC_FAILED",
    "Invalid buffer size",
)
"""Words of PyTorch's errors without a class of their own: on CPUs, for impossible sizes, and in libraries of GPUs."""

FEWER_SAMPLES = "lower data.batch_size or data.budget and raise train.accumulate instead"
"""Advice for a training step: less memory, the same learning."""

SMALLER_BATCHES = "lower data.batch_size or data.budget, or the chunk of a modality with long clips"
"""Advice for a forward pass: less memory."""


def is_full(error: BaseException) -> bool:
    """Tells whether an error says that memory ran out: Python's, NumPy's or PyTorch's.

    Example:
        >>> is_full(MemoryError()), is_full(RuntimeError("CUDA error: out of memory")), is_full(RuntimeError("shape"))
        (True, True, False)
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = isinstance(error, RuntimeError | TypeError) and any(words in str(error) for words in _SAID)
    return said or isinstance(error, MemoryError | torch.OutOfMemoryError)


@contextmanager
def explain_full_memory(told: Callable[[], FusionKitError]) -> Iterator[None]:
    """Raises an error of one's own where memory runs out, which is made only then.

    Example:
        >>> with explain_full_memory(lambda: FusionKitError("too long")):
        ...     torch.zeros(10**18)
        Traceback (most recent call last):
        ...
        fusionkit.errors.FusionKitError: too long
    """
    try:
        yield
    except (RuntimeError, TypeError, MemoryError, OSError) as error:
        if is_full(error):
            raise told() from error
        raise


def make_batch_error(where: str, samples: int, device: object, remedy: str, sizes: str = "") -> TrainingError:
    """Makes the error of a batch that is too large.

    Args:
        where: What was done with it.
        samples: How many it has.
        device: Whose memory ran out.
        remedy: What would be right.
        sizes: What the samples hold.
    """
    held = f" ({sizes})" if sizes else ""
    return TrainingError(
        f"{where}: a batch of {samples} samples{held} does not fit into the memory of {device}; {remedy}"
    )


def make_network_error(device: object) -> TrainingError:
    """Makes the error of a network that does not fit where it is to compute, with no batch at all."""
    return TrainingError(
        f"the network does not fit into the memory of {device}; narrow it, or free memory that others hold there"
    )


def make_sized_batch_error(
    where: str, sample_ids: Sequence[str], sizes: Mapping[str, Sequence[int]], device: object, remedy: str
) -> TrainingError:
    """Makes the error of a batch whose samples are known: how much they hold, and which is the longest.

    Example:
        >>> print(make_sized_batch_error("step 3", ("a", "b"), {"wave": (2, 3)}, "cpu", "take less"))
        step 3: a batch of 2 samples (wave: 5 elements, the most in b: 3) does not fit into the memory of cpu; take less
    """
    told = []
    for name, of in sizes.items():
        most = max(of, default=0)
        if most:
            told.append(f"{name}: {sum(of):,} elements, the most in {sample_ids[of.index(most)]}: {most:,}")
    return make_batch_error(where, len(sample_ids), device, remedy, "; ".join(told))
