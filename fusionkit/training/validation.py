"""The loss by which epochs are selected and plateaus are seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from fusionkit.data.loading.failures import name_batch
from fusionkit.interfaces import Batch, ModelOutput
from fusionkit.models.build import FusionModel


def compute_validation_losses(
    model: FusionModel,
    batches: Iterable[Batch],
    branches: Collection[str],
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> dict[str, float]:
    """Computes the mean loss over all samples, by term, of the branches that a stage trains; no balancer weighs it.

    Args:
        model: The network, in evaluation mode.
        batches: The validation samples.
        branches: The branches whose terms the stage trains.
        autocast: The precision of the forward pass.
    """
    fused = "fused" in branches
    heads = tuple(name for name in model.modalities if name in branches)
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for batch in batches:
        with name_batch("validation", batch, next(model.parameters()).device), autocast():
            output = model(batch.inputs, unimodal=bool(heads), fused=fused, modalities=None if fused else heads)
        output = widen_scores(output)
        for name, term in model.losses(output, batch.targets).items():
            if name.partition("/")[0] in branches:
                count = _count(model, output, batch, name)
                sums[name] = sums.get(name, 0.0) + term.double() * count
                counts[name] = counts.get(name, 0) + count
    return {name: float(sums[name] / counts[name].clamp(min=1)) for name in sums}


def monitor_loss(losses: Mapping[str, float]) -> float:
    """Returns the loss that judges a stage: that of the fused branch where the stage trains it, summed over targets.

    No other branch is active in testing, so networks with and without uni-modal losses are selected alike. Without
    the fused one, the uni-modal branches of the stage count. NaN where there is no validation sample.

    Example:
        >>> monitor_loss({"fused/emotion": 0.5, "audio/emotion": 1.0}), monitor_loss({"audio/emotion": 1.0})
        (0.5, 1.0)
    """
    fused = [value for name, value in losses.items() if name.startswith("fused/")]
    return sum(fused or losses.values()) if losses else float("nan")


def _count(model: FusionModel, output: ModelOutput, batch: Batch, term: str) -> Tensor:
    """Counts the samples that a term is the mean of."""
    branch, _, target = term.partition("/")
    known = model.head(target).find_known(batch.targets[target])
    return known.sum() if branch == "fused" else (known & output.present[branch]).sum()


def widen_scores(output: ModelOutput) -> ModelOutput:
    """Returns the scores in single precision at least, in which losses are computed."""

    def wide(scores: Tensor) -> Tensor:
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    fused = {target: wide(scores) for target, scores in output.fused.items()}
    unimodal = {name: {target: wide(scores) for target, scores in of.items()} for name, of in output.unimodal.items()}
    return replace(output, fused=fused, unimodal=unimodal)
