"""Memory that runs out, of a GPU or of the machine, in words of what was tried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fusionkit.errors import FusionKitError

_ON_A_CPU = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")
"""What PyTorch says there, on Linux, on Windows and of sizes that no number holds; it has no class for it."""


@contextmanager
def told_when_full(told: FusionKitError) -> Iterator[None]:
    """Within it PyTorch's running out of memory raises this error instead.

    Example:
        >>> with told_when_full(FusionKitError("too long")):
        ...     torch.zeros(10**18)
        Traceback (most recent call last):
        ...
        fusionkit.errors.FusionKitError: too long
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _ON_A_CPU):
            raise told from error
        raise
