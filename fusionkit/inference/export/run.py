"""The network of a run, with its data, as exports take it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import ModalitySpec
from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.batching import Draw
from fusionkit.data.loading.collation import Sample
from fusionkit.data.loading.lengths import measure_lengths
from fusionkit.data.loading.samples import Samples
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.interfaces import ModalityInfo, Transform
from fusionkit.models.network import FusionModel

_EXAMPLES, _MOST_READ = 5, 48
"""Samples that an export is tried on, and so many are read to find one of every modality."""


class Branches(Protocol):
    """The branches of a finished training that may be asked."""

    @property
    def fused(self) -> bool:
        """True if the fused branch is trained."""

    @property
    def unimodal(self) -> Mapping[str, str]:
        """By modality whose head is trained, how it was."""

    @property
    def ensemble(self) -> bool:
        """True if every modality was trained alone."""


def describe_network(
    model: FusionModel, assembly: Assembly, branches: Branches, *, weights_sha256: str, about: Mapping[str, Any]
) -> TrainedNetwork:
    """Describes a trained network of a recipe and its data for an export.

    Args:
        model: The network, with its weights.
        assembly: Its recipe, and the data.
        branches: The branches that are trained.
        weights_sha256: The hash of the weights.
        about: Where the network comes from.

    Raises:
        DataError: A sample of the test part cannot be read.
    """
    recipe, names = assembly.recipe, model.modalities
    infos = {name: assembly.dataset.modalities[name] for name in names}
    raw = Samples(
        assembly.dataset,
        assembly.test_ids,
        modalities=names,
        encoders=assembly.encoders,
        whole_numbers=_find_whole_numbers(model),
    )

    def read_test_part() -> Iterator[Sample]:
        for index in raw.indices:
            yield raw[Draw(0, index)]

    examples = _choose_examples(raw, names)
    training = Samples(assembly.dataset, assembly.train_ids, modalities=names, whole_numbers=_find_whole_numbers(model))
    return TrainedNetwork(
        model=model,
        modalities=infos,
        transforms={name: build_transforms(recipe.model.modalities[name], infos[name]) for name in names},
        fused=branches.fused,
        unimodal=tuple(branches.unimodal),
        ensemble=branches.ensemble,
        dtypes={name: sample[name].dtype for sample in reversed(examples) for name in sample},
        longest={name: of.longest for name, of in measure_lengths(training).items()},
        examples=examples,
        preparation=None if recipe.data.prepare is None else recipe.data.prepare.model_dump(mode="json"),
        transform_specs={
            name: [{"type": spec.type, **spec.options} for spec in recipe.model.modalities[name].transforms]
            for name in names
        },
        test_part=read_test_part,
        weights_sha256=weights_sha256,
        about=about,
    )


def _find_whole_numbers(model: FusionModel) -> dict[str, tuple[torch.dtype, ...] | None]:
    """Returns by modality the dtypes of whole numbers that its first encoder takes."""
    return {name: model.branch(name).whole_numbers for name in model.modalities}


def build_transforms(spec: ModalitySpec, info: ModalityInfo) -> tuple[Transform, ...]:
    """Builds the transforms of a modality, each for the rate that the ones before leave."""
    transforms, rate = list[Transform](), info.rate
    for each in spec.transforms:
        transforms.append(build_component(each, info.shape, rate))
        rate = None if rate is None else rate / transforms[-1].keeps_every
    return tuple(transforms)


def _choose_examples(samples: Samples, names: tuple[str, ...]) -> list[Mapping[str, Tensor]]:
    """Reads a few samples, spread over all of them, and goes on for a while until each modality was met."""
    chosen: list[Mapping[str, Tensor]] = []
    count = len(samples)
    spread = [samples.indices[place * count // _EXAMPLES] for place in range(min(_EXAMPLES, count))]
    for index in list(dict.fromkeys([*spread, *samples.indices]))[:_MOST_READ]:
        met = {name for sample in chosen for name in sample}
        if len(chosen) >= len(spread) and met >= set(names):
            break
        inputs = samples[Draw(0, index)].inputs
        if len(chosen) < len(spread) or set(inputs) - met:
            chosen.append(inputs)
    return chosen
