"""The time that each modality costs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from fusionkit.evaluation.diagnosis.subsets import Subset
from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.timer import time_work

ROUNDS = 7


@dataclass(frozen=True)
class Timing:
    """Milliseconds per sample of the network itself: reading and preparing samples is not in them.

    Args:
        samples: Samples of the timed batch.
        turns: By subset, those of every turn.
    """

    samples: int
    turns: Mapping[Subset, tuple[float, ...]]

    @property
    def milliseconds(self) -> Mapping[Subset, float]:
        """By subset, the median over turns."""
        return {subset: statistics.median(of) for subset, of in self.turns.items()}

    def spared(self, whole: Subset, fewer: Subset) -> tuple[float, float, float]:
        r"""Returns by how much fewer modalities are faster: the median over turns, the least and the most.

        A difference is of two passes of one turn. Least and most hold the median of all that could be timed with
        1 - 2 / 2^n over n turns, which is 98 % of seven (the sign test): where 0 lies between them there is no
        difference that can be told.

        Example:
            >>> Timing(8, {("a", "b"): (3.0, 5.0, 4.0), ("a",): (2.0, 3.0, 2.5)}).spared(("a", "b"), ("a",))
            (1.5, 1.0, 2.0)
        """
        differences = [more - less for more, less in zip(self.turns[whole], self.turns[fewer], strict=True)]
        return statistics.median(differences), min(differences), max(differences)


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
                taken = time_work(partial(model, inputs, unimodal=False, modalities=subset), device)
                if turn:  # the first one warms up
                    seconds[subset].append(taken)
    return Timing(samples, {subset: tuple(1000 * each / samples for each in of) for subset, of in seconds.items()})
