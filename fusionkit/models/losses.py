"""The loss terms of a batch, in which some samples do not count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fusionkit.errors import ShapeError, shorten, suggest_names
from fusionkit.interfaces import LossHead, ModelOutput
from fusionkit.nn.distributed import mean_over_union

_MOST_CHARACTERS = 200
"""Characters of a list of classes in a message."""


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
        ShapeError: A target has another number of samples than the output, or is none of its loss head.
    """
    everywhere = {"fused", *(name for name, sequence in output.sequences.items() if all(sequence.sizes))}
    counts: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    batch = len(next(iter(output.present.values())))
    for target, wanted in targets.items():
        head = head_of(f"fused/{target}")
        _check_kind(head, target, wanted)
        known = head.find_known(wanted)
        if len(known) != batch:
            raise ShapeError(f"targets: {target!r} has {len(known)} samples, the output has {batch}")
        _check_classes(head, target, wanted)
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


def _check_kind(head: LossHead, target: str, given: object) -> None:
    """Refuses what is no tensor of the kind that the loss head encodes; numbers are looked at by `_check_classes`."""
    if not isinstance(given, Tensor):
        raise ShapeError(f"targets: {target!r}: a tensor is expected, given {type(given).__name__}")
    if not given.ndim:
        raise ShapeError(f"targets: {target!r}: a number per sample is expected, given a single one")
    wanted = head.encode(None)
    if not wanted.is_floating_point() and given.dtype != wanted.dtype:
        classes = f"indices of the classes {_list_classes(head)}" if head.classes else "whole numbers"
        remedy = f"give {classes}, as {wanted.dtype}; a missing one is negative"
        raise ShapeError(f"targets: {target!r}: the numbers are {given.dtype}; {remedy}")
    if wanted.is_floating_point() and not given.is_floating_point():
        remedy = f"convert them with .to({wanted.dtype}); a missing one is NaN"
        raise ShapeError(f"targets: {target!r}: the numbers are {given.dtype}; {remedy}")
    if head.kind == "classes" and given.ndim != 1:
        raise ShapeError(f"targets: {target!r}: one class per sample is expected, given shape {tuple(given.shape)}")
    if given.shape[1:].numel() != wanted.numel():  # else torch repeats one number for all outputs
        expected = f"{wanted.numel()} {'labels' if head.kind == 'labels' else 'numbers'} per sample"
        raise ShapeError(f"targets: {target!r}: {expected} are expected, given shape {tuple(given.shape)}")


def _check_classes(head: LossHead, target: str, given: Tensor) -> None:
    """Refuses an index of no class. On a GPU it is not looked at: every step would wait for it."""
    if head.kind != "classes" or given.device.type != "cpu" or not len(given):
        return
    highest = int(given.detach().numpy().max())  # of what is on the CPU anyway: torch would count it as waiting
    if highest >= len(head.classes) > 0:
        message = f"{highest} is no class; its {len(head.classes)} classes count from 0: {_list_classes(head)}"
        raise ShapeError(f"targets: {target!r}: {message}")


def _list_classes(head: LossHead) -> str:
    return shorten(", ".join(head.classes), _MOST_CHARACTERS)


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


def explain_absent(absent: Sequence[str], given: Iterable[str], known: Sequence[str]) -> str:
    """Says which targets are missing, and of given names that are unknown, which may be meant.

    Args:
        absent: Targets of the network that are not given.
        given: Names that are given.
        known: The targets of the network.
    """
    unknown = [str(name) for name in given if name not in known]
    told = "".join(f"; unknown target {name!r}: {suggest_names(name, known)}" for name in unknown)
    remedy = "mark a sample without a target by a negative number or NaN"
    return f"targets: {list(absent)} missing{told or f'; {remedy}'}"
