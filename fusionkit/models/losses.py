"""The loss terms of a batch, in which some samples do not count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from fusionkit.errors import ShapeError
from fusionkit.interfaces import LossHead, ModelOutput
from fusionkit.nn.distributed import mean_over_union


def compute_losses(
    head_of: Callable[[str], LossHead],
    output: ModelOutput,
    targets: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Computes the mean loss of every term that has scores, over the samples that count in it.

    Args:
        head_of: From a term to its loss head.
        output: The network's output.
        targets: By target of the network, the encoded values; they say the order of the terms.
        weights: By term, a weight per sample.

    Raises:
        ShapeError: A target has another number of samples than the output.
    """
    everywhere = {"fused", *(name for name, sequence in output.sequences.items() if all(sequence.sizes))}
    counts: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    batch = len(next(iter(output.present.values())))
    for target, wanted in targets.items():
        known = head_of(f"fused/{target}").find_known(wanted)
        if len(known) != batch:
            raise ShapeError(f"targets: {target!r} has {len(known)} samples, the output has {batch}")
        for branch, of in {"fused": output.fused, **output.unimodal}.items():
            if target in of:
                scores[f"{branch}/{target}"] = of[target]
                counts[f"{branch}/{target}"] = known if branch in everywhere else known & output.present[branch]
    # Rows are chosen only where some do not count: choosing waits for a GPU, once for each term.
    whole = _find_whole(counts.values())
    losses = {}
    for name, given in scores.items():
        counted = None if id(counts[name]) in whole else counts[name]
        losses[name] = _average_loss(head_of(name), given, targets[name.partition("/")[2]], counted, weights.get(name))
    return losses


def compute_sample_losses(
    head: LossHead, output: ModelOutput, targets: Mapping[str, Tensor], term: str, scores: Tensor
) -> Tensor:
    """Computes the loss of each sample in a term, were these its scores; NaN where the sample does not count in it."""
    branch, _, target = term.partition("/")
    counts = head.find_known(targets[target])
    rows = (counts if branch == "fused" else counts & output.present[branch]).nonzero().flatten()
    values = head.loss(scores[rows], targets[target][rows])
    return values.new_full((len(counts),), float("nan")).index_copy(0, rows, values)


def _find_whole(masks: Iterable[Tensor]) -> set[int]:
    """Returns the ids of the masks in which all is true; a GPU is waited for once, however many they are."""
    different = {id(mask): mask for mask in masks}
    told = torch.stack([mask.all() for mask in different.values()]).tolist() if different else []
    return {key for key, true in zip(different, told, strict=True) if true}


def _average_loss(
    head: LossHead, scores: Tensor, targets: Tensor, counts: Tensor | None, weights: Tensor | None
) -> Tensor:
    """Averages the loss of the samples that count; of all where `counts` is None."""
    if counts is None:
        return mean_over_union(head.loss(scores, targets), weights)
    rows = counts.nonzero().flatten()  # possibly none; a head that sums over processes must be called all the same
    values = head.loss(scores[rows], targets[rows])
    return mean_over_union(values, None if weights is None else weights[rows])
