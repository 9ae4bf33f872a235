"""The elements of one modality, each at its time: the last seconds of a signal that may have gaps."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.data.live.sounds import JITTER
from fusionkit.errors import DataError, Problem

_NEARLY = 1e-3
"""Elements; seconds are rounded, and an element at the edge of a window is in it or not whatever the rounding."""


@dataclass(frozen=True)
class _Block:
    """Elements that follow each other: the place of the first among all that were taken, and its time.

    The time is that of the run of elements without a gap, and the place in it: were it a sum of how long every block
    lasts, its rounding would grow with their number.
    """

    first: int
    begin: float
    offset: int
    values: Tensor


class TimedElements:
    """Elements of one modality with their times.

    Args:
        name: The modality.
        rate: Elements per second; None where they are no samples of time. Then the last push stands, however old.
    """

    def __init__(self, name: str, rate: float | None) -> None:
        self._name, self._rate = name, rate
        self._blocks: deque[_Block] = deque()
        self._count = self.cut = 0
        self._begin, self._length = 0.0, 0  # of the run of elements without a gap
        self.end: float | None = None

    def push(self, values: Tensor, at: float | None) -> None:
        """Takes elements; those of times that it has already are cut.

        Args:
            values: ``(new, *element)``.
            at: Seconds of the first; the end of those before when left out.

        Raises:
            DataError: All of them lie before the end of those that it has.
        """
        if not len(values):
            return
        if self._rate is None:
            self._blocks.clear()
            self._append(values)
            return
        begin, doubled = self._find_begin(at), 0
        if self.end is not None and begin < self.end:
            doubled = max(0, math.ceil((self.end - begin) * self._rate - self._round(begin)))
        if doubled >= len(values):
            message = f"{len(values)} elements from {begin:.3f} s on come after those up to {self.end:.3f} s"
            raise DataError([Problem(self._name, message, "push them in the order of time, or reset the stream")])
        self.cut += doubled
        if begin != self.end:
            self._begin, self._length = begin + doubled / self._rate, 0
        self._append(values[doubled:])
        self.end = self._begin + self._length / self._rate

    def drop_before(self, at: float) -> None:
        """Forgets elements that are older."""
        while self._rate is not None and self._blocks:
            block = self._blocks[0]
            old = self._count_before(block, at)
            if old:
                self._blocks.popleft()
            if old < len(block.values):
                if old:
                    kept = block.values[old:].clone()  # a view would keep all of its block in memory
                    self._blocks.appendleft(_Block(block.first + old, block.begin, block.offset + old, kept))
                return

    def read(self, start: float, stop: float) -> tuple[int, Tensor] | None:
        """Reads the elements of a time, and the place of the first among all; None where there are none."""
        parts, first = list[Tensor](), None
        for block in self._blocks:
            begin, end = (0, len(block.values)) if self._rate is None else self._find_part(block, start, stop)
            if begin < end:
                first = block.first + begin if first is None else first
                parts.append(block.values[begin:end])
        if first is None:
            return None
        with torch.inference_mode(False):  # else torch does not count what a transform writes into them
            return first, torch.cat(parts)

    def count(self, start: float, stop: float) -> int:
        """Counts the elements of a time."""
        if self._rate is None:
            return sum(len(block.values) for block in self._blocks)
        return sum(max(0, end - begin) for begin, end in (self._find_part(each, start, stop) for each in self._blocks))

    def _find_begin(self, at: float | None) -> float:
        """Finds where elements begin: where those before end, if their stamp is nearly that, by half an element too."""
        assert self._rate is not None
        if self.end is None:
            return at or 0.0
        return self.end if at is None or abs(at - self.end) <= max(JITTER, 0.5 / self._rate) else at

    def _append(self, values: Tensor) -> None:
        """Appends a copy: the buffer of a camera or a microphone is written anew before the next answer."""
        self._blocks.append(_Block(self._count, self._begin, self._length, values.detach().clone()))
        self._count += len(values)
        self._length += len(values)

    def _find_part(self, block: _Block, start: float, stop: float) -> tuple[int, int]:
        return self._count_before(block, start), self._count_before(block, stop)

    def _count_before(self, block: _Block, at: float) -> int:
        """Counts the elements of a block before a time."""
        assert self._rate is not None
        if at == -math.inf:
            return 0
        place = (at - block.begin) * self._rate - block.offset
        return min(len(block.values), max(0, math.ceil(place - self._round(at))))

    def _round(self, at: float) -> float:
        """Returns the part of an element by which places at a time are rounded; seconds since 1970 have few digits."""
        assert self._rate is not None
        return _NEARLY + 4 * math.ulp(at) * self._rate
