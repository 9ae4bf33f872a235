"""Rehearsed steps: taken as a training takes them, to be timed, while no weight moves."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.interfaces import Batch, OptimizerRecipe, Stage
from fusionkit.models.build import FusionModel
from fusionkit.training.placement import move_batch, place_network
from fusionkit.training.stages import list_stages, make_balancer
from fusionkit.training.step.learner import Learner, Moment
from fusionkit.training.step.outcome import Outcome
from fusionkit.training.step.parts import Parts
from fusionkit.training.step.teacher import freeze_teacher

LONG_STEP = 2.0
"""Seconds above which one timed step is enough."""


class Rehearsal:
    """The stages of a training, with the recipe's own optimizer, precision and balancer.

    A stage that becomes a teacher learns without the balancer; all others have its teachers, here untrained ones.

    Args:
        recipe: The recipe.
        fabric: Device and precision.
        model: The network; it is on the device afterwards, and a balancer may reset parts of it.

    Raises:
        RecipeError: Strategy or balancer do not fit the model.
        TrainingError: The network does not fit into the memory of the device.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric, model: FusionModel) -> None:
        self.recipe, self.fabric, self.model = recipe, fabric, model
        self.balancer = make_balancer(recipe, model)
        place_network(fabric, recipe.train, model, self.balancer)
        self.stages = list_stages(recipe, self.balancer)

    def move(self, batch: Batch) -> Batch:
        """Brings a batch to the device, as a training does."""
        return move_batch(self.fabric, self.recipe.train, batch)

    @contextmanager
    def learn(self, stage: Stage) -> Iterator[Callable[[Batch], Outcome]]:
        """Gives what moves a batch and learns from it, at a rate of zero: the weights stay, the work is the same."""
        recipe, parts, moment = self.recipe.train, Parts(self.model), Moment(0, 0, self.recipe.train.epochs, 0.0)
        balancer = None if stage.becomes_teacher else self.balancer
        optimizer: OptimizerRecipe = build_component(recipe.optimizer)
        lasting = () if balancer is None else tuple(balancer.parameters())
        learner = Learner(
            self.fabric,
            self.model,
            stage,
            recipe,
            balancer=balancer,
            parts=parts,
            optimizer=optimizer.make([*parts.parameters(stage.trains), *lasting]),
            initial=parts.snapshot((*self.model.modalities, "fusion")),
            teacher=freeze_teacher(self.model, balancer.teachers) if balancer and balancer.teachers else None,
        )
        yield lambda batch: learner([self.move(batch)], moment, 0)
        parts.release()


def time_steps(
    step: Callable[[int], float], whole: int, device: torch.device, *, samples: int, rounds: int, limit: float
) -> tuple[float, int]:
    """Returns the seconds of a step, and of how many samples it was: as many as a batch has, or as fit the limit.

    A step of few samples is the measurement itself where it is long; else it warms up, and the samples are doubled for
    as long as time is left: what a step costs by itself then weighs less where the seconds are scaled up to a batch.

    Args:
        step: Takes a step of so many samples and returns its seconds.
        whole: Samples of a batch.
        device: Where it computes.
        samples: Samples of the first step, at most.
        rounds: Steps whose median counts, at most.
        limit: Seconds that steps may take together, a long one apart.
    """
    count = min(samples, whole)
    seconds = step(count)
    if seconds >= LONG_STEP and device.type == "cpu":  # elsewhere the first step also loads the device's kernels
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
