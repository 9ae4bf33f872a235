"""Samples that an exported file is tried on: subsets of modalities, sizes of batches, and lengths."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from fusionkit.inference.export.trained import TrainedNetwork

BATCH_SIZES = (1, 2, 5)
MOST_SUBSETS = 64
"""All subsets of up to six modalities; of more, so many random ones."""


@dataclass(frozen=True)
class Trial:
    """A batch of samples.

    Args:
        subset: The modalities that the batch has; some of its samples lack one of them.
        samples: By modality, raw elements; a modality that a sample lacks is left out.
    """

    subset: tuple[str, ...]
    samples: Sequence[Mapping[str, Tensor]]


def choose_lengths(longest: int) -> tuple[int, ...]:
    """Chooses five lengths to try: one, an odd one, a middle one, the longest that was seen, and longer ones.

    Example:
        >>> choose_lengths(100), choose_lengths(1)
        ((1, 33, 51, 100, 151), (1, 2, 3, 4, 5))
    """
    chosen = {1, max(3, longest // 3 | 1), longest // 2 + 1, longest, longest + longest // 2 + 1}
    while len(chosen) < 5:
        chosen.add(max(chosen) + 1)
    return tuple(sorted(chosen))


def choose_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Chooses non-empty subsets of the modalities: all, or random ones with the whole and each alone among them."""
    if 2 ** len(modalities) <= MOST_SUBSETS:
        sizes = range(1, len(modalities) + 1)
        return [subset for size in sizes for subset in combinations(modalities, size)]
    chosen = {tuple(modalities), *((name,) for name in modalities)}
    chance = random.Random(0)
    while len(chosen) < MOST_SUBSETS:
        subset = tuple(name for name in modalities if chance.random() < 0.5)
        if subset:
            chosen.add(subset)
    return sorted(chosen, key=lambda subset: (len(subset), subset))


def draw_trials(network: TrainedNetwork) -> Iterator[Trial]:
    """Draws the batches: for every subset one of each size, through which every modality takes every length."""
    lengths = {name: choose_lengths(network.longest_of(name)) for name in network.model.modalities}
    for subset in choose_subsets(network.model.modalities):
        count, lacks = 0, 0
        for size in BATCH_SIZES:
            samples = []
            for row in range(size):
                # The first sample of a batch has all of the subset; every second one lacks one modality of it.
                lacking = subset[lacks % len(subset)] if row % 2 and len(subset) > 1 else None
                lacks += row % 2
                sample = {}
                for place, name in enumerate(subset):
                    if name != lacking:
                        length = lengths[name][(count + place) % len(lengths[name])]
                        sample[name] = draw_elements(network, name, length, seed=count)
                samples.append(sample)
                count += 1
            yield Trial(subset, samples)


def draw_elements(network: TrainedNetwork, name: str, length: int, *, seed: int = 0) -> Tensor:
    """Draws elements of a modality: those of an example, repeated or cut, or noise where there is none.

    Args:
        network: The network, with its examples.
        name: The modality.
        length: How many elements.
        seed: Which example, or which noise.
    """
    dtype = network.dtype(name)
    examples = [sample[name] for sample in network.examples if name in sample and len(sample[name])]
    if examples:
        values = examples[seed % len(examples)]
        return values[(torch.arange(length) + seed) % len(values)].to(dtype)
    shape = (length, *network.model.branch(name).in_shape)
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.uint8:
        return torch.randint(0, 256, shape, generator=generator, dtype=dtype)
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)  # how large a number may be, no encoder says
    return torch.randn(shape, generator=generator).to(dtype)
