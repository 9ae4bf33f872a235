"""The parts of a network: their tensors, and whether they learn."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from fusionkit.models.build import FusionModel


class Parts:
    """The parts of a network: every modality's branch, and ``"fusion"``.

    A parameter that its component has frozen by itself stays frozen.

    Args:
        model: The network.
    """

    def __init__(self, model: FusionModel) -> None:
        self._model = model
        self._parts = model.parts()
        self._learnable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        self._trained: frozenset[str] | None = None
        self._found: dict[frozenset[str], list[nn.Parameter]] = {}

    def train(self, names: Collection[str]) -> None:
        """Lets these parts learn and freezes the others, batch statistics included."""
        trained = frozenset(names)
        if trained == self._trained:
            return
        for name, part in self._parts.items():
            part.train(name in trained)
            for parameter in part.parameters():
                parameter.requires_grad_(name in trained and id(parameter) in self._learnable)
        self._trained = trained

    def release(self) -> None:
        """Gives every parameter its freedom back, and puts the network in evaluation mode."""
        self._trained = None
        self._model.eval()
        for parameter in self._model.parameters():
            parameter.requires_grad_(id(parameter) in self._learnable)

    def evaluate(self) -> None:
        """Puts the network in evaluation mode; the next `train` ends it."""
        self._trained = None
        self._model.eval()

    def parameters(self, names: Collection[str]) -> list[nn.Parameter]:
        """Lists the parameters of these parts that may learn."""
        wanted = frozenset(names)
        if wanted not in self._found:
            found = {
                id(parameter): parameter
                for name, part in self._parts.items()
                if name in wanted
                for parameter in part.parameters()
                if id(parameter) in self._learnable
            }
            self._found[wanted] = list(found.values())
        return self._found[wanted]

    def shared(self, modality: str) -> list[nn.Parameter]:
        """Lists what a modality's own loss and the fused one both train: its encoders and its aggregator."""
        branch = self._model.branch(modality)
        both = (parameter for part in (branch.encoders, branch.aggregator) for parameter in part.parameters())
        return [parameter for parameter in both if parameter.requires_grad]

    def heads(self) -> set[int]:
        """Returns the ids of the parameters of all uni-modal heads."""
        branches = map(self._model.branch, self._model.modalities)
        return {id(parameter) for branch in branches for parameter in branch.heads.parameters()}

    def snapshot(self, names: Collection[str]) -> dict[str, Tensor]:
        """Copies the weights and batch statistics of these parts, by their names in the network's state."""
        members = {id(tensor) for name in names for tensor in self._parts[name].state_dict(keep_vars=True).values()}
        state = self._model.state_dict(keep_vars=True)
        return {key: tensor.detach().clone() for key, tensor in state.items() if id(tensor) in members}

    def relearn(self, initial: Mapping[str, Tensor], modality: str, share: float) -> None:
        """Takes a modality's encoder, without its heads, a share of the way back to its initial weights."""
        branch = self._model.branch(modality)
        members = {id(p) for p in branch.parameters()} - {id(p) for p in branch.heads.parameters()}
        with torch.no_grad():
            for key, parameter in self._model.named_parameters():
                if id(parameter) in members & self._learnable:
                    parameter.lerp_(initial[key], share)

    def restore(self, snapshot: Mapping[str, Tensor], names: Collection[str] | None = None) -> None:
        """Puts weights and batch statistics back, of these parts only where they are named."""
        state = self._model.state_dict(keep_vars=True)
        wanted = snapshot if names is None else self.snapshot(names)
        with torch.no_grad():
            for key in wanted:
                state[key].copy_(snapshot[key])
