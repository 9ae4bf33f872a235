"""The loss heads of a trained network where its distributions are computed: on the CPU, as in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from fusionkit.inference.branches import TrainedBranches
from fusionkit.inference.scoring import ByBranch
from fusionkit.interfaces import LossHead
from fusionkit.models.network import FusionModel


class Heads:
    """Copies of a network's loss heads.

    Args:
        network: The network.
        branches: The branches that are trained.
    """

    def __init__(self, network: FusionModel, branches: TrainedBranches) -> None:
        self._copies = {
            (target, owner): copy.deepcopy(network.head(target, owner)).cpu()
            for target in network.targets
            for owner in (None, *branches.unimodal)
        }

    def find(self, target: str, owner: str | None) -> LossHead:
        """Returns the head of a target, of a modality or the fused branch."""
        return self._copies[target, owner]


def average_networks(each: Sequence[ByBranch]) -> ByBranch:
    """Averages what several networks say."""
    return {
        branch: {target: torch.stack([of[branch][target] for of in each]).mean(dim=0) for target in targets}
        for branch, targets in each[0].items()
    }
