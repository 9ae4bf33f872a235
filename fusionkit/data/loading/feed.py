"""The batches of chosen samples, epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch

from fusionkit.data.loading.batching import EpochBatches
from fusionkit.data.loading.loader import make_loader
from fusionkit.data.loading.prefetch import choose_lane, fetch_ahead
from fusionkit.data.loading.samples import Samples
from fusionkit.interfaces import Batch, Repeat


class Feed:
    """The batches of chosen samples, epoch after epoch, from one set of worker processes.

    Args:
        samples: The samples.
        batches: Which of them form a batch.
        workers: Processes that load ahead.
        timeout_seconds: How long a batch of theirs is waited for; None for ever.
        device: Where the batches are wanted, if it is known: a GPU is given them while it still learns from the batch
            before. Elsewhere, and for all else that `Batch.to` does, they are as they were loaded.
    """

    def __init__(
        self,
        samples: Samples,
        batches: EpochBatches,
        *,
        workers: int,
        timeout_seconds: float | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._batches, self._samples, self._lane = batches, samples, choose_lane(device)
        self._moving: Callable[[], AbstractContextManager[None]] = nullcontext
        self._loader = make_loader(
            samples,
            batches,
            workers=workers,
            pin_memory=torch.cuda.is_available(),
            timeout_seconds=timeout_seconds,
        )

    def repeat(self, repeats: Iterable[Repeat]) -> None:
        """Takes these samples once more into every epoch, until it is called again."""
        rows, wanted = self._samples.dataset.rows, list(repeats)
        place_of = {rows[index].id: index for index in self._samples.indices} if wanted else {}
        self._batches.repeat([(place_of[repeat.sample_id], repeat.modalities) for repeat in wanted])

    def count(self, epoch: int) -> int:
        """Counts the batches of an epoch."""
        return len(self._batches.plan(epoch))

    def read_epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch, from the given one on."""
        self._batches.set_epoch(epoch, start)
        loaded = cast(Iterator[Batch], iter(self._loader))
        return loaded if self._lane is None else fetch_ahead(loaded, self._lane, self._moving)

    def move_within(self, moving: Callable[[], AbstractContextManager[None]]) -> None:
        """Moves batches ahead of their steps within this from now on, for who wants to know how long it takes."""
        self._moving = moving
