"""What each modality costs in time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from fusionkit.diagnosis.subsets import Subset
from fusionkit.jagged import Jagged
from fusionkit.model import FusionModel

ROUNDS = 7


@dataclass(frozen=True)
class Timing:
    """Milliseconds per sample of the network itself: reading and preparing samples is not in them.

    Args:
        samples: Samples of the timed batch.
        milliseconds: By subset, the median over rounds.
    """

    samples: int
    milliseconds: Mapping[Subset, float]


def time_subsets(model: FusionModel, inputs: Mapping[str, Jagged], subsets: Sequence[Subset]) -> Timing:
    """Times the fused branch with several subsets of the modalities, in turns, so that a busy machine hits all alike.

    Args:
        model: The network, in evaluation mode.
        inputs: One batch, on the network's device.
        subsets: The subsets.
    """
    samples = len(next(iter(inputs.values())))
    device = next(model.parameters()).device
    seconds: dict[Subset, list[float]] = {subset: [] for subset in subsets}
    with torch.inference_mode():
        for turn in range(ROUNDS + 1):
            for subset in subsets:
                _wait(device)
                begin = time.perf_counter()
                model(inputs, unimodal=False, modalities=subset)
                _wait(device)
                if turn:  # the first one warms up
                    seconds[subset].append(time.perf_counter() - begin)
    return Timing(samples, {subset: 1000 * statistics.median(of) / samples for subset, of in seconds.items()})


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
