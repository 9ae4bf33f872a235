"""Teachers: networks that were trained alone and stay as they are."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

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
        """Returns the teachers' features and scores of a batch."""
        with torch.no_grad():
            output: ModelOutput = self.model(batch.inputs, modalities=self.modalities, unimodal=True, fused=False)
        return output


def freeze_teacher(model: FusionModel, modalities: tuple[str, ...]) -> Teacher:
    """Makes a teacher of a copy of a network as it stands."""
    return Teacher(copy.deepcopy(model).eval().requires_grad_(False), modalities)


class Teachers:
    """The weights of the branches that became teachers, and the network that they teach with.

    Args:
        model: The network that is trained.
    """

    def __init__(self, model: FusionModel) -> None:
        self.weights: dict[str, Tensor] = {}
        self._model = model
        self._teacher: Teacher | None = None

    def teacher(self) -> Teacher | None:
        """Returns the teacher of the modalities that are trained by now; None where none is."""
        names = tuple(name for name in self._model.modalities if any(_belongs(key, name) for key in self.weights))
        if not names:
            return None
        if self._teacher is None or self._teacher.modalities != names:
            self._teacher = freeze_teacher(self._model, names)
            state = self._teacher.model.state_dict()
            for key, value in self.weights.items():
                state[key].copy_(value)
        return self._teacher


def _belongs(key: str, modality: str) -> bool:
    return key.startswith(f"branches.{modality}.")
