"""Teachers: networks that were trained alone and stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fusionkit.interfaces import Batch, ModelOutput
from fusionkit.models.build import FusionModel


@dataclass(frozen=True)
class Teacher:
    """The frozen, separately trained uni-modal networks that a balancer asked for.

    Args:
        model: A network whose branches of these modalities are trained.
        modalities: The modalities.
    """

    model: FusionModel
    modalities: tuple[str, ...]

    def __call__(self, batch: Batch) -> ModelOutput:
        """The teachers' features and scores of a batch."""
        with torch.no_grad():
            output: ModelOutput = self.model(batch.inputs, modalities=self.modalities, unimodal=True, fused=False)
        return output
