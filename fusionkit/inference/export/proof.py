"""The proof of an export: an exported file and the network answer the same samples, and the answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import ExportError
from fusionkit.inference.branches import FUSED
from fusionkit.inference.export.fusionkit_runtime import pad_samples
from fusionkit.inference.export.graph import average_members, pool_answers
from fusionkit.inference.export.trained import TrainedNetwork
from fusionkit.inference.export.trials import BATCH_SIZES, choose_lengths, draw_trials
from fusionkit.interfaces import LossHead
from fusionkit.models.network import FusionModel
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.records.export import Difference, Proof

LIMIT = 1e-4
"""The largest relative difference of a probability, or of a number in its own unit, that an export may have."""

Array = NDArray[np.generic]
Samples = Sequence[Mapping[str, Tensor]]
RunFile = Callable[[Mapping[str, Array]], Sequence[Array]]
"""Runs an exported file on padded arrays, and gives its outputs in order."""


def prove(network: TrainedNetwork, run: RunFile, *, file: str, runs_on: str, limit: float | None = LIMIT) -> Proof:
    """Compares an exported file with the network, over subsets of modalities, sizes of batches, and lengths.

    Args:
        network: The frozen network.
        run: Runs the file.
        file: The name of the file.
        runs_on: The program that runs it, with its version.
        limit: The relative difference that is too much; None only measures.

    Raises:
        ExportError: An answer differs more than that, or is missing.
    """
    names = [f"{branch}/{target}" for branch, target in network.outputs]
    differences = {name: Difference(largest=0.0, relative=0.0) for name in names}
    by_subset: dict[str, float] = {}
    count = 0
    for trial in draw_trials(network):
        given = run(pad_for(network, trial.samples))
        expected = answer(network, trial.samples)
        outputs = [torch.from_numpy(np.asarray(each)) for each in given]
        for place, (name, key) in enumerate(zip(names, network.outputs, strict=True)):
            found = _compare(network, key, expected[key], outputs[place])
            if found is None or not _predicts(network, key, outputs[place], outputs[len(names) + place]):
                what = f"{file}: {name} is {list(outputs[place].shape)}, not finite, or predicts something else"
                raise ExportError(f"{what}; given were {'+'.join(trial.subset)}; nothing was exported")
            differences[name] = Difference(
                largest=max(found.largest, differences[name].largest),
                relative=max(found.relative, differences[name].relative),
            )
            subset = "+".join(trial.subset)
            by_subset[subset] = max(found.relative, by_subset.get(subset, 0.0))
        count += len(trial.samples)
    proof = Proof(
        file=file,
        runs_on=runs_on,
        samples=count,
        subsets=len(by_subset),
        all_subsets=2 ** len(network.model.modalities) - 1,
        batch_sizes=list(BATCH_SIZES),
        lengths={name: list(choose_lengths(network.longest_of(name))) for name in network.model.modalities},
        elements="of the test part" if network.examples else "noise",
        limit=limit,
        differences=differences,
        by_subset=by_subset,
    )
    _refuse_differences(proof)
    return proof


def _refuse_differences(proof: Proof) -> None:
    if proof.limit is None or proof.largest <= proof.limit:
        return
    name, worst = max(proof.differences.items(), key=lambda item: item[1].relative)
    subset = max(proof.by_subset.items(), key=lambda item: item[1])[0]
    message = f"{proof.file} does not answer as the network does: {name} differs by {worst.relative:.2g} relative"
    raise ExportError(f"{message} ({worst.largest:.2g}), most with {subset} given; nothing was exported")


def answer(network: TrainedNetwork, samples: Samples) -> dict[tuple[str, str], Tensor]:
    """Returns what the networks themselves say of samples, by branch and target; NaN of a branch that says nothing."""
    packed = pack(network, samples)
    with torch.no_grad():
        each = [_answer_by(network, model, packed) for model in network.models]
        said = each[0] if len(each) == 1 else average_members(each)
    return {key: said[key] for key in network.outputs}


def _answer_by(
    network: TrainedNetwork, model: FusionModel, packed: Mapping[str, Jagged]
) -> dict[tuple[str, str], Tensor]:
    output = model(packed, unimodal=bool(network.unimodal), fused=network.fused)
    said = {(FUSED, target): model.head(target).distribution(of) for target, of in output.fused.items()}
    for name in network.unimodal:
        for target, of in output.unimodal[name].items():
            distribution = model.head(target, name).distribution(of)
            said[name, target] = distribution.masked_fill(~output.present[name][:, None], torch.nan)
    return said | pool_answers(said, output.present, network) if network.ensemble else said


def pack(network: TrainedNetwork, samples: Samples) -> dict[str, Jagged]:
    """Packs raw samples, transformed as in evaluation, as the network takes them."""
    packed, generator = {}, torch.Generator()
    for name in network.model.modalities:
        nothing = torch.zeros(0, *network.modalities[name].shape, dtype=network.dtype(name))
        parts = []
        for sample in samples:
            values = sample.get(name, nothing)
            for transform in network.transforms.get(name, ()) if len(values) else ():
                values = transform(values, generator, training=False)
            parts.append(values)
        packed[name] = Jagged.from_list(parts)
    return packed


def pad_for(network: TrainedNetwork, samples: Samples) -> dict[str, Array]:
    """Pads raw samples as a graph takes them."""
    shapes = {name: (network.modalities[name].shape, numpy_name(network.dtype(name))) for name in network.modalities}
    plain = [{name: values.numpy() for name, values in sample.items()} for sample in samples]
    padded: dict[str, Array] = {}
    for name in network.model.modalities:
        shape, dtype = shapes[name]
        padded[name], padded[f"{name}_length"] = pad_samples([sample.get(name) for sample in plain], shape, dtype)
    return padded


def numpy_name(dtype: torch.dtype) -> str:
    """Returns NumPy's name of a dtype."""
    return str(dtype).removeprefix("torch.")


def _compare(network: TrainedNetwork, key: tuple[str, str], expected: Tensor, given: Tensor) -> Difference | None:
    """Measures how far an answer is from the network's; None where it is none, or not finite."""
    if given.shape != expected.shape or not torch.equal(given.isfinite(), expected.isfinite()):
        return None
    rows = ~expected.isnan().any(dim=1)
    if not rows.any():
        return Difference(largest=0.0, relative=0.0)
    expected, given = expected[rows].double(), given[rows].double()
    error = (given - expected).abs()
    scale = _find_scale(network, key, expected)
    return Difference(largest=float(error.max()), relative=float((error / scale).max()))


def _predicts(network: TrainedNetwork, key: tuple[str, str], distribution: Tensor, prediction: Tensor) -> bool:
    """Says whether a prediction is the one of the distribution beside it, which leaves ties out of the comparison."""
    wanted = _find_head(network, key).predict(distribution)
    rows = ~distribution.isnan().any(dim=1)
    return wanted.shape == prediction.shape and torch.equal(wanted[rows], prediction[rows].to(wanted.dtype))


def _find_head(network: TrainedNetwork, key: tuple[str, str]) -> LossHead:
    branch, target = key
    return network.model.head(target, branch if branch in network.unimodal else None)


def _find_scale(network: TrainedNetwork, key: tuple[str, str], expected: Tensor) -> Tensor:
    head = _find_head(network, key)
    if head.kind == "classes":
        return expected.abs().amax(dim=1, keepdim=True)
    if head.kind == "labels":
        return torch.maximum(expected, 1 - expected)
    scaling = getattr(head, "scaling", None)
    spread = scaling.spread.double() if scaling is not None else torch.ones(1, dtype=torch.float64)
    return torch.maximum(expected.abs(), spread)
