"""The review of a balancer between two epochs: walks over samples, and trials that leave no trace."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.data.loading.feed import Feed
from fusionkit.interfaces import Batch, OptimizerRecipe, Review, Stage, Step
from fusionkit.models.build import FusionModel
from fusionkit.training.placement import make_feed
from fusionkit.training.step.learner import Learner, Moment
from fusionkit.training.step.parts import Parts
from fusionkit.training.validation import widen_scores


class Reviewer:
    """Makes the `Review` of every epoch of a stage.

    Args:
        fabric: Device, precision and processes.
        model: The network.
        parts: Its parts.
        assembly: The recipe and its samples.
        stage: The stage.
        lr: The learning rate of the recipe.
        move: Brings a batch to the device.
        seed: Seeds what a step of a stage may draw.
        leave: Raises where the training is asked to stop.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: FusionModel,
        parts: Parts,
        assembly: Assembly,
        stage: Stage,
        *,
        lr: float,
        move: Callable[[Batch], Batch],
        seed: Callable[[Stage, int], None],
        leave: Callable[[], None],
    ) -> None:
        self._fabric, self._model, self._parts, self._assembly, self._stage = fabric, model, parts, assembly, stage
        self._lr, self._move, self._seed, self._leave = lr, move, seed, leave
        self._feeds: dict[str, Feed] = {}

    def review(self, epoch: int, factor: float) -> Review:
        """Makes the review before an epoch; trials learn at the rate of the recipe times the factor."""
        stage, epochs = self._stage, self._assembly.recipe.train.epochs
        trial = contextmanager(partial(self._trial, epoch, self._lr * factor))
        return Review(epoch, epochs, stage.trains, stage.branches, partial(self._walk, epoch), trial)

    def _walk(self, epoch: int, samples: Literal["training", "held_out"]) -> Iterator[Step]:
        if samples not in self._feeds:
            ids = self._assembly.train_ids if samples == "training" else self._assembly.validation_ids
            self._feeds[samples] = make_feed(
                self._fabric, self._assembly, self._stage, self._model, ids, training=False
            )
        for batch in self._feeds[samples].read_epoch(0):
            self._leave()
            with name_batch(f"review before epoch {epoch}", batch, self._fabric.device):
                step = self._look(epoch, self._move(batch))
            yield step

    def _look(self, epoch: int, batch: Batch) -> Step:
        """Returns a batch as the network sees it in evaluation."""
        fused = "fused" in self._stage.branches
        names = [name for name in self._model.modalities if fused or name in self._stage.branches]
        self._parts.evaluate()
        with torch.no_grad(), self._fabric.autocast():
            output = widen_scores(self._model(batch.inputs, unimodal=True, fused=fused, modalities=names))
        epochs = self._assembly.recipe.train.epochs
        return Step(
            epoch,
            0,
            epochs,
            output,
            batch.targets,
            batch.sample_ids,
            loss_of=partial(self._model.loss_of, output, batch.targets),
            scores_of=partial(self._score, batch),
            distribution_of=self._model.distribution_of,
        )

    def _score(self, batch: Batch, modalities: Sequence[str]) -> Mapping[str, Tensor]:
        with torch.no_grad(), self._fabric.autocast():
            output = self._model(batch.inputs, unimodal=False, modalities=tuple(modalities))
        return widen_scores(output).fused

    def _trial(self, epoch: int, lr: float, branch: str, epochs: int) -> Iterator[None]:
        """Trains a branch by itself, gives the network to look at, and puts everything back."""
        wanted = self._stage.trains if branch == "fused" else (branch,)
        trains = tuple(name for name in wanted if name in self._stage.trains)
        parameters, precision = self._parts.parameters(trains), self._fabric.strategy.precision
        if not parameters:
            yield
            return
        before, scaler = self._parts.snapshot(trains), precision.state_dict()
        stage = Stage(f"{self._stage.name}/{epoch}/trial/{branch}", trains, (branch,))
        try:
            self._learn(stage, epoch, epochs, lr)
            yield
        finally:
            self._parts.restore(before)
            precision.load_state_dict(scaler)

    def _learn(self, stage: Stage, epoch: int, epochs: int, lr: float) -> None:
        spec = self._assembly.recipe.train
        recipe: OptimizerRecipe = build_component(spec.optimizer)
        learner = Learner(
            self._fabric,
            self._model,
            stage,
            spec,
            balancer=None,
            parts=self._parts,
            optimizer=recipe.make(self._parts.parameters(stage.trains)),
            initial=None,
            teacher=None,
        )
        ids, step = self._assembly.train_ids, 0
        feed = make_feed(self._fabric, self._assembly, stage, self._model, ids, training=True)
        for past in range(epochs):
            for batches in group_batches(feed, epoch + past, spec.accumulate):
                self._leave()
                self._seed(stage, step)
                learner([self._move(batch) for batch in batches], Moment(epoch + past, step, spec.epochs, lr), 0)
                step += 1


def group_batches(feed: Feed, epoch: int, size: int, start: int = 0) -> Iterator[list[Batch]]:
    """Yields the batches of one optimizer step of an epoch after another, from a batch on."""
    batches = feed.read_epoch(epoch, start)
    while group := list(itertools.islice(batches, size)):
        yield group
