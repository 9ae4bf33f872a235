"""The samples of every batch: a function of seed and epoch, and of nothing that happened before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch

from fusionkit.errors import DataError, Problem


@dataclass(frozen=True)
class Draw:
    """A sample of the dataset that is wanted, and the epoch in which it is.

    Args:
        epoch: The epoch.
        index: The sample's position in the dataset.
        only: The modalities that it is to have; None for all of its own.
        copy: How many times the epoch has it beside this one, counted from the first.
    """

    epoch: int
    index: int
    only: tuple[str, ...] | None = None
    copy: int = 0


class EpochBatches:
    """The batches of one epoch after another, by a number of samples or by a budget of elements.

    An epoch is cut into batches for all processes together, `world_size` times as large as asked for; each process
    takes every `world_size`-th sample of each. So all processes see equally many batches, and their union is what one
    process sees that asks for batches `world_size` times as large. Only a batch of fewer samples than processes would
    differ, since no process may be left without a sample: the last one joins the batch before it, and one that is cut
    short by a budget goes on.

    Args:
        indices: The samples' positions in the dataset.
        seed: The seed of the order.
        batch_size: Samples of a batch; the last may be smaller.
        budget: Instead of `batch_size`, elements that a batch may hold, counted in the modality that has most of them
            over all samples; a sample that exceeds it alone is a batch by itself.
        lengths: Elements of each sample by modality, before transforms; needed for a `budget`.
        shuffle: Whether every epoch has its own order; else that of `indices`.
        rank: Which process this is.
        world_size: How many processes there are.

    Raises:
        DataError: Both or neither of `batch_size` and `budget` are given, one is not positive, `lengths` are wanting,
            or there are fewer samples than processes.

    Example:
        >>> batches = EpochBatches(range(5), seed=0, batch_size=2, shuffle=False)
        >>> list(batches)
        [[0, 1], [2, 3], [4]]
        >>> batches.set_epoch(3, start=2)
        >>> list(batches)
        [[4]]
    """

    def __init__(
        self,
        indices: Sequence[int],
        *,
        seed: int,
        batch_size: int | None = None,
        budget: int | None = None,
        lengths: Mapping[str, Sequence[int]] | None = None,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.indices, self.seed, self.shuffle = tuple(indices), seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch, self.start = 0, 0
        limit = batch_size if batch_size is not None else budget
        if (batch_size is None) == (budget is None) or limit is None:
            raise DataError("batches: give batch_size or budget, and not both")
        is_whole = isinstance(limit, Integral) and not isinstance(limit, bool)
        if not is_whole:
            raise DataError([Problem("batches", f"{limit!r} is no whole number", "a batch holds at least 1")])
        if limit < 1:
            raise DataError([Problem("batches", f"{limit} is too small", "a batch holds at least 1")])
        if len(self.indices) < world_size:
            raise DataError(f"batches: {len(self.indices)} samples for {world_size} processes; each needs one at least")
        self._limit = limit * world_size
        self._again: tuple[Draw, ...] = ()
        self._costs = (1,) * len(self.indices) if batch_size is not None else _find_costs(self.indices, lengths)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Chooses the epoch, and the batch to start it at, for a resume."""
        self.epoch, self.start = epoch, start

    def repeat(self, again: Sequence[tuple[int, tuple[str, ...]]]) -> None:
        """Takes these samples, by position in the dataset, once more into every epoch, with these modalities only.

        Example:
            >>> batches = EpochBatches([4, 5], seed=0, batch_size=2, shuffle=False)
            >>> batches.repeat([(5, ("audio",))])
            >>> batches.plan(0)
            [[4, 5], [5]]
        """
        counts, draws = Counter[int](), []
        for index, only in again:
            counts[index] += 1
            draws.append(Draw(0, index, only, counts[index]))
        self._again = tuple(draws)

    def plan(self, epoch: int) -> list[list[int]]:
        """Plans the samples of all batches of this process in an epoch."""
        return [[draw.index for draw in batch] for batch in self.list_draws(epoch)]

    def list_draws(self, epoch: int) -> list[list[Draw]]:
        """Lists all batches of this process in an epoch."""
        return [batch[self.rank :: self.world_size] for batch in self._list_union(epoch)]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.plan(self.epoch)[self.start :])

    def __len__(self) -> int:
        """Batches that are left of the chosen epoch."""
        return max(0, len(self._list_union(self.epoch)) - self.start)

    def _list_union(self, epoch: int) -> list[list[Draw]]:
        batches: list[list[Draw]] = []
        spent = 0
        places = {index: place for place, index in enumerate(self.indices)} if self._again else {}
        everything = [Draw(epoch, index) for index in self.indices]
        everything += [replace(draw, epoch=epoch) for draw in self._again]
        costs = [*self._costs, *(self._costs[places[draw.index]] for draw in self._again)]
        for position in self._draw_order(epoch, len(everything)):
            cost = costs[position]
            # A batch is divided among the processes; one without a sample of it would leave the others waiting.
            full = spent + cost > self._limit and len(batches[-1]) >= self.world_size if batches else True
            if full:
                batches.append([])
                spent = 0
            batches[-1].append(everything[position])
            spent += cost
        if len(batches) > 1 and len(batches[-1]) < self.world_size:
            batches[-2:] = [batches[-2] + batches[-1]]
        return batches

    def _draw_order(self, epoch: int, count: int) -> list[int]:
        if not self.shuffle:
            return list(range(count))
        # Consecutive seeds give correlated streams in some generators; a product with a large odd number spreads them.
        seed = (self.seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9) % 2**63
        order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
        return order


def _find_costs(indices: Sequence[int], lengths: Mapping[str, Sequence[int]] | None) -> tuple[int, ...]:
    """Finds the elements of each sample in the modality that has most of them."""
    if not lengths:
        raise DataError("batches: a budget of elements needs the lengths of the samples")
    for name, counted in lengths.items():
        if len(counted) != len(indices):
            raise DataError(f"batches: {len(counted)} lengths of {name} for {len(indices)} samples")
    return tuple(max(lengths.values(), key=sum))
