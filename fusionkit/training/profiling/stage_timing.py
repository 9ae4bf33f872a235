"""The cost of a training in time on this device, from timed steps of every stage."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fusionkit.data.assembly import Assembly
from fusionkit.interfaces import Stage
from fusionkit.models.build import build
from fusionkit.nn.timer import time_work
from fusionkit.training.placement import list_modalities
from fusionkit.training.profiling.rehearsal import Rehearsal, time_steps
from fusionkit.training.trainer import make_fabric

STAGE_SECONDS = 10.0
"""Seconds that the timed steps of a stage may take together, if a few samples do not take longer by themselves."""


@dataclass(frozen=True)
class StageTime:
    """The time of one stage of a training.

    Args:
        name: The stage.
        steps: Optimizer steps of the stage.
        step_seconds: Seconds of one, data included; the median of those that were timed.
        timed_samples: Samples of the timed step; where these are fewer than a batch, the seconds are scaled up.
        validation_seconds: Seconds of all validations, taken as a third of a training step per sample.
    """

    name: str
    steps: int
    step_seconds: float
    timed_samples: int
    validation_seconds: float

    @property
    def seconds(self) -> float:
        """Seconds of the stage."""
        return self.steps * self.step_seconds + self.validation_seconds


def time_stages(assembly: Assembly, *, samples: int = 4, rounds: int = 3, accelerator: str = "auto") -> list[StageTime]:
    """Times a few steps of every stage of a training, its teachers' too, with its own data, network and optimizer.

    The first step warms up and does not count, unless it is long. Nothing is written, and no weight changes.

    Args:
        assembly: The recipe and its samples.
        samples: Samples of the first step; a whole batch is timed where it fits `STAGE_SECONDS`.
        rounds: Steps that are timed, at most.
        accelerator: ``auto``, ``cpu``, ``cuda`` or another of Fabric's.
    """
    fabric = make_fabric(assembly.recipe, accelerator)
    with torch.random.fork_rng():
        model = build(assembly.recipe, assembly.dataset)
        rehearsal = Rehearsal(assembly.recipe, fabric, model)
        model.fit_targets(assembly.training_targets)  # as a training does, or numbers of their own unit overflow
        return [_time_stage(assembly, rehearsal, stage, samples=samples, rounds=rounds) for stage in rehearsal.stages]


def _time_stage(assembly: Assembly, rehearsal: Rehearsal, stage: Stage, *, samples: int, rounds: int) -> StageTime:
    spec, ids, device = assembly.recipe.train, assembly.train_ids, rehearsal.fabric.device
    names = list_modalities(stage, rehearsal.model)
    batches = assembly.feed(ids, training=True, modalities=names).count(0)

    def step(count: int) -> float:
        chosen = ids[:: max(1, len(ids) // count)][:count]
        return time_work(lambda: learn(next(assembly.loader(chosen, training=True, modalities=names))), device)

    with rehearsal.learn(stage) as learn:
        whole = -(-len(ids) // batches)
        seconds, count = time_steps(step, whole, device, samples=samples, rounds=rounds, limit=STAGE_SECONDS)
    per_sample = seconds / count
    return StageTime(
        name=stage.name,
        steps=spec.epochs * -(-batches // spec.accumulate),
        step_seconds=per_sample * len(ids) / batches * spec.accumulate,
        timed_samples=count,
        validation_seconds=spec.epochs * len(assembly.validation_ids) * per_sample / 3,
    )
