"""The loop: stages, epochs, steps, validation, selection and checkpoints."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import distributed as dist

from fusionkit.config.recipe import build_component
from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import name_batch
from fusionkit.data.loading.feed import Feed
from fusionkit.errors import TrainingError
from fusionkit.interfaces import Batch, OptimizerRecipe, Repeat, Schedule, Stage
from fusionkit.models.build import FusionModel
from fusionkit.nn.distributed import world_size
from fusionkit.nn.memory import FEWER_SAMPLES
from fusionkit.nn.timer import label_nothing
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.balancer_review import Reviewer, group_batches
from fusionkit.training.checkpoint import Checkpoint, load_module
from fusionkit.training.fitted_encoders import fit_encoders
from fusionkit.training.interruption import Interrupted, Listener
from fusionkit.training.log import Journal, describe_epoch, describe_step
from fusionkit.training.placement import make_feed, move_batch, place_network, seed_draws
from fusionkit.training.stages import list_stages, make_balancer
from fusionkit.training.state import TrainingState
from fusionkit.training.step.learner import Learner, Moment
from fusionkit.training.step.part_names import MOVE
from fusionkit.training.step.parts import Parts
from fusionkit.training.validation import compute_validation_losses, monitor_loss

if TYPE_CHECKING:
    from fusionkit.training.profiling.profile import Profile


def fit(
    fabric: Fabric,
    model: FusionModel,
    assembly: Assembly,
    run: RunFolder,
    *,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = False,
    profile: Profile | None = None,
) -> list[dict[str, Any]]:
    """Trains a network in place, from the run's checkpoint on where there is one.

    Args:
        fabric: A launched Fabric.
        model: The network, freshly built and on any device: a balancer's resets go back to its weights.
        assembly: The recipe and its samples.
        run: Where log and checkpoints go.
        resume: The checkpoint to go on from; the last that is whole when left out.
        progress: Show a bar with losses and remaining time.
        profile: Watches some steps of every stage; of several processes, those of the first.

    Returns:
        By stage: its name, how many epochs it ran, which one was selected, and the monitored losses.

    Raises:
        TrainingError: A loss or a gradient is not finite, or a stage has nothing to train.
        RunError: The checkpoint is damaged, or of another network or other samples, or the disk is full.
        Interrupted: A signal came; the checkpoint is written.
    """
    watching = profile if fabric.is_global_zero else None
    with Listener() as listener, watching or nullcontext():
        return _Fit(fabric, model, assembly, run, listener, profile=watching).run(progress, resume)


class _Fit:
    """One training from its first step to its last; what must survive a stop of it is its `TrainingState`."""

    def __init__(
        self,
        fabric: Fabric,
        model: FusionModel,
        assembly: Assembly,
        run: RunFolder,
        listener: Listener,
        *,
        profile: Profile | None,
    ) -> None:
        recipe = assembly.recipe
        self._profile = profile
        self._label = label_nothing if profile is None else profile.label
        self._fabric, self._assembly, self._run, self._listener = fabric, assembly, run, listener
        self._spec = recipe.train
        self._model, self._parts = model, Parts(model)
        self._balancer = make_balancer(recipe, model)
        place_network(fabric, self._spec, model, self._balancer)
        model.fit_targets(assembly.training_targets)  # before the snapshot, to which balancers and teachers go back
        fit_encoders(fabric, assembly, model)
        self._stages = list_stages(recipe, self._balancer)
        self._schedule: Schedule = build_component(self._spec.scheduler)
        resets = any(self._balancer.uses(hook) for hook in ("plan", "before_epoch"))
        needs_initial = resets or any(stage.becomes_teacher for stage in self._stages)
        initial = self._parts.snapshot((*model.modalities, "fusion")) if needs_initial else None
        self._state = TrainingState(fabric, model, self._balancer, assembly, initial)
        self._saved_at = time.monotonic()

    def run(self, progress: bool, resume: str | os.PathLike[str] | None) -> list[dict[str, Any]]:
        """Trains all stages that are left."""
        resumed = self._state.load(self._run, resume)
        position = self._state.position
        journal = Journal(
            self._run,
            records=position.records,
            step=position.total_steps,
            progress=progress,
            active=self._fabric.is_global_zero,
        )
        with journal:
            self._journal = journal
            while position.stage < len(self._stages):
                self._run_stage(self._stages[position.stage], resumed)
                resumed = None
        self._parts.release()
        return position.summaries

    def _run_stage(self, stage: Stage, resumed: Checkpoint | None) -> None:
        position, spec = self._state.position, self._spec
        balancer = None if stage.becomes_teacher else self._balancer
        parameters = [*self._parts.parameters(stage.trains), *(balancer.parameters() if balancer else ())]
        if not parameters:
            raise TrainingError(f"stage {stage.name}: nothing is left to train, every parameter of its parts is frozen")
        recipe: OptimizerRecipe = build_component(spec.optimizer)
        optimizer = recipe.make(parameters)
        self._state.load_optimizer(optimizer, resumed)
        learner = Learner(
            self._fabric,
            self._model,
            stage,
            spec,
            balancer=balancer,
            parts=self._parts,
            optimizer=optimizer,
            initial=self._state.initial,
            teacher=None if balancer is None else self._state.teachers.teacher(),
            label=self._label,
        )
        make = partial(make_feed, self._fabric, self._assembly, stage, self._model)
        feed, held_out = make(self._assembly.train_ids, training=True), self._assembly.validation_ids
        validation = make(held_out, training=False) if held_out else None
        reviews = balancer is not None and balancer.uses("before_epoch")
        reviewer = self._make_reviewer(stage, recipe.lr) if reviews else None
        steps = spec.epochs * math.ceil(feed.count(position.epoch) / spec.accumulate)
        self._journal.stage(stage.name, steps, position.step)
        if self._profile is not None:
            self._profile.begin_stage(stage.name, feed, steps - position.step, model=self._model, run=self._run)
            feed.move_within(partial(self._label, MOVE))
        while position.epoch < spec.epochs and not position.is_patience_over(spec.patience):
            if reviewer is not None and position.batch == 0:
                self._prepare_epoch(stage, reviewer)
            feed.repeat(Repeat(name, tuple(modalities)) for name, modalities in position.repeats)
            self._run_epoch(stage, learner, feed, recipe.lr)
            self._end_epoch(stage, validation, recipe.lr)
        self._end_stage(stage)

    def _run_epoch(self, stage: Stage, learner: Learner, feed: Feed, lr: float) -> None:
        position, spec = self._state.position, self._spec
        count = feed.count(position.epoch)
        steps = group_batches(feed, position.epoch, spec.accumulate, position.batch)
        for batches in steps if self._profile is None else self._profile.steps(steps):
            moment = Moment(position.epoch, position.step, spec.epochs, lr * self._scale_rate(len(batches), count))
            self._seed(stage, position.step)
            moved = [self._move(batch) for batch in batches]
            outcome = learner(moved, moment, self._listener.received or 0)
            # The step counts before anything can save or leave: a checkpoint must not have it learnt once more.
            position.next_step(len(batches), outcome.loss)
            self._journal.step(describe_step(position, stage, moment.lr, outcome))
            self._leave_if_asked(outcome.signal)
            self._save_if_due()

    def _make_reviewer(self, stage: Stage, lr: float) -> Reviewer:
        return Reviewer(
            self._fabric,
            self._model,
            self._parts,
            self._assembly,
            stage,
            lr=lr,
            move=self._move,
            seed=self._seed,
            leave=self._raise_if_asked,
        )

    def _prepare_epoch(self, stage: Stage, reviewer: Reviewer) -> None:
        """Lets the balancer look at the network and say what the next epoch is; stopped in it, it starts over."""
        position, before = self._state.position, copy.deepcopy(self._balancer.state_dict())
        self._seed(stage, position.step)
        rate = self._schedule.factor(position.epoch / self._spec.epochs, position.losses)
        try:
            plan = self._balancer.before_epoch(reviewer.review(position.epoch, rate))
        except Interrupted:
            load_module(self._balancer, before, "balancer")
            self._save()
            raise
        plan = self._fabric.broadcast(plan)
        if world_size() > 1:  # all walked over the same samples, but need not have rounded alike
            for tensor in self._balancer.state_dict().values():
                dist.broadcast(tensor, 0)
        for name, share in plan.relearn.items():
            if name in stage.trains:
                self._parts.relearn(self._state.initial or {}, name, share)
        position.repeats = [(repeat.sample_id, list(repeat.modalities)) for repeat in plan.repeats]

    def _end_epoch(self, stage: Stage, validation: Feed | None, lr: float) -> None:
        """Validates, selects, and goes on to the next epoch."""
        position = self._state.position
        training = position.loss_sum / max(1, position.loss_count)
        terms = None if validation is None else self._validate(stage, validation)
        measured = None if terms is None else monitor_loss(terms)
        if measured is not None and measured < min(position.losses, default=math.inf):
            position.best_epoch = position.epoch
            self._state.best = self._parts.snapshot(stage.trains)
        lr *= self._scale_rate(0, position.batch)
        self._journal.epoch(describe_epoch(position, stage, lr, training=training, validation=measured, terms=terms))
        monitored = training if measured is None else measured
        position.next_epoch(monitored if math.isfinite(monitored) else math.inf)
        self._leave_if_asked(0)
        self._save_if_due()

    def _end_stage(self, stage: Stage) -> None:
        """Takes the selected epoch's weights, and goes on to the next stage."""
        position = self._state.position
        if self._state.best:
            self._parts.restore(self._state.best)
        self._state.best = {}
        if stage.becomes_teacher:
            self._state.teachers.weights |= self._parts.snapshot(stage.trains)
            self._parts.restore(self._state.initial or {}, stage.trains)
        selected = position.epoch - 1 if position.best_epoch is None else position.best_epoch
        position.next_stage(
            {"name": stage.name, "epochs": position.epoch, "selected": selected, "losses": position.losses}
        )
        self._state.optimizer = None
        self._save()

    def _validate(self, stage: Stage, feed: Feed) -> dict[str, float]:
        self._parts.evaluate()

        def batches() -> Iterator[Batch]:
            for batch in feed.read_epoch(0):
                self._leave_if_asked(0)
                yield self._move(batch)

        with torch.no_grad():
            losses = compute_validation_losses(self._model, batches(), stage.branches, self._fabric.autocast)
        return dict(self._fabric.broadcast(losses))

    def _scale_rate(self, batches: int, count: int) -> float:
        """Returns the factor on the learning rate of a step with this many batches of the epoch's count."""
        position, spec = self._state.position, self._spec
        before = (position.epoch + position.batch / count) / spec.epochs
        after = (position.epoch + (position.batch + batches) / count) / spec.epochs
        warm = min(1.0, after / spec.warmup) if spec.warmup else 1.0
        return warm * self._schedule.factor(before, position.losses)

    def _seed(self, stage: Stage, step: int) -> None:
        seed_draws(self._fabric, self._spec.seed, stage, step)

    def _move(self, batch: Batch) -> Batch:
        with self._label(MOVE), name_batch("moving", batch, self._fabric.device, FEWER_SAMPLES):
            return move_batch(self._fabric, self._spec, batch)

    def _raise_if_asked(self) -> None:
        """Leaves a review after a signal; of several processes none can, since the others would wait for it."""
        if self._listener.received and world_size() == 1:
            raise Interrupted(self._listener.received)

    def _leave_if_asked(self, signal: int) -> None:
        """Leaves with a checkpoint after a signal; several processes leave together, after the same step."""
        received = signal if world_size() > 1 else self._listener.received
        if received:
            self._save()
            raise Interrupted(received)

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= self._spec.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        if not self._fabric.is_global_zero:
            return
        self._journal.flush()
        self._state.position.records = self._journal.records
        self._state.save(self._run)
        self._saved_at = time.monotonic()
