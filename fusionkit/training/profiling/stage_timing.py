"""What a training will cost on this device, from timed steps of every stage."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import Assembly
from fusionkit.interfaces import Balancer, OptimizerRecipe, Stage
from fusionkit.models.build import FusionModel, build
from fusionkit.nn.timer import time_work
from fusionkit.training.learner import Learner, Moment
from fusionkit.training.parts import Parts
from fusionkit.training.stages import balancer_of, stages_of
from fusionkit.training.teacher import Teacher
from fusionkit.training.trainer import make_fabric

LONG_STEP = 2.0
"""Seconds above which one timed step is enough."""

STAGE_SECONDS = 10.0
"""Seconds that the timed steps of a stage may take together, if a few samples do not take longer by themselves."""


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


def timed(
    step: Callable[[int], float], whole: int, *, samples: int, rounds: int, limit: float, cold: bool
) -> tuple[float, int]:
    """Seconds of a step, and of how many samples it was: as many as a batch has, or as fit the limit.

    A step of few samples is the measurement itself where it is long; else it warms up, and the samples are doubled for
    as long as time is left: what a step costs by itself then weighs less where the seconds are scaled up to a batch.

    Args:
        step: Takes a step of so many samples and returns its seconds.
        whole: Samples of a batch.
        samples: Samples of the first step, at most.
        rounds: Steps whose median counts, at most.
        limit: Seconds that steps may take together, a long one apart.
        cold: Whether the first step also loads the device's kernels, so that its time says nothing.
    """
    count = min(samples, whole)
    seconds = step(count)
    if seconds >= LONG_STEP and not cold:
        return seconds, count
    seconds = step(count)
    left = limit - seconds
    while count < whole:
        more = min(whole, 2 * count)
        if 2 * seconds / count * more > left:  # one step to look, one to count
            break
        count, seconds = more, step(more)
        left -= seconds
    times = [step(count)]
    while len(times) < rounds and sum(times) + times[-1] <= left:
        times.append(step(count))
    return statistics.median(times), count


def learner_of(
    fabric: Fabric,
    model: FusionModel,
    stage: Stage,
    recipe: Recipe,
    *,
    parts: Parts,
    balancer: Balancer,
) -> Learner:
    """What takes the steps of a stage as a training does, with the recipe's own optimizer.

    A stage that becomes a teacher learns without the balancer; all others have its teachers, here untrained ones.

    Args:
        fabric: Device and precision.
        model: The network.
        stage: The stage.
        recipe: The recipe.
        parts: The parts of the network.
        balancer: The balancer of the recipe.
    """
    optimizer: OptimizerRecipe = build_component(recipe.train.optimizer)
    own = None if stage.becomes_teacher else balancer
    lasting = () if own is None else tuple(own.parameters())
    teacher = None
    if own is not None and own.teachers:
        teacher = Teacher(copy.deepcopy(model).eval().requires_grad_(False), own.teachers)
    return Learner(
        fabric,
        model,
        stage,
        recipe.train,
        balancer=own,
        parts=parts,
        optimizer=optimizer.make([*parts.parameters(stage.trains), *lasting]),
        initial=parts.snapshot((*model.modalities, "fusion")),
        teacher=teacher,
    )


def still(recipe: Recipe) -> Moment:
    """A moment whose learning rate is nothing: the weights stay, the work is the same."""
    return Moment(0, 0, recipe.train.epochs, 0.0)


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
        balancer = balancer_of(assembly.recipe, model)
        for module in (model, balancer):
            fabric.to_device(module)
        model.channels_last()
        model.fit_targets(assembly.training_targets)  # as a training does, or numbers of their own unit overflow
        return [
            _time_stage(assembly, fabric, model, balancer, stage=stage, samples=samples, rounds=rounds)
            for stage in stages_of(assembly.recipe, balancer)
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
    learner = learner_of(fabric, model, stage, assembly.recipe, parts=parts, balancer=balancer)
    moment = still(assembly.recipe)
    batches = assembly.feed(ids, training=True, modalities=names).count(0)
    whole = -(-len(ids) // batches)

    def step(count: int) -> float:
        chosen = ids[:: max(1, len(ids) // count)][:count]

        def work() -> None:
            batch = next(assembly.loader(chosen, training=True, modalities=names))
            learner([batch.to(fabric.device)], moment, 0)

        return time_work(work, fabric.device)

    cold = fabric.device.type != "cpu"
    seconds, count = timed(step, whole, samples=samples, rounds=rounds, limit=STAGE_SECONDS, cold=cold)
    parts.release()
    per_sample = seconds / count
    return StageTime(
        name=stage.name,
        steps=spec.epochs * -(-batches // spec.accumulate),
        step_seconds=per_sample * len(ids) / batches * spec.accumulate,
        timed_samples=count,
        validation_seconds=spec.epochs * len(assembly.validation_ids) * per_sample / 3,
    )
