"""How fast a recipe trains and predicts on this device, from timed steps on noise: no data are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor

from fusionkit.config.schema import Recipe
from fusionkit.errors import TrainingError
from fusionkit.interfaces import Balancer, Batch, LossHead, RawTarget, Stage
from fusionkit.models.build import FusionModel
from fusionkit.models.noise import batch_of, noise_of
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.memory import FEWER_SAMPLES, SMALLER_BATCHES, network_too_large, told_when_full, too_large
from fusionkit.nn.timer import time_work
from fusionkit.training.parts import Parts
from fusionkit.training.profiling.stage_timing import learner_of, still, timed
from fusionkit.training.stages import balancer_of, stages_of
from fusionkit.training.trainer import make_fabric

SECONDS = 4.0
"""Seconds that all timed steps may take together, if a few samples do not take longer by themselves."""

_FEWEST = 2  # samples that have a batch statistic


@dataclass(frozen=True)
class StageSpeed:
    """How fast one stage of a training is, its data aside.

    Args:
        name: The stage.
        step_seconds: Seconds of an optimizer step, all batches that it accumulates included.
        step_samples: Samples of an optimizer step.
        timed_samples: Samples of the batch that was timed; where these are fewer than a batch, the seconds are scaled.
        peak_memory: Bytes that were allocated at once on a GPU in the timed steps, so of `timed_samples` samples, not
            scaled; None elsewhere.
    """

    name: str
    step_seconds: float
    step_samples: int
    timed_samples: int
    peak_memory: int | None

    @property
    def clips_per_second(self) -> float:
        """Samples of training in a second."""
        return self.step_samples / self.step_seconds


@dataclass(frozen=True)
class RecipeSpeed:
    """How fast a recipe is on a device.

    Args:
        device: The device.
        batch: Samples of a batch.
        stages: By stage, its training.
        predicted_per_second: Samples in a second of prediction, in batches as in training.
        predicted_samples: Samples of the batch that was timed for it.
        reviews: Whether the balancer also walks over the data between epochs, which no step shows.
    """

    device: str
    batch: int
    stages: tuple[StageSpeed, ...]
    predicted_per_second: float
    predicted_samples: int
    reviews: bool


def estimate_speed(
    recipe: Recipe, model: FusionModel, lengths: Mapping[str, int], device: torch.device, *, rounds: int = 3
) -> RecipeSpeed:
    """Times steps of every stage of a training, and prediction, on noise and random targets.

    They are the training's own steps, with its optimizer, precision, balancer and teachers (untrained ones). Reading,
    transforming and moving data is not in them.

    Args:
        recipe: The recipe.
        model: Its network, freshly built; it is on the device afterwards, and a balancer may have reset parts of it.
        lengths: Elements of a sample by modality, behind the transforms.
        device: Where to compute.
        rounds: Steps that are timed, at most.

    Raises:
        RecipeError: The precision needs another device, or strategy or balancer do not fit the model.
        TrainingError: A loss is not finite, a batch does not fit into the memory, or no targets can be drawn.
    """
    fabric = make_fabric(recipe, device.type, device.index)
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        balancer = balancer_of(recipe, model)
        with told_when_full(lambda: network_too_large(device)):
            for module in (model, balancer):
                fabric.to_device(module)
                if recipe.train.precision == "64-true":
                    module.double()
        model.channels_last()
        stages = stages_of(recipe, balancer)
        batch, limit = batch_of(recipe, model, lengths), SECONDS / (len(stages) + 1)
        trains = [
            _stage_speed(
                recipe, fabric, model, balancer, stage=stage, lengths=lengths, batch=batch, rounds=rounds, limit=limit
            )
            for stage in stages
        ]
        seconds, samples = _prediction(fabric, model, lengths, batch=batch, rounds=rounds, limit=limit)
    return RecipeSpeed(
        str(fabric.device), batch, tuple(trains), samples / seconds, samples, balancer.uses("before_epoch")
    )


def _stage_speed(
    recipe: Recipe,
    fabric: Fabric,
    model: FusionModel,
    balancer: Balancer,
    *,
    stage: Stage,
    lengths: Mapping[str, int],
    batch: int,
    rounds: int,
    limit: float,
) -> StageSpeed:
    parts, moment, spec = Parts(model), still(recipe), recipe.train
    fused = "fused" in stage.branches
    names = [name for name in model.modalities if fused or name in stage.branches]
    learner = learner_of(fabric, model, stage, recipe, parts=parts, balancer=balancer)
    gpu = fabric.device if fabric.device.type == "cuda" else None

    def step(count: int) -> float:
        given = _batch(model, {name: lengths[name] for name in names}, count).to(fabric.device)
        if gpu is not None:
            torch.cuda.reset_peak_memory_stats(gpu)
        return time_work(lambda: learner([given], moment, 0), fabric.device)

    cold = fabric.device.type != "cpu"
    with told_when_full(lambda: too_large(f"stage {stage.name}", batch, fabric.device, FEWER_SAMPLES)):
        seconds, count = timed(step, batch, samples=_FEWEST, rounds=rounds, limit=limit, cold=cold)
    peak = None if gpu is None else torch.cuda.max_memory_allocated(gpu)
    parts.release()
    samples = batch * spec.accumulate
    return StageSpeed(stage.name, seconds / count * samples, samples, count, peak)


def _prediction(
    fabric: Fabric, model: FusionModel, lengths: Mapping[str, int], *, batch: int, rounds: int, limit: float
) -> tuple[float, int]:
    """Seconds of predicting so many samples, as `fusionkit.load` and an evaluation do it: in the weights' precision."""
    model.eval()

    def step(count: int) -> float:
        given = _batch(model, lengths, count).to(fabric.device)
        with torch.inference_mode():
            return time_work(lambda: model(given.inputs), fabric.device)

    cold = fabric.device.type != "cpu"
    with told_when_full(lambda: too_large("prediction", batch, fabric.device, SMALLER_BATCHES)):
        return timed(step, batch, samples=_FEWEST, rounds=rounds, limit=limit, cold=cold)


def _batch(model: FusionModel, lengths: Mapping[str, int], samples: int) -> Batch:
    dtype = next(model.parameters()).dtype
    inputs = {name: _as(value, dtype) for name, value in noise_of(model, lengths, samples).items()}
    generator = torch.Generator().manual_seed(1)
    draw = partial(_random_target, generator=generator)
    targets = {name: torch.stack([draw(model.head(name), name) for _ in range(samples)]) for name in model.targets}
    if dtype == torch.float64:
        targets = {name: of.double() if of.is_floating_point() else of for name, of in targets.items()}
    return Batch(inputs, targets, tuple(f"noise {number}" for number in range(samples)))


def _as(value: Jagged, dtype: torch.dtype) -> Jagged:
    return value.to(dtype) if value.dtype.is_floating_point else value


def _random_target(head: LossHead, name: str, *, generator: torch.Generator) -> Tensor:
    """A target that the head encodes: noughts and ones where it is of numbers or labels, else one of its classes."""
    missing = head.encode(None)
    value: RawTarget
    if head.kind != "classes":
        drawn = torch.randint(2, (missing.numel(),), generator=generator).tolist()
        value = tuple(float(number) for number in drawn)
    else:
        classes: Sequence[RawTarget] = head.classes or range(head.out_features)
        value = classes[int(torch.randint(len(classes), (), generator=generator))]
    try:
        return head.encode(value)
    except ValueError as error:
        message = f"target {name}: no target of {type(head).__name__} can be drawn at random: {error}"
        raise TrainingError(message) from None
