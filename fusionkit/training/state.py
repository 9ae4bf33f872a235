"""The state of a training: all that a checkpoint holds, and how it comes back."""

from __future__ import annotations

import hashlib
import json
import os

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fusionkit.data.assembly import Assembly
from fusionkit.errors import RunError
from fusionkit.interfaces import Balancer
from fusionkit.models.build import FusionModel
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.checkpoint import Checkpoint, Position, load_module, load_optimizer_state, pack_optimizer_state
from fusionkit.training.step.teacher import Teachers


class TrainingState:
    """All that must survive a stop of a training, and the initial weights that it goes back to.

    Args:
        fabric: Device, precision and processes.
        model: The network.
        balancer: Its balancer.
        assembly: The recipe and its samples.
        initial: The network's initial weights, where a balancer or a stage goes back to them.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: FusionModel,
        balancer: Balancer,
        assembly: Assembly,
        initial: dict[str, Tensor] | None,
    ) -> None:
        self._fabric, self._model, self._balancer = fabric, model, balancer
        self.initial = initial
        self.position = Position(processes=fabric.world_size, samples=_hash_order(assembly))
        self.teachers = Teachers(model)
        self.best: dict[str, Tensor] = {}
        self.optimizer: torch.optim.Optimizer | None = None

    def save(self, run: RunFolder) -> None:
        """Writes a checkpoint."""
        groups = {
            "model": self._model.state_dict(),
            "balancer": self._balancer.state_dict(),
            "teacher": self.teachers.weights,
            "best": self.best,
        }
        optimizer = {} if self.optimizer is None else pack_optimizer_state(self.optimizer, self._parameter_names())
        scaler = self._fabric.strategy.precision.state_dict()
        run.checkpoints.save(*Checkpoint(self.position, groups, optimizer, scaler).pack())

    def load(self, run: RunFolder, file: str | os.PathLike[str] | None) -> Checkpoint | None:
        """Takes back what a checkpoint holds, the optimizer apart, and returns it; None where there is none.

        Args:
            run: The run.
            file: Its checkpoint to go on from; the last that is whole when left out.

        Raises:
            RunError: It is damaged, or of another network, other samples or another number of processes.
        """
        found = run.checkpoints.load(file)
        if found is None:
            return None
        checkpoint = Checkpoint.unpack(*found)
        processes = checkpoint.position.processes
        if processes != self._fabric.world_size:
            raise RunError(
                f"{run.path}: was trained by {processes} processes, now {self._fabric.world_size}; an exact "
                f"resume needs {processes}"
            )
        if checkpoint.position.samples not in ("", self.position.samples):
            raise RunError(
                f"{run.path}: the samples stand in another order than when its training began, so it cannot go "
                "on; bring the rows back into their order, or take a new folder"
            )
        checkpoint.position.samples = self.position.samples
        state = checkpoint.groups.get("model", {})
        load_module(self._model, state, "network")
        if self.initial is not None:  # an earlier version's checkpoint may lack a buffer that was fitted here
            loaded = self._model.state_dict()
            self.initial |= {key: loaded[key].clone() for key in self.initial.keys() - state.keys()}
        load_module(self._balancer, checkpoint.groups.get("balancer", {}), "balancer")
        self._fabric.strategy.precision.load_state_dict(dict(checkpoint.scaler))
        device = self._fabric.device
        self.teachers.weights = {key: value.to(device) for key, value in checkpoint.groups.get("teacher", {}).items()}
        self.best = {key: value.to(device) for key, value in checkpoint.groups.get("best", {}).items()}
        self.position = checkpoint.position
        return checkpoint

    def load_optimizer(self, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint | None) -> None:
        """Keeps the optimizer of a stage from here on, with its state of a checkpoint where there is one."""
        self.optimizer = optimizer
        if checkpoint is not None:
            load_optimizer_state(optimizer, self._parameter_names(), checkpoint)

    def _parameter_names(self) -> dict[nn.Parameter, str]:
        modules = {"model": self._model, "balancer": self._balancer}
        return {each: f"{of}.{name}" for of, module in modules.items() for name, each in module.named_parameters()}


def _hash_order(assembly: Assembly) -> str:
    """Hashes the ids in their order: by a sample's place it is drawn, and what is drawn for it."""
    order = ([row.id for row in assembly.dataset.rows], assembly.train_ids, assembly.validation_ids)
    return hashlib.sha256(json.dumps(order).encode()).hexdigest()
