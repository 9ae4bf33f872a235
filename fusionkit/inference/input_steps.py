"""The steps between a user's sample and the elements that a network is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from fusionkit.config.schema import PrepareSpec, Recipe
from fusionkit.data.transforms.chain import build_transforms, find_whole_numbers
from fusionkit.interfaces import ModalityInfo, Transform
from fusionkit.storage.records.inputs import Inputs


@dataclass(frozen=True)
class InputSteps:
    """The way of new samples to a network: read, prepared, transformed as in evaluation, and put into batches.

    Args:
        inputs: What the network is given, in the order of its modalities.
        whole_numbers: By modality, the dtypes of whole numbers that the network takes; None where it does not say.
        transforms: By modality, its transforms; none of a network that transforms elements itself.
        prepare: How films are prepared; None where there are none.
        seed: The seed of the recipe.
        batch_size: Samples of a batch, unless a user asks for another number.
        budget: Instead, elements of the longest modality of a batch.
        timeout_seconds: How long a batch of processes that read is waited for; None for ever.
    """

    inputs: Inputs
    whole_numbers: Mapping[str, tuple[torch.dtype, ...] | None]
    transforms: Mapping[str, Sequence[Transform]] = field(default_factory=dict)
    prepare: PrepareSpec | None = None
    seed: int = 0
    batch_size: int = 16
    budget: int | None = None
    timeout_seconds: float | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the order of the network."""
        return tuple(self.whole_numbers)


def describe_steps(recipe: Recipe, inputs: Inputs) -> InputSteps:
    """Describes the steps that a recipe states.

    Args:
        recipe: The recipe, with shapes and classes.
        inputs: What its network is given.
    """
    specs, stated = recipe.model.modalities, inputs.modalities
    infos = {name: ModalityInfo(tuple(stated[name].shape), stated[name].rate) for name in specs}
    return InputSteps(
        inputs=inputs,
        whole_numbers={name: find_whole_numbers(spec) for name, spec in specs.items()},
        transforms={name: tuple(build_transforms(spec, infos[name])) for name, spec in specs.items()},
        prepare=recipe.data.prepare,
        seed=recipe.train.seed,
        batch_size=recipe.data.batch_size,
        budget=recipe.data.budget,
        timeout_seconds=recipe.data.timeout_seconds,
    )
