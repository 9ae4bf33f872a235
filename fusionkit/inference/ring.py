"""The last elements of a sequence, in memory that does not grow with it."""

from __future__ import annotations

import torch
from torch import Tensor


class Ring:
    """The last elements of a sequence in a ring that grows as they do, until it holds so many.

    Args:
        most: How many; None for all.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._ring: Tensor | None = None
        self._first = self.count = 0

    def append(self, new: Tensor) -> None:
        """Copies elements behind the others, no more than the ring may hold."""
        total = self.count + len(new)
        count = total if self._most is None else min(self._most, total)
        ring = self._ring = self._grow(count, new)
        end = (self._first + self.count) % len(ring)
        before, behind = new[: len(ring) - end], new[len(ring) - end :]
        ring[end : end + len(before)] = before
        ring[: len(behind)] = behind
        self._first, self.count = (self._first + total - count) % len(ring), count

    def elements(self) -> Tensor:
        """Returns a copy of all, in their order, which later ones do not change."""
        assert self._ring is not None
        end = self._first + self.count
        return torch.cat([self._ring[self._first : end], self._ring[: max(0, end - len(self._ring))]])

    def _grow(self, count: int, like: Tensor) -> Tensor:
        if self._ring is not None and count <= len(self._ring):
            return self._ring
        size = max(count, 2 * self.count)
        ring = like.new_empty((size if self._most is None else min(size, self._most), *like.shape[1:]))
        if self._ring is not None:
            ring[: self.count] = self._ring[: self.count]  # none is dropped before the ring has its full size
        return ring
