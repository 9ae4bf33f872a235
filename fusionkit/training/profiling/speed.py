"""The speed of a recipe in training and prediction, from timed steps on noise: no data are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fusionkit.config.schema import Recipe
from fusionkit.errors import TrainingError
from fusionkit.interfaces import Batch, LossHead, RawTarget, Stage
from fusionkit.models.build import FusionModel
from fusionkit.models.random_inputs import count_samples, draw_noise
from fusionkit.nn.memory import FEWER_SAMPLES, SMALLER_BATCHES, explain_full_memory, make_batch_error
from fusionkit.nn.timer import time_work, wait_for
from fusionkit.training.placement import list_modalities
from fusionkit.training.profiling.rehearsal import Rehearsal, time_steps
from fusionkit.training.trainer import make_fabric

SECONDS = 4.0
"""Seconds that all timed steps may take together, if a few samples do not take longer by themselves."""

_FEWEST = 2  # samples that have a batch statistic


@dataclass(frozen=True)
class StageSpeed:
    """The speed of one stage of a training, its data aside.

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
    """The speed of a recipe on a device.

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
        rehearsal = Rehearsal(recipe, fabric, model)
        batch, limit = count_samples(recipe, model, lengths), SECONDS / (len(rehearsal.stages) + 1)
        trains = tuple(
            _time_stage(rehearsal, stage, lengths, batch, rounds=rounds, limit=limit) for stage in rehearsal.stages
        )
        seconds, samples = _time_prediction(rehearsal, lengths, batch, rounds=rounds, limit=limit)
    reviews = rehearsal.balancer.uses("before_epoch")
    return RecipeSpeed(str(fabric.device), batch, trains, samples / seconds, samples, reviews)


def _time_stage(
    rehearsal: Rehearsal, stage: Stage, lengths: Mapping[str, int], batch: int, *, rounds: int, limit: float
) -> StageSpeed:
    device, names = rehearsal.fabric.device, list_modalities(stage, rehearsal.model)
    given = {name: length for name, length in lengths.items() if names is None or name in names}
    gpu = device if device.type == "cuda" else None

    def step(count: int) -> float:
        noise = rehearsal.move(_draw_batch(rehearsal.model, given, count))
        if gpu is not None:
            wait_for(gpu)
            torch.cuda.reset_peak_memory_stats(gpu)
        return time_work(lambda: learn(noise), device)

    with (
        explain_full_memory(lambda: make_batch_error(f"stage {stage.name}", batch, device, FEWER_SAMPLES)),
        rehearsal.learn(stage) as learn,
    ):
        seconds, count = time_steps(step, batch, device, samples=_FEWEST, rounds=rounds, limit=limit)
    peak = None if gpu is None else torch.cuda.max_memory_allocated(gpu)
    samples = batch * rehearsal.recipe.train.accumulate
    return StageSpeed(stage.name, seconds / count * samples, samples, count, peak)


def _time_prediction(
    rehearsal: Rehearsal, lengths: Mapping[str, int], batch: int, *, rounds: int, limit: float
) -> tuple[float, int]:
    """Times a prediction in the precision of the weights, as an evaluation makes it; returns its samples as well."""
    device, model = rehearsal.fabric.device, rehearsal.model.eval()

    def step(count: int) -> float:
        noise = rehearsal.move(_draw_batch(model, lengths, count))
        with torch.inference_mode():
            return time_work(lambda: model(noise.inputs), device)

    with explain_full_memory(lambda: make_batch_error("prediction", batch, device, SMALLER_BATCHES)):
        return time_steps(step, batch, device, samples=_FEWEST, rounds=rounds, limit=limit)


def _draw_batch(model: FusionModel, lengths: Mapping[str, int], samples: int) -> Batch:
    """Draws noise and random targets of so many samples."""
    generator = torch.Generator().manual_seed(1)
    draw = partial(_draw_target, generator=generator)
    targets = {name: torch.stack([draw(model.head(name), name) for _ in range(samples)]) for name in model.targets}
    return Batch(draw_noise(model, lengths, samples), targets, tuple(f"noise {number}" for number in range(samples)))


def _draw_target(head: LossHead, name: str, *, generator: torch.Generator) -> Tensor:
    """Draws a target that the head encodes: noughts and ones for numbers or labels, else one of its classes."""
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
