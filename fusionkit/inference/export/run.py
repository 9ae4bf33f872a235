"""The network of a run, with its data, as exports take it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import Assembly, assemble
from fusionkit.data.loading.batching import Draw
from fusionkit.data.loading.collation import Sample
from fusionkit.data.loading.lengths import measure_lengths
from fusionkit.data.loading.samples import Samples
from fusionkit.data.transforms.chain import build_transforms
from fusionkit.errors import DataError, RecipeError
from fusionkit.inference.branches import trained_branches
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.inference.trained import find_inputs, load_network
from fusionkit.interfaces import ModalityInfo
from fusionkit.models.network import FusionModel
from fusionkit.storage.records.inputs import Inputs
from fusionkit.storage.run_folder import RunFolder

_EXAMPLES, _MOST_READ = 5, 48
"""Samples that an export is tried on, and so many are read to find one of every modality."""


def open_network(run: RunFolder) -> TrainedNetwork:
    """Opens the network of a finished run for an export, with its data where they are there.

    Without them it is tried on noise, and what weights of 8 bits cost on the test part is not measured.

    Raises:
        RunError: The run has not finished, or its weights are damaged or of another network.
        DataError: A sample of the test part cannot be read.
    """
    recipe, weights = run.recipe, run.sha256_of_weights()
    try:
        assembly = assemble(recipe)
    except (DataError, RecipeError):
        assembly = None
    about = {"run": run.path.name, "model": run.written_recipe["model"]}
    if assembly is not None:
        about["fold"] = assembly.split.name
    return describe_network(
        load_network(run, recipe), recipe, find_inputs(run), assembly=assembly, weights_sha256=weights, about=about
    )


def describe_network(
    model: FusionModel,
    recipe: Recipe,
    inputs: Inputs,
    *,
    assembly: Assembly | None = None,
    weights_sha256: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> TrainedNetwork:
    """Describes a trained network for an export.

    Args:
        model: The network, with its weights.
        recipe: Its recipe, with shapes and classes.
        inputs: What it is given.
        assembly: The recipe with its data; None where these are not there.
        weights_sha256: The hash of the weights.
        about: Where the network comes from.

    Raises:
        DataError: A sample of the test part cannot be read.
    """
    branches, names = trained_branches(recipe), model.modalities
    infos = {name: ModalityInfo(tuple(of.shape), of.rate) for name, of in inputs.modalities.items()}
    specs = recipe.model.modalities
    known = {} if assembly is None else _read_data(model, assembly)
    return TrainedNetwork(
        model=model,
        modalities=infos,
        transforms={name: tuple(build_transforms(specs[name], infos[name])) for name in names},
        fused=branches.fused,
        unimodal=tuple(branches.unimodal),
        ensemble=branches.ensemble,
        preparation=None if recipe.data.prepare is None else recipe.data.prepare.model_dump(mode="json"),
        transform_specs={
            name: [{"type": spec.type, **spec.options} for spec in specs[name].transforms] for name in names
        },
        weights_sha256=weights_sha256,
        about=about or {},
        **known,
    )


def _read_data(model: FusionModel, assembly: Assembly) -> dict[str, Any]:
    """Reads what the data say: samples to try an export on, the longest ones, and the test part."""
    names = model.modalities
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
    return {
        "dtypes": {name: sample[name].dtype for sample in reversed(examples) for name in sample},
        "longest": {name: of.longest for name, of in measure_lengths(training).items()},
        "examples": examples,
        "test_part": read_test_part,
    }


def _find_whole_numbers(model: FusionModel) -> dict[str, tuple[torch.dtype, ...] | None]:
    """Returns by modality the dtypes of whole numbers that its first encoder takes."""
    return {name: model.branch(name).whole_numbers for name in model.modalities}


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
