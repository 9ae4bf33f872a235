"""Noise in the place of data, of the lengths that samples have or are assumed to have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import nn

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.errors import RecipeError, suggest_names
from fusionkit.interfaces import Aggregator, Encoder, Transform
from fusionkit.interfaces.elements import takes_whole_numbers_only
from fusionkit.models.branch import Branch
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged

WAVE_LENGTH, IMAGE_LENGTH, VECTOR_LENGTH = 48_000, 10, 100
"""Elements of a sample that are assumed where nothing says better: three seconds at 16 kHz, ten frames, 100 vectors."""

MOST_ELEMENTS = 10**12
"""Elements that a sample may have: no machine holds more, and PyTorch could not count their bytes."""


def count_samples(recipe: Recipe, model: FusionModel, lengths: Mapping[str, int]) -> int:
    """Counts the samples of a batch, all of the same lengths; a budget counts elements before transforms."""
    if recipe.data.budget is None:
        return recipe.data.batch_size
    before = []
    for name, length in lengths.items():
        specs = recipe.model.modalities[name].transforms
        chain: list[Transform] = [build_component(spec, model.branch(name).in_shape, 1.0) for spec in specs]
        before.append(length * math.prod(transform.keeps_every for transform in chain))
    return max(1, recipe.data.budget // max(before))


def assume_lengths(model: FusionModel, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """Returns the elements of a sample by modality: as given, else as `assume_length` says.

    Raises:
        RecipeError: A given length is of no modality, or no positive number.
    """
    for name, length in (given or {}).items():
        if name not in model.modalities:
            raise RecipeError(f"length: no modality {name!r}; {suggest_names(name, model.modalities)}")
        if not 1 <= length <= MOST_ELEMENTS:
            raise RecipeError(f"length: {name} cannot have {length} elements; at least one, at most {MOST_ELEMENTS:,}")
    return {name: (given or {}).get(name) or assume_length(model.branch(name)) for name in model.modalities}


def assume_length(branch: Branch) -> int:
    """Returns the elements of a sample where nothing says: one where all parts suit it, else a usual number."""
    if not branch.in_shape:
        return WAVE_LENGTH
    parts = (*branch.encoders, branch.aggregator)
    if all(isinstance(part, Encoder | Aggregator) and part.suits_one_element for part in parts):
        return 1
    return VECTOR_LENGTH if len(branch.in_shape) == 1 else IMAGE_LENGTH


def draw_noise(model: FusionModel, lengths: Mapping[str, int], batch: int) -> dict[str, Jagged]:
    """Draws a batch of normal noise, all samples of the same lengths; zeros where whole numbers are wanted.

    Args:
        model: The network that is to be given it.
        lengths: Elements of a sample by modality.
        batch: Samples.
    """
    generator = torch.Generator().manual_seed(0)
    noise = {}
    for name, length in lengths.items():
        branch = model.branch(name)
        shape, whole = (batch * length, *branch.in_shape), _find_whole_numbers(branch)
        values = torch.randn(shape, generator=generator) if whole is None else torch.zeros(shape, dtype=whole)
        noise[name] = Jagged.from_sizes(values, (length,) * batch)
    return noise


_known: WeakKeyDictionary[nn.Module, torch.dtype | None] = WeakKeyDictionary()


def _find_whole_numbers(branch: Branch) -> torch.dtype | None:
    """Returns the dtype of what a branch takes where that is whole numbers only; every encoder is tried once."""
    first = branch.encoders[0]
    assert isinstance(first, Encoder)
    if first not in _known:
        _known[first] = takes_whole_numbers_only(first, branch.in_shape)
    return _known[first]
