"""A trained network's answers to samples with fewer modalities than they have, and its frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.evaluation.diagnosis.subsets import Subset
from fusionkit.evaluation.predictions import convert_inputs
from fusionkit.interfaces import Batch
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged


@dataclass(frozen=True)
class Observed:
    """A network's view of some samples, in their order.

    Args:
        sample_ids: The samples.
        targets: Encoded targets.
        present: By modality, which samples have it.
        features: Normalised features f^_m by modality, in evaluation mode; zero where absent.
        fused: By subset of the modalities and target, the fused branch's distribution.
        unimodal: By modality and target, that of the modality's own head.
    """

    sample_ids: tuple[str, ...]
    targets: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    fused: Mapping[Subset, Mapping[str, Tensor]]
    unimodal: Mapping[str, Mapping[str, Tensor]]


def observe(
    model: FusionModel,
    assembly: Assembly,
    ids: Sequence[str],
    device: torch.device,
    *,
    subsets: Sequence[Subset] = (),
    heads: Sequence[str] = (),
) -> Observed:
    """Runs a network over samples in evaluation mode, whole and without augmentation.

    Every subset is one more forward pass of its modalities and the fusion.

    Args:
        model: The network.
        assembly: Where its samples come from.
        ids: The samples.
        device: Where to compute.
        subsets: Subsets of the modalities that the fused branch is given; the others are missing.
        heads: Modalities whose own heads are asked.
    """
    model = model.to(device).channels_last().eval()
    batches: list[Batch] = []
    pieces: dict[tuple[str, ...], list[Tensor]] = {}

    def keep(*name: str, values: Tensor) -> None:
        pieces.setdefault(name, []).append(values.cpu())

    with torch.inference_mode():
        for batch in assembly.loader(ids, training=False):
            with name_batch("diagnosis", batch, device):
                inputs = inputs_of(batch, model, device)
                output = model(inputs, unimodal=bool(heads), fused=False)
            for name in model.modalities:
                keep("features", name, values=output.features[name])
                keep("present", name, values=output.present[name])
            for name in heads:
                for target, scores in output.unimodal[name].items():
                    keep("unimodal", name, target, values=model.head(target, name).distribution(scores))
            for subset in subsets:
                with name_batch("diagnosis", batch, device):
                    fused = model(inputs, unimodal=False, modalities=subset).fused
                for target, scores in fused.items():
                    keep("fused", target, *subset, values=model.head(target).distribution(scores))
            batches.append(Batch({}, batch.targets, batch.sample_ids))
    joined = {name: torch.cat(parts) for name, parts in pieces.items()}
    return Observed(
        sample_ids=tuple(name for batch in batches for name in batch.sample_ids),
        targets={name: torch.cat([batch.targets[name].cpu() for batch in batches]) for name in model.targets},
        present={name: joined["present", name] for name in model.modalities},
        features={name: joined["features", name] for name in model.modalities},
        fused={of: {target: joined["fused", target, *of] for target in model.targets} for of in subsets},
        unimodal={name: {target: joined["unimodal", name, target] for target in model.targets} for name in heads},
    )


def inputs_of(batch: Batch, model: FusionModel, device: torch.device) -> dict[str, Jagged]:
    """Returns a batch's inputs as the network takes them."""
    dtype = next(model.parameters()).dtype
    return {name: convert_inputs(value, dtype) for name, value in batch.to(device).inputs.items()}
