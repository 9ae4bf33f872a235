"""Encoders that see windows of a sequence: cut, sorted by length, padded a little, and put together again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fusionkit.interfaces import count_at_once
from fusionkit.models.encoders.pretrained.network import PretrainedEncoder
from fusionkit.nn.jagged import Jagged, make_indices

_MOST_PADDING = 1.25
"""The most elements that a batch of windows is padded to, as a multiple of those that it has."""

Span = tuple[int, int]
"""The place of a window among all elements: where it begins, and how many elements it has."""


class WindowEncoder(PretrainedEncoder):
    """An encoder of windows: a sequence of at most `window` elements is one, a longer one is cut into several.

    Every window is encoded by itself, and the outputs of a sequence follow each other. So memory is bounded whatever
    the length of a clip, and the graph that an export makes is of one window.
    """

    #: The most elements of a window.
    window: int
    #: The fewest elements that a window is padded to.
    least: int

    @abstractmethod
    def encode_windows(self, windows: Tensor, sizes: Tensor | None) -> Tensor:
        """Encodes windows.

        Args:
            windows: Windows with zeros behind them, ``(rows, longest, *in_shape)``, at least `least` long.
            sizes: Elements of each, ``(rows,)``; None where all are full.

        Returns:
            What they become, ``(rows, longest', *out_shape)``; of each only the first `count_encoded` are read.
        """

    @abstractmethod
    def count_encoded(self, sizes: Tensor) -> Tensor:
        """Counts the elements that windows of these sizes become: none of none, at least one of others."""

    def prepare(self, elements: Jagged) -> Jagged:
        """Prepares whole sequences before they are cut."""
        return elements

    def forward(self, elements: Jagged) -> Jagged:
        """Encodes every sequence."""
        prepared = self.prepare(elements)
        spans, rows = _cut(prepared.sizes, self.window)
        values, counts = self._encode(prepared.values, spans)
        return Jagged.from_sizes(values, _sum_by_row(counts, rows, len(elements)))

    def encode_pieces(self, elements: Jagged, most: int | None) -> Iterator[Jagged]:
        """Yields the output, in parts of as many windows as have at most so many elements, and at least of one."""
        most = count_at_once(elements.element_shape) if most is None else most
        prepared = self.prepare(elements)
        spans, rows = _cut(prepared.sizes, self.window)
        first = 0
        while first < len(spans):
            last, held = first + 1, spans[first][1]
            while last < len(spans) and held + spans[last][1] <= most:
                held += spans[last][1]
                last += 1
            values, counts = self._encode(prepared.values, spans[first:last])
            yield Jagged.from_sizes(values, _sum_by_row(counts, rows[first:last], len(elements)))
            first = last

    def _encode(self, values: Tensor, spans: Sequence[Span]) -> tuple[Tensor, list[int]]:
        """Encodes windows, those of like lengths together; the outputs in their order, and how many each became."""
        counts = self.count_encoded(torch.tensor([size for _, size in spans])).tolist()
        outputs: list[Tensor] = [values] * len(spans)
        for group in self._group(spans, count_at_once(tuple(values.shape[1:]))):
            windows = pad_sequence([values[start : start + size] for start, size in (spans[k] for k in group)], True)
            lacking = self.least - windows.shape[1]
            if lacking > 0:
                windows = torch.cat([windows, windows.new_zeros(len(group), lacking, *windows.shape[2:])], dim=1)
            sizes = [spans[k][1] for k in group]
            full = min(sizes) == windows.shape[1]
            encoded = self.encode_windows(windows, None if full else make_indices(sizes, values.device))
            for row, place in enumerate(group):
                outputs[place] = encoded[row, : counts[place]]
        return torch.cat(outputs), counts

    def _group(self, spans: Sequence[Span], most: int) -> Iterator[list[int]]:
        """Yields the places of windows that are encoded together, so that little is padded and no batch too large."""
        group, held = list[int](), 0
        for place in sorted(range(len(spans)), key=lambda k: spans[k][1]):
            size = max(spans[place][1], self.least)
            padded = size * (len(group) + 1)
            if group and padded > min(most, _MOST_PADDING * (held + size)):
                yield group
                group, held = [], 0
            group.append(place)
            held += size
        if group:
            yield group


def _cut(sizes: Sequence[int], window: int) -> tuple[list[Span], list[int]]:
    """Cuts sequences into windows; their spans in order, and the sample that each is of."""
    spans, rows, offset = list[Span](), list[int](), 0
    for row, size in enumerate(sizes):
        for start in range(0, size, window):
            spans.append((offset + start, min(window, size - start)))
            rows.append(row)
        offset += size
    return spans, rows


def _sum_by_row(counts: Sequence[int], rows: Sequence[int], batch: int) -> list[int]:
    sizes = [0] * batch
    for count, row in zip(counts, rows, strict=True):
        sizes[row] += count
    return sizes
