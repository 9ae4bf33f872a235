"""What a training will cost on this device, from timed steps of every stage."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from fusionkit.assembly import Assembly
from fusionkit.interfaces import Balancer, OptimizerRecipe, Stage
from fusionkit.model import FusionModel, build
from fusionkit.recipe import build_component
from fusionkit.training.parts import Parts
from fusionkit.training.stages import balancer_of, stages_of
from fusionkit.training.start import make_fabric
from fusionkit.training.steps import Learner, Moment

LONG_STEP = 2.0
"""Seconds above which one timed step is enough."""

SHORT_STEP = 0.5
"""Seconds below which a few samples say too little, and a whole batch is timed."""


@dataclass(frozen=True)
class StageTime:
    """What one stage of a training takes.

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
    """Times a few steps of every stage of a training, with its own data, network and optimizer.

    The first step warms up and does not count, unless it is long. Nothing is written, and no weight changes.

    Args:
        assembly: The recipe and its samples.
        samples: Samples of the first step; a whole batch is timed where that step is short.
        rounds: Steps that are timed.
        accelerator: ``auto``, ``cpu``, ``cuda`` or another of Fabric's.
    """
    fabric = make_fabric(assembly.recipe, accelerator)
    with torch.random.fork_rng():
        model = build(assembly.recipe, assembly.dataset)
        balancer = balancer_of(assembly.recipe, model)
        for module in (model, balancer):
            fabric.to_device(module)
        stages = [stage for stage in stages_of(assembly.recipe, balancer) if not stage.becomes_teacher]
        return [
            _time_stage(assembly, fabric, model, balancer, stage=stage, samples=samples, rounds=rounds)
            for stage in stages
        ]


def _time_stage(
    assembly: Assembly,
    fabric: Fabric,
    model: FusionModel,
    balancer: Balancer,
    *,
    stage: Stage,
    samples: int,
    rounds: int,
) -> StageTime:
    spec, parts, ids = assembly.recipe.train, Parts(model), assembly.train_ids
    names = None if "fused" in stage.branches else [name for name in model.modalities if name in stage.branches]
    recipe: OptimizerRecipe = build_component(spec.optimizer)
    learner = Learner(
        fabric,
        model,
        stage,
        spec,
        balancer=None if balancer.teachers else balancer,
        parts=parts,
        optimizer=recipe.make([*parts.parameters(stage.trains), *balancer.parameters()]),
        initial=parts.snapshot((*model.modalities, "fusion")),
        teacher=None,
    )
    moment = Moment(0, 0, spec.epochs, 0.0)  # a rate of nothing: the weights stay, the work is the same

    def step(chosen: tuple[str, ...]) -> float:
        start = time.perf_counter()
        batch = next(assembly.loader(chosen, training=True, modalities=names))
        learner([batch.to(fabric.device)], moment, 0)
        return time.perf_counter() - start

    batches = assembly.feed(ids, training=True, modalities=names).count(0)
    whole = -(-len(ids) // batches)
    chosen = ids[:: max(1, len(ids) // min(samples, whole))][: min(samples, whole)]
    seconds = step(chosen)
    if seconds < LONG_STEP:
        chosen = ids[:: max(1, len(ids) // whole)][:whole] if seconds < SHORT_STEP else chosen
        step(chosen)
        seconds = statistics.median(step(chosen) for _ in range(rounds))
    parts.release()
    per_sample = seconds / len(chosen)
    return StageTime(
        name=stage.name,
        steps=spec.epochs * -(-batches // spec.accumulate),
        step_seconds=per_sample * len(ids) / batches * spec.accumulate,
        timed_samples=len(chosen),
        validation_seconds=spec.epochs * len(assembly.validation_ids) * per_sample / 3,
    )
