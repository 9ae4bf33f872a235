"""The lengths of a dataset's samples, measured on some of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from fusionkit.data.loading.batching import Draw
from fusionkit.data.loading.samples import Samples

MOST = 48
"""Samples that are loaded to be measured."""


@dataclass(frozen=True)
class MeasuredLength:
    """Elements of one modality behind its transforms, in the samples that were loaded.

    Args:
        median: Of the samples that have it.
        longest: Of the samples that have it.
        present: How many of the loaded samples have it.
        loaded: How many samples were loaded.
    """

    median: int
    longest: int
    present: int
    loaded: int


def measure_lengths(samples: Samples, most: int = MOST) -> Mapping[str, MeasuredLength]:
    """Loads samples that are spread evenly over all of them; a modality that none of them has is left out.

    Args:
        samples: The samples, with the transforms of a training or without.
        most: How many are loaded at most.

    Raises:
        DataError: A file is damaged.
    """
    count = min(most, len(samples))
    chosen = [samples.indices[position * len(samples) // count] for position in range(count)]
    found: dict[str, list[int]] = {name: [] for name in samples.modalities}
    for index in chosen:
        for name, values in samples[Draw(0, index)].inputs.items():
            found[name].append(len(values))
    return {
        name: MeasuredLength(statistics.median_high(lengths), max(lengths), len(lengths), count)
        for name, lengths in found.items()
        if lengths
    }
