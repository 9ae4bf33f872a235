"""The network of a run, with its data, as exports take it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from fusionkit.inference.trained import find_inputs, load_network, refuse_other_networks, refuse_untrained
from fusionkit.interfaces import ModalityInfo
from fusionkit.models.network import FusionModel
from fusionkit.storage.records.inputs import Inputs
from fusionkit.storage.run_folder import RunFolder

_EXAMPLES, _MOST_READ = 5, 48
"""Samples that an export is tried on, and so many are read to find one of every modality."""


def open_network(runs: Sequence[RunFolder], main: str | None = None) -> TrainedNetwork:
    """Opens the network of a finished run for an export, or those of several, with their data where they are there.

    Without them it is tried on noise, and what weights of 8 bits cost on the test part is not measured; nor is it where
    several networks have test parts of their own.

    Args:
        runs: The runs, of one network but for fold and seed.
        main: The branch that answers; the one that stands for a run when left out.

    Raises:
        RunError: A run has not finished, its weights are damaged or of another network, or the branch is not trained.
        DataError: A sample of the test part cannot be read.
    """
    refuse_other_networks(runs)
    first, recipe = runs[0], runs[0].recipe
    if main is not None:
        refuse_untrained(first, main)
    weights = [run.sha256_of_weights() for run in runs]
    try:
        assembly = assemble(recipe)
    except (DataError, RecipeError):
        assembly = None
    about = {"runs": [run.path.name for run in runs], "model": first.written_recipe["model"]}
    if assembly is not None and len(runs) == 1:
        about["fold"] = assembly.split.name
    model, *others = [load_network(run, run.recipe) for run in runs]
    network = describe_network(
        model, recipe, find_inputs(first), assembly=assembly, weights_sha256=weights, about=about
    )
    if any(run.recipe.data != recipe.data for run in runs):
        network = replace(network, test_part=None)
    return replace(network, others=tuple(others), main=main)


def describe_network(
    model: FusionModel,
    recipe: Recipe,
    inputs: Inputs,
    *,
    assembly: Assembly | None = None,
    weights_sha256: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> TrainedNetwork:
    """Describes a trained network for an export.

    Args:
        model: The network, with its weights.
        recipe: Its recipe, with shapes and classes.
        inputs: What it is given.
        assembly: The recipe with its data; None where these are not there.
        weights_sha256: The hashes of the weights.
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
        inputs=inputs,
        fusion=recipe.model.fusion.type,
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
