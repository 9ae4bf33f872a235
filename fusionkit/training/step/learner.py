"""One optimizer step: forward, loss terms, the balancer's hooks, gradients, update."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fusionkit.config.schema import TrainSpec
from fusionkit.data.loading.failures import name_batches
from fusionkit.errors import TrainingError
from fusionkit.interfaces import Balancer, Batch, FeatureHook, ModelOutput, Plan, Stage, Step
from fusionkit.models.build import FusionModel
from fusionkit.nn.memory import FEWER_SAMPLES
from fusionkit.nn.timer import REST, Label, label_nothing
from fusionkit.training.step.gradients import (
    accumulate,
    apply_scale,
    compare_gradients,
    compute_gradients,
    find_flaw,
    measure_norm,
    reduce_gradients,
    refuse_flaws,
    rescale,
)
from fusionkit.training.step.outcome import TOTAL, Outcome, fetch_terms
from fusionkit.training.step.part_names import BACKWARD, LOSSES, OPTIMIZER
from fusionkit.training.step.parts import Parts
from fusionkit.training.step.teacher import Teacher
from fusionkit.training.validation import widen_scores

HOOKS = ("gradient_scales", "replace_features", "sample_weights", "plan")


@dataclass(frozen=True)
class Moment:
    """The moment of a step: finished epochs and steps of the stage, its epochs, and the learning rate."""

    epoch: int
    step: int
    epochs: int
    lr: float


class Learner:
    """The optimizer steps of one stage.

    Args:
        fabric: Device, precision and processes.
        model: The network.
        stage: What learns, from which branches.
        spec: Precision and clipping.
        balancer: Merges the terms and bends the gradients; None sums them.
        parts: The parts of the network.
        optimizer: The optimizer of the stage's parameters.
        initial: The network's initial weights, for a balancer that resets parts.
        teacher: The balancer's teachers.
        label: Labels the parts of a step for who times it.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: FusionModel,
        stage: Stage,
        spec: TrainSpec,
        *,
        balancer: Balancer | None,
        parts: Parts,
        optimizer: torch.optim.Optimizer,
        initial: Mapping[str, Tensor] | None,
        teacher: Teacher | None,
        label: Label = label_nothing,
    ) -> None:
        self._label = label
        self._fabric, self._model, self._balancer, self._stage, self._spec = fabric, model, balancer, stage, spec
        self._parts, self._optimizer, self._initial, self._teacher = parts, optimizer, initial, teacher
        self._hooks = frozenset(hook for hook in HOOKS if balancer is not None and balancer.uses(hook))
        self._lasting = () if balancer is None else tuple(balancer.parameters())
        self._scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
        self._terms = frozenset(f"{branch}/{target}" for branch in stage.branches for target in model.targets)
        self._trains: Sequence[str] = stage.trains
        self._watching = parts.heads() if balancer is not None and balancer.heads_watch else frozenset[int]()
        self._compared: dict[str, dict[str, Tensor]] = {}
        self._told_dtype = torch.float64 if spec.precision == "64-true" else torch.float32

    def __call__(self, batches: Sequence[Batch], moment: Moment, signal: int) -> Outcome:
        """Learns from the batches of one optimizer step.

        Raises:
            TrainingError: A loss term or a gradient is not finite, or memory runs out; the weights stay as they were.
        """
        device = self._fabric.device
        with name_batches(lambda: self._name_moment(moment), batches, device, FEWER_SAMPLES):
            return self._learn(batches, moment, signal)

    def _learn(self, batches: Sequence[Batch], moment: Moment, signal: int) -> Outcome:
        plan = self._plan(batches[0], moment)
        trains = self._stage.trains if plan.trains is None else plan.trains
        self._trains = trains
        self._parts.train(trains)
        parameters = [*self._parts.parameters(trains), *self._lasting]
        self._optimizer.zero_grad()
        self._compared = {}
        rows = []
        for batch in batches:
            with self._label(LOSSES):
                rows.append(self._learn_from(batch, moment, plan, parameters, 1.0 / len(batches)))
        # Only from here on are gradients those of all batches and processes, so only now are they measured and clipped.
        reduce_gradients(parameters)
        learns = any(parameter.grad is not None for parameter in parameters)  # a batch may lack what the stage trains
        if self._scaler is not None and learns:  # Fabric's own call refuses fused optimizers, which torch's serves
            self._scaler.unscale_(self._optimizer)
        longest = self._spec.clip_norm
        norm = None if longest is None else measure_norm(parameters)
        flaw = find_flaw(parameters) if norm is None else norm - norm  # zero, unless the norm is not finite
        # The one wait for the device in a step: what is wrong is refused before it reaches a weight.
        terms, flawed, signum = fetch_terms(rows, flaw, signal, self._told_dtype)
        self._refuse_flaws(terms, batches, moment, set(map(id, parameters)), flawed=flawed)
        if longest is not None and norm is not None:
            self._clip(parameters, longest, norm)
        self._set_rate(moment.lr)
        if learns:
            with self._label(OPTIMIZER):
                self._fabric.strategy.optimizer_step(self._optimizer)
        gradients = {name: {key: float(value) for key, value in of.items()} for name, of in self._compared.items()}
        return Outcome(terms.pop(TOTAL), terms, signum, gradients)

    def _plan(self, batch: Batch, moment: Moment) -> Plan:
        if self._balancer is None or "plan" not in self._hooks:
            return Plan()
        plan = self._balancer.plan(self._make_step(batch, moment, None, None))
        for name in plan.resets:
            assert self._initial is not None
            self._parts.restore(self._initial, (name,))
            for parameter in self._parts.parameters((name,)):
                self._optimizer.state.pop(parameter, None)
        return plan

    def _learn_from(
        self, batch: Batch, moment: Moment, plan: Plan, parameters: list[nn.Parameter], share: float
    ) -> dict[str, Tensor]:
        """Adds the gradients of a batch, and returns its loss terms and their total."""
        wanted = self._terms if plan.terms is None else self._terms & frozenset(plan.terms)
        step = self._make_step(batch, moment, None, self._teacher(batch) if self._teacher else None)
        # The network labels its own parts within: what is left of a forward pass is neither theirs nor the losses'.
        with self._label(REST), self._fabric.autocast():
            output = self._forward(batch, wanted, step)
        step = replace(
            step,
            output=widen_scores(output),
            loss_of=partial(self._model.loss_of, output, batch.targets),
            scores_of=partial(self._score, batch),
            fuse=partial(self._fuse, output),
            distribution_of=self._model.distribution_of,
        )
        weights = self._balancer.sample_weights(step) if self._balancer and "sample_weights" in self._hooks else None
        found = self._model.losses(step.output or output, batch.targets, weights)
        terms = {name: term for name, term in found.items() if name in wanted}
        # Before the balancer weighs the terms, and before the backward pass, which frees the graph.
        if self._spec.gradient_cosines and moment.step % self._spec.gradient_cosines == 0 and not self._compared:
            self._compared = self._compare(terms)
        weighted = self._balancer.weigh(terms, step) if self._balancer else terms
        if not weighted:
            raise TrainingError(f"stage {self._stage.name}, step {moment.step}: the balancer leaves no loss term")
        total = torch.stack(tuple(weighted.values())).sum()
        with self._label(BACKWARD):
            self._backward(total, weighted, terms, step=step, plan=plan, parameters=parameters, share=share)
        return {**terms, TOTAL: total}

    def _forward(self, batch: Batch, wanted: Collection[str], step: Step) -> ModelOutput:
        branches = {name.partition("/")[0] for name in wanted}
        fused = "fused" in branches
        heads = tuple(name for name in self._model.modalities if name in branches)
        hook: FeatureHook | None = None
        if fused and self._balancer is not None and "replace_features" in self._hooks:
            hook = partial(self._balancer.replace_features, step=step)
        output: ModelOutput = self._model(
            batch.inputs, unimodal=bool(heads), fused=fused, modalities=None if fused else heads, replace=hook
        )
        return replace(output, unimodal={name: output.unimodal[name] for name in heads if name in output.unimodal})

    def _score(self, batch: Batch, modalities: Sequence[str]) -> Mapping[str, Tensor]:
        """Returns the fused scores that a batch of these modalities alone has; the step goes on as if never asked."""
        self._parts.evaluate()
        with torch.no_grad(), self._fabric.autocast():
            output = self._model(batch.inputs, unimodal=False, modalities=tuple(modalities))
        self._parts.train(self._trains)
        return widen_scores(output).fused

    def _fuse(
        self, output: ModelOutput, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Returns the fused scores of other features or less presence, as the step itself computes them."""
        with self._fabric.autocast():
            fused = self._model.fuse(output, features, present)
        return widen_scores(replace(output, fused=fused)).fused

    def _compare(self, terms: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Compares the gradients of uni-modal and fused terms, before any balancer touches them."""
        fused = [term for name, term in terms.items() if name.startswith("fused/")]
        own = [term for name, term in terms.items() if not name.startswith("fused/")]
        branches = {name.partition("/")[0] for name in terms}
        shared = {name: of for name in self._model.modalities if name in branches and (of := self._parts.shared(name))}
        if not fused or not shared:
            return {}
        return compare_gradients(torch.stack(own).sum(), torch.stack(fused).sum(), shared, self._scaler)

    def _clip(self, parameters: list[nn.Parameter], longest: float, norm: Tensor) -> None:
        """Shortens the gradients where they are longer; those of heads that only watch by themselves."""
        if not self._watching:
            rescale(parameters, longest, norm)
            return
        for watches in (False, True):
            group = [parameter for parameter in parameters if (id(parameter) in self._watching) == watches]
            if any(parameter.grad is not None for parameter in group):
                rescale(group, longest, measure_norm(group))

    def _backward(
        self,
        total: Tensor,
        weighted: Mapping[str, Tensor],
        terms: Mapping[str, Tensor],
        *,
        step: Step,
        plan: Plan,
        parameters: list[nn.Parameter],
        share: float,
    ) -> None:
        if not total.requires_grad:
            return  # no sample of the batch has what the stage trains
        if "gradient_scales" not in self._hooks and not plan.separate_gradients:
            self._fabric.backward(total * share if share != 1.0 else total)
            return
        balancer, output = self._balancer, step.output
        assert balancer is not None
        assert output is not None
        scales = balancer.gradient_scales(terms, step) if "gradient_scales" in self._hooks else {}
        for name, features in output.features.items():
            if f"features/{name}" in scales and features.requires_grad:
                features.register_hook(  # type: ignore[no-untyped-call]
                    partial(apply_scale, scale=scales[f"features/{name}"])
                )
        # Not by `backward`, which adds to what the parameters hold of the batches before: those were scaled already.
        gradients: Sequence[Tensor | None]
        if plan.separate_gradients:
            columns = {
                name: compute_gradients(term, parameters, self._scaler, share) for name, term in weighted.items()
            }
            gradients = balancer.combine(columns, step)
        else:
            gradients = compute_gradients(total, parameters, self._scaler, share)
        part_of = {id(p): name for name in self._model.modalities for p in self._parts.parameters((name,))}
        scale_of = [scales.get(part_of.get(id(parameter), "")) for parameter in parameters]
        accumulate(parameters, gradients, scale_of)

    def _make_step(self, batch: Batch, moment: Moment, output: ModelOutput | None, teacher: ModelOutput | None) -> Step:
        return Step(moment.epoch, moment.step, moment.epochs, output, batch.targets, batch.sample_ids, teacher)

    def _refuse_flaws(
        self, terms: Mapping[str, float], batches: Sequence[Batch], moment: Moment, learning: set[int], *, flawed: bool
    ) -> None:
        modules: list[nn.Module] = [self._model, *([self._balancer] if self._balancer else [])]
        named = (pair for module in modules for pair in module.named_parameters())
        refuse_flaws(
            self._name_moment(moment),
            terms,
            (pair for pair in named if id(pair[1]) in learning),
            [name for batch in batches for name in batch.sample_ids],
            flawed=flawed and self._spec.precision != "16-mixed",  # there the step is skipped
        )

    def _name_moment(self, moment: Moment) -> str:
        return f"stage {self._stage.name}, epoch {moment.epoch}, step {moment.step}"

    def _set_rate(self, lr: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
