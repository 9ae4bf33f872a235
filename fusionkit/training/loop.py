"""The loop: stages, epochs, steps, validation, selection and checkpoints."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch import distributed as dist

from fusionkit.config.recipe import build_component
from fusionkit.data.assembly import Assembly
from fusionkit.data.loading.failures import batch_named
from fusionkit.data.loading.feed import Feed
from fusionkit.errors import RunError, TrainingError
from fusionkit.interfaces import Batch, OptimizerRecipe, Repeat, Schedule, Stage
from fusionkit.models.build import FusionModel
from fusionkit.nn.distributed import world_size
from fusionkit.nn.memory import FEWER_SAMPLES, network_too_large, told_when_full
from fusionkit.nn.timer import label_nothing
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.checkpoint import (
    Checkpoint,
    Position,
    load_module,
    load_optimizer_state,
    optimizer_state,
)
from fusionkit.training.learner import Learner, Moment
from fusionkit.training.log import Journal
from fusionkit.training.parts import Parts
from fusionkit.training.profiling.records import MOVE
from fusionkit.training.review import Reviewer, groups
from fusionkit.training.signals import Interrupted, Listener
from fusionkit.training.stages import balancer_of, stages_of
from fusionkit.training.teacher import Teacher
from fusionkit.training.validation import monitored_loss, validation_losses

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
    """The state of one training; what must survive a stop is what `_checkpoint` gathers."""

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
        self._balancer = balancer_of(recipe, model)
        with told_when_full(lambda: network_too_large(fabric.device)):
            for module in (model, self._balancer):
                fabric.to_device(module)
                if self._spec.precision == "64-true":
                    module.double()
        model.channels_last()
        model.fit_targets(assembly.training_targets)  # before the snapshot, to which balancers and teachers go back
        self._stages = stages_of(recipe, self._balancer)
        self._schedule: Schedule = build_component(self._spec.scheduler)
        resets = any(self._balancer.uses(hook) for hook in ("plan", "before_epoch"))
        needs_initial = resets or any(stage.becomes_teacher for stage in self._stages)
        self._initial = self._parts.snapshot((*model.modalities, "fusion")) if needs_initial else None
        self._teacher: Teacher | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._taught: dict[str, Tensor] = {}
        self._best: dict[str, Tensor] = {}
        self._position = Position(processes=fabric.world_size, samples=_hash_of_order(assembly))
        self._saved_at = time.monotonic()

    def run(self, progress: bool, resume: str | os.PathLike[str] | None) -> list[dict[str, Any]]:
        """All stages that are left."""
        resumed = self._load(resume)
        position = self._position
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
        position, spec = self._position, self._spec
        balancer = None if stage.becomes_teacher else self._balancer
        parameters = [*self._parts.parameters(stage.trains), *(balancer.parameters() if balancer else ())]
        if not parameters:
            raise TrainingError(f"stage {stage.name}: nothing is left to train, every parameter of its parts is frozen")
        recipe: OptimizerRecipe = build_component(spec.optimizer)
        optimizer = self._optimizer = recipe.make(parameters)
        if resumed is not None:
            load_optimizer_state(optimizer, self._parameter_names(), resumed)
        teacher = None if balancer is None else self._teach()
        learner = Learner(
            self._fabric,
            self._model,
            stage,
            spec,
            balancer=balancer,
            parts=self._parts,
            optimizer=optimizer,
            initial=self._initial,
            teacher=teacher,
            label=self._label,
        )
        feed, validation = self._feeds(stage)
        reviewer = self._reviewer(stage, recipe.lr) if balancer is not None and balancer.uses("before_epoch") else None
        steps = spec.epochs * math.ceil(feed.count(position.epoch) / spec.accumulate)
        self._journal.stage(stage.name, steps, position.step)
        if self._profile is not None:
            self._profile.begin_stage(stage.name, feed, steps - position.step, model=self._model, run=self._run)
            feed.move_within(partial(self._label, MOVE))
        while position.epoch < spec.epochs and not self._patience_is_over():
            if reviewer is not None and position.batch == 0:
                self._prepare_epoch(stage, reviewer)
            feed.repeat(Repeat(name, tuple(modalities)) for name, modalities in position.repeats)
            self._run_epoch(stage, learner, feed, recipe.lr)
            self._end_epoch(stage, validation, recipe.lr)
        self._end_stage(stage)

    def _run_epoch(self, stage: Stage, learner: Learner, feed: Feed, lr: float) -> None:
        position, spec = self._position, self._spec
        count = feed.count(position.epoch)
        steps = groups(feed, position.epoch, spec.accumulate, position.batch)
        for batches in steps if self._profile is None else self._profile.steps(steps):
            moment = Moment(position.epoch, position.step, spec.epochs, lr * self._factor(len(batches), count))
            self._seed(stage, position.step)
            moved = [self._to_device(batch) for batch in batches]
            outcome = learner(moved, moment, self._listener.received or 0)
            position.batch += len(batches)
            position.step += 1
            position.total_steps += 1
            position.loss_sum += outcome.loss
            position.loss_count += 1
            self._journal.step(
                {
                    "step": position.total_steps,
                    "stage": stage.name,
                    "epoch": position.epoch,
                    "lr": moment.lr,
                    "loss": outcome.loss,
                    "terms": outcome.terms,
                    **({"gradients": outcome.gradients} if outcome.gradients else {}),
                }
            )
            self._leave_if_asked(outcome.signal)
            self._save_if_due()

    def _reviewer(self, stage: Stage, lr: float) -> Reviewer:
        return Reviewer(
            self._fabric,
            self._model,
            self._parts,
            self._assembly,
            stage,
            lr=lr,
            move=self._to_device,
            seed=self._seed,
            leave=self._raise_if_asked,
        )

    def _prepare_epoch(self, stage: Stage, reviewer: Reviewer) -> None:
        """Lets the balancer look at the network and say what the next epoch is; stopped in it, it starts over."""
        position, before = self._position, copy.deepcopy(self._balancer.state_dict())
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
                self._parts.relearn(self._initial or {}, name, share)
        position.repeats = [(repeat.sample_id, list(repeat.modalities)) for repeat in plan.repeats]

    def _end_epoch(self, stage: Stage, validation: Feed | None, lr: float) -> None:
        """Validates, selects, and goes on to the next epoch."""
        position = self._position
        training = position.loss_sum / max(1, position.loss_count)
        terms = None if validation is None else self._validate(stage, validation)
        measured = None if terms is None else monitored_loss(terms)
        if measured is not None and measured < min(position.losses, default=math.inf):
            position.best_epoch = position.epoch
            self._best = self._parts.snapshot(stage.trains)
        self._journal.epoch(
            {
                "step": position.total_steps,
                "stage": stage.name,
                "epoch": position.epoch,
                "lr": lr * self._factor(0, position.batch),
                "training": training,
                "validation": measured,
                "validation_terms": terms,
            }
        )
        monitored = training if measured is None else measured
        position.next_epoch(monitored if math.isfinite(monitored) else math.inf)
        self._leave_if_asked(0)
        self._save_if_due()

    def _end_stage(self, stage: Stage) -> None:
        """Takes the selected epoch's weights, and goes on to the next stage."""
        position = self._position
        if self._best:
            self._parts.restore(self._best)
        self._best = {}
        if stage.becomes_teacher:
            self._taught |= self._parts.snapshot(stage.trains)
            self._parts.restore(self._initial or {}, stage.trains)
        selected = position.epoch - 1 if position.best_epoch is None else position.best_epoch
        position.next_stage(
            {"name": stage.name, "epochs": position.epoch, "selected": selected, "losses": position.losses}
        )
        self._optimizer = None
        self._save()

    def _validate(self, stage: Stage, feed: Feed) -> dict[str, float]:
        self._parts.evaluate()

        def batches() -> Iterator[Batch]:
            for batch in feed.epoch(0):
                self._leave_if_asked(0)
                yield self._to_device(batch)

        with torch.no_grad():
            losses = validation_losses(self._model, batches(), stage.branches, self._fabric.autocast)
        return dict(self._fabric.broadcast(losses))

    def _feeds(self, stage: Stage) -> tuple[Feed, Feed | None]:
        assembly, fused, device = self._assembly, "fused" in stage.branches, self._fabric.device
        names = None if fused else [name for name in self._model.modalities if name in stage.branches]
        feed = assembly.feed(
            assembly.train_ids,
            training=True,
            modalities=names,
            rank=self._fabric.global_rank,
            world_size=self._fabric.world_size,
            device=device,
        )
        if not assembly.validation_ids:
            return feed, None
        return feed, assembly.feed(assembly.validation_ids, training=False, modalities=names, device=device)

    def _factor(self, batches: int, count: int) -> float:
        """The factor on the learning rate of a step that takes this many batches of the epoch's count."""
        position, spec = self._position, self._spec
        before = (position.epoch + position.batch / count) / spec.epochs
        after = (position.epoch + (position.batch + batches) / count) / spec.epochs
        warm = min(1.0, after / spec.warmup) if spec.warmup else 1.0
        return warm * self._schedule.factor(before, position.losses)

    def _patience_is_over(self) -> bool:
        position, patience = self._position, self._spec.patience
        if patience is None:
            return False
        best = -1 if position.best_epoch is None else position.best_epoch
        return position.epoch - 1 - best >= patience

    def _seed(self, stage: Stage, step: int) -> None:
        """Seeds what a step may draw (dropout, noise), so that it depends on nothing that was drawn before."""
        purpose = f"{self._spec.seed}/{stage.name}/{step}/{self._fabric.global_rank}"
        seed = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little") >> 1
        torch.default_generator.manual_seed(seed)  # torch.manual_seed looks for every kind of device: 0.7 ms a step
        if self._fabric.device.type != "cpu":
            torch.get_device_module(self._fabric.device).manual_seed(seed)

    def _to_device(self, batch: Batch) -> Batch:
        with self._label(MOVE), batch_named("moving", batch, self._fabric.device, FEWER_SAMPLES):
            moved = batch.to(self._fabric.device, non_blocking=True)
            return _doubled(moved) if self._spec.precision == "64-true" else moved

    def _teach(self) -> Teacher | None:
        """The teachers that are trained by now."""
        names = tuple(name for name in self._model.modalities if any(_belongs(key, name) for key in self._taught))
        if not names:
            return None
        if self._teacher is None or self._teacher.modalities != names:
            model = copy.deepcopy(self._model).eval().requires_grad_(False)
            state = model.state_dict()
            for key, value in self._taught.items():
                state[key].copy_(value)
            self._teacher = Teacher(model, names)
        return self._teacher

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
        self._position.records = self._journal.records
        groups = {
            "model": self._model.state_dict(),
            "balancer": self._balancer.state_dict(),
            "teacher": self._taught,
            "best": self._best,
        }
        optimizer = {} if self._optimizer is None else optimizer_state(self._optimizer, self._parameter_names())
        scaler = self._fabric.strategy.precision.state_dict()
        self._run.save_checkpoint(*Checkpoint(self._position, groups, optimizer, scaler).pack())
        self._saved_at = time.monotonic()

    def _parameter_names(self) -> dict[nn.Parameter, str]:
        modules = {"model": self._model, "balancer": self._balancer}
        return {each: f"{of}.{name}" for of, module in modules.items() for name, each in module.named_parameters()}

    def _load(self, file: str | os.PathLike[str] | None) -> Checkpoint | None:
        found = self._run.load_checkpoint(file)
        if found is None:
            return None
        checkpoint = Checkpoint.unpack(*found)
        processes = checkpoint.position.processes
        if processes != self._fabric.world_size:
            raise RunError(
                f"{self._run.path}: was trained by {processes} processes, now {self._fabric.world_size}; an exact "
                f"resume needs {processes}"
            )
        if checkpoint.position.samples not in ("", self._position.samples):
            raise RunError(
                f"{self._run.path}: the samples stand in another order than when its training began, so it cannot go "
                "on; bring the rows back into their order, or take a new folder"
            )
        checkpoint.position.samples = self._position.samples
        state = checkpoint.groups.get("model", {})
        load_module(self._model, state, "network")
        if self._initial is not None:  # an earlier version's checkpoint may lack a buffer that was fitted here
            loaded = self._model.state_dict()
            self._initial |= {key: loaded[key].clone() for key in self._initial.keys() - state.keys()}
        load_module(self._balancer, checkpoint.groups.get("balancer", {}), "balancer")
        self._fabric.strategy.precision.load_state_dict(dict(checkpoint.scaler))
        device = self._fabric.device
        self._taught = {key: value.to(device) for key, value in checkpoint.groups.get("teacher", {}).items()}
        self._best = {key: value.to(device) for key, value in checkpoint.groups.get("best", {}).items()}
        self._position = checkpoint.position
        return checkpoint


def _hash_of_order(assembly: Assembly) -> str:
    """A hash of the ids in their order: by a sample's place it is drawn, and what is drawn for it."""
    order = ([row.id for row in assembly.dataset.rows], assembly.train_ids, assembly.validation_ids)
    return hashlib.sha256(json.dumps(order).encode()).hexdigest()


def _belongs(key: str, modality: str) -> bool:
    return key.startswith(f"branches.{modality}.")


def _doubled(batch: Batch) -> Batch:
    inputs = {n: v.to(torch.float64) if v.dtype.is_floating_point else v for n, v in batch.inputs.items()}
    targets = {n: v.double() if v.is_floating_point() else v for n, v in batch.targets.items()}
    return Batch(inputs, targets, batch.sample_ids)
