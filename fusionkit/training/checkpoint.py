"""Everything that a training must remember, as tensors and text, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.errors import RunError

FORMAT = "fusionkit checkpoint 1"


@dataclass
class Position:
    """Where a training stands.

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

    def next_stage(self, summary: dict[str, Any]) -> None:
        """Goes on to the start of the next stage."""
        self.summaries.append(summary)
        self.stage += 1
        self.epoch = self.batch = self.step = self.loss_count = 0
        self.loss_sum, self.losses, self.best_epoch, self.repeats = 0.0, [], None, []

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
        optimizer: By position of the parameter, its state in the optimizer.
        scaler: The state of the loss scaler of 16-bit precision.
    """

    position: Position
    groups: Mapping[str, Mapping[str, Tensor]]
    optimizer: Mapping[int, Mapping[str, Any]]
    scaler: Mapping[str, Any]

    def pack(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and text for a file."""
        tensors = {f"{group}/{key}": value for group, state in self.groups.items() for key, value in state.items()}
        plain: dict[str, dict[str, Any]] = {}
        for index, state in self.optimizer.items():
            plain[str(index)] = {key: value for key, value in state.items() if not isinstance(value, Tensor)}
            tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        state = {"position": asdict(self.position), "optimizer": plain, "scaler": dict(self.scaler)}
        return tensors, {"format": FORMAT, "state": json.dumps(state)}

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Checkpoint:
        """The checkpoint of a file.

        Raises:
            RunError: It was written by another version of the format.
        """
        if metadata.get("format") != FORMAT:
            raise RunError(f"a checkpoint of the format {metadata.get('format')!r}, this version reads {FORMAT!r}")
        state = json.loads(metadata["state"])
        optimizer: dict[int, dict[str, Any]] = {int(index): dict(kept) for index, kept in state["optimizer"].items()}
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, key = name.partition("/")
            if group == "optimizer":
                index, _, key = key.partition("/")
                optimizer[int(index)][key] = tensor
            else:
                groups.setdefault(group, {})[key] = tensor
        return cls(Position(**state["position"]), groups, optimizer, state["scaler"])


def optimizer_state(optimizer: torch.optim.Optimizer) -> Mapping[int, Mapping[str, Any]]:
    """The optimizer's state by position of the parameter."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return state


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Any]]) -> None:
    """Puts the state back; options and learning rate stay those of the recipe."""
    optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})


def load_module(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Puts a module's state back.

    Raises:
        RunError: The names or shapes are others.
    """
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise RunError(f"the checkpoint is of another {what}: {error}") from None
