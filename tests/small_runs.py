"""A training that takes a fraction of a second: two modalities; some samples lack one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train
from fusionkit.training.log import Journal

RECIPE: dict[str, Any] = {
    "schema": 1,
    "data": {
        "dataset": {
            "type": "synthetic",
            "groups": 4,
            "samples": 2,
            "modalities": {
                "motion": {"features": 3, "min_length": 2, "max_length": 5, "missing": 0.4},
                "posture": {"features": 4, "min_length": 1, "max_length": 1},
            },
        },
        "batch_size": 8,
        "cache": True,
    },
    "model": {
        "modalities": {"motion": {"encoder": "mlp"}, "posture": {"encoder": "mlp"}},
        "targets": {"label": "classification"},
        "dropout": 0.1,
    },
    "train": {"epochs": 3},
}


def recipe(*, data: Mapping[str, Any] | None = None, model: Mapping[str, Any] | None = None, **train: Any) -> Any:
    """The recipe with other data, model and train keys."""
    changed = copy.deepcopy(RECIPE)
    changed["data"] |= data or {}
    changed["model"] |= model or {}
    changed["train"] |= train
    return changed


def run_of(out: Path, *, data: Any = None, model: Any = None, **options: Any) -> RunFolder:
    """A finished training of it."""
    return train(recipe(data=data, model=model, **options), out, accelerator="cpu")


class Killed(BaseException):
    """Stands for a process that is gone: nothing of what it has begun is tidied up."""


def train_until(monkeypatch: pytest.MonkeyPatch, step: int, options: Any, out: Path) -> None:
    """Trains until a step is in the log; then the process is gone, before anything else can happen."""
    told = Journal.step

    def tell(journal: Journal, record: Mapping[str, Any]) -> None:
        told(journal, record)
        if record["step"] == step:
            journal.flush()
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "step", tell)
        with pytest.raises(Killed):
            train(options, out, accelerator="cpu")


def told_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that trainings tell from now on."""
    told, steps = Journal.step, list[int]()

    def tell(journal: Journal, record: Mapping[str, Any]) -> None:
        steps.append(record["step"])
        told(journal, record)

    monkeypatch.setattr(Journal, "step", tell)
    return steps


def steps_of(run: RunFolder) -> list[dict[str, Any]]:
    """The log's lines of optimizer steps."""
    return [record for record in run.log.read() if "terms" in record]


def epochs_of(run: RunFolder) -> list[dict[str, Any]]:
    """The log's lines of epochs."""
    return [record for record in run.log.read() if "terms" not in record]


def weights_of(run: RunFolder) -> dict[str, Tensor]:
    """The final weights."""
    return run.load_weights()[0]


def same_bits(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two states are bit for bit the same."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
