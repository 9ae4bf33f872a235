"""Everything that a training must remember, as tensors and text, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.errors import RunError

FORMAT = "fusionkit checkpoint 2"
BY_POSITION = "fusionkit checkpoint 1"
"""The format before, which names the optimizer's parameters by their position."""


@dataclass
class Position:
    """The place of a training among stages, epochs and steps.

    Args:
        stage: Stages finished.
        epoch: Epochs finished in this stage.
        batch: Batches finished in this epoch.
        step: Optimizer steps finished in this stage.
        total_steps: Optimizer steps finished altogether.
        loss_sum: Sum of the losses of this epoch's steps.
        loss_count: Steps in that sum.
        losses: The monitored loss of every finished epoch of this stage.
        best_epoch: The epoch with the lowest monitored loss, where one is selected.
        repeats: By id and modalities, the samples that this epoch has once more.
        summaries: What was said of every finished stage.
        records: Lines of the log.
        processes: How many processes train together.
        samples: A hash of the samples in their order; empty where it is not known.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    total_steps: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    losses: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    repeats: list[tuple[str, list[str]]] = field(default_factory=list)
    summaries: list[dict[str, Any]] = field(default_factory=list)
    records: int = 0
    processes: int = 1
    samples: str = ""

    def is_patience_over(self, patience: int | None) -> bool:
        """Says whether so many epochs have passed since the best one."""
        best = -1 if self.best_epoch is None else self.best_epoch
        return patience is not None and self.epoch - 1 - best >= patience

    def next_stage(self, summary: dict[str, Any]) -> None:
        """Goes on to the start of the next stage."""
        self.summaries.append(summary)
        self.stage += 1
        self.epoch = self.batch = self.step = self.loss_count = 0
        self.loss_sum, self.losses, self.best_epoch, self.repeats = 0.0, [], None, []

    def next_step(self, batches: int, loss: float) -> None:
        """Goes on to the next step after one that learnt from so many batches."""
        self.batch += batches
        self.step += 1
        self.total_steps += 1
        self.loss_sum += loss
        self.loss_count += 1

    def next_epoch(self, monitored: float) -> None:
        """Goes on to the start of the next epoch."""
        self.losses.append(monitored)
        self.epoch += 1
        self.batch = self.loss_count = 0
        self.loss_sum = 0.0


@dataclass
class Checkpoint:
    """The state of a training between two steps.

    Random numbers are no part of it: every step's generator is seeded from the recipe's seed, the stage and the step.

    Args:
        position: Where it stands.
        groups: Tensors by what they belong to: ``model``, ``balancer``, ``teacher``, ``best``.
        optimizer: By name of the parameter, its state in the optimizer.
        scaler: The state of the loss scaler of 16-bit precision.
        by_position: Whether parameters are called by their position, as in files of the format before.
    """

    position: Position
    groups: Mapping[str, Mapping[str, Tensor]]
    optimizer: Mapping[str, Mapping[str, Any]]
    scaler: Mapping[str, Any]
    by_position: bool = False

    def pack(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Returns tensors and text for a file."""
        tensors = {f"{group}/{key}": value for group, state in self.groups.items() for key, value in state.items()}
        plain: dict[str, dict[str, Any]] = {}
        for name, state in self.optimizer.items():
            plain[name] = {key: value for key, value in state.items() if not isinstance(value, Tensor)}
            tensors |= {f"optimizer/{name}/{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        state = {"position": asdict(self.position), "optimizer": plain, "scaler": dict(self.scaler)}
        return tensors, {"format": FORMAT, "state": json.dumps(state)}

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Checkpoint:
        """Reads the checkpoint of a file.

        Raises:
            RunError: It was written by another version of the format.
        """
        stated = metadata.get("format")
        if stated not in (FORMAT, BY_POSITION):
            raise RunError(f"a checkpoint of the format {stated!r}, this version reads {FORMAT!r}")
        state = json.loads(metadata["state"])
        optimizer: dict[str, dict[str, Any]] = {name: dict(kept) for name, kept in state["optimizer"].items()}
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, key = name.partition("/")
            if group == "optimizer":
                parameter, _, key = key.rpartition("/")
                optimizer[parameter][key] = tensor
            else:
                groups.setdefault(group, {})[key] = tensor
        position = Position(**state["position"])
        return cls(position, groups, optimizer, state["scaler"], by_position=stated == BY_POSITION)


def pack_optimizer_state(
    optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]
) -> dict[str, Mapping[str, Any]]:
    """Gives the optimizer's state by name of the parameter.

    Args:
        optimizer: The optimizer.
        names: The names of its parameters.
    """
    state, keys = optimizer.state_dict()["state"], _name_keys(optimizer, names)
    return {key: state[position] for position, key in keys.items() if position in state}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str], checkpoint: Checkpoint
) -> None:
    """Puts the optimizer's state back; options and learning rate stay those of the recipe.

    Args:
        optimizer: A fresh optimizer.
        names: The names of its parameters.
        checkpoint: The checkpoint that holds the state.

    Raises:
        RunError: The checkpoint is of other parameters.
    """
    keys, state = _name_keys(optimizer, {} if checkpoint.by_position else names), checkpoint.optimizer
    if unknown := sorted(state.keys() - set(keys.values())):
        listed = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise RunError(
            f"the checkpoint is of another network: its optimizer trains {listed}, which are not trained now"
        )
    kept = {position: state[key] for position, key in keys.items() if key in state}
    optimizer.load_state_dict({"state": kept, "param_groups": optimizer.state_dict()["param_groups"]})


def _name_keys(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[int, str]:
    """Names parameters as a checkpoint does, by their position in the optimizer's own state."""
    packed = optimizer.state_dict()["param_groups"]
    return {
        position: names.get(parameter, str(position))
        for group, held in zip(packed, optimizer.param_groups, strict=True)
        for position, parameter in zip(group["params"], held["params"], strict=True)
    }


def load_module(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Puts a module's state back.

    Raises:
        RunError: The names or shapes are others.
    """
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise RunError(f"the checkpoint is of another {what}: {error}") from None
