"""The steps of a stage that are watched: what their time is divided among, and a trace of some of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fusionkit.model import FusionModel
from fusionkit.training.recorders import REST, Clock, Part, Recorder, Tracer

SKIPPED, TIMED, TRACED = 5, 20, 2
"""Steps of a stage that warm up, that are timed, and that a trace shows, where the stage has as many left."""

HEAVIEST = 3
"""Operators that are told."""

DATA, MOVE = "waiting for data", "moving to the device"
ENCODERS, AGGREGATOR, HEADS = "encoders", "aggregator", "uni-modal heads"
FUSION, LOSSES, BACKWARD, OPTIMIZER = "fusion and its heads", "losses and balancer", "backward", "optimizer"


@dataclass(frozen=True)
class Share:
    """What a part of a step takes.

    Args:
        part: What is done, such as ``backward``.
        modality: The modality whose part it is; None where it is nobody's own.
        seconds: Mean over the timed steps.
        share: Of the whole step.
    """

    part: str
    modality: str | None
    seconds: float
    share: float


@dataclass(frozen=True)
class Operator:
    """What an operator of PyTorch takes in a traced step.

    Args:
        name: Its name.
        calls: Calls of it.
        seconds: Seconds in it, without those of operators that it calls; on a GPU those of its kernels.
    """

    name: str
    calls: float
    seconds: float


@dataclass(frozen=True)
class StageProfile:
    """Where the time of a stage's steps goes.

    Args:
        stage: The stage.
        device: Where it computes.
        skipped: Steps that warmed up.
        steps: Steps that were timed.
        step_seconds: Mean seconds of one.
        median_seconds: Their median.
        parts: What a step consists of; their seconds add up to `step_seconds`.
        operators: The heaviest ones of a traced step.
        advice: What follows for the recipe.
    """

    stage: str
    device: str
    skipped: int
    steps: int
    step_seconds: float
    median_seconds: float
    parts: tuple[Share, ...]
    operators: tuple[Operator, ...]
    advice: str = ""

    def share(self, *parts: str) -> float:
        """The share of a step that these parts have, of all modalities together."""
        return sum(each.share for each in self.parts if each.part in parts)


class Watch:
    """The steps of one stage: first those that warm up, then those that are timed, then those that are traced.

    Hooks stand on the network and on the optimizer from the first timed step to the last one that is watched.

    Args:
        stage: Its name.
        left: Optimizer steps that are left of it.
        model: The network.
        optimizer: The optimizer of the stage.
    """

    def __init__(self, stage: str, left: int, model: FusionModel, optimizer: torch.optim.Optimizer) -> None:
        self._stage, self._model, self._optimizer = stage, model, optimizer
        self._skipped = min(SKIPPED, left // 3)
        self._traced = min(TRACED, (left - self._skipped) // 2)
        self._timed = min(TIMED, left - self._skipped - self._traced)
        self._device = next(model.parameters()).device
        self._recorder: Clock | Tracer | None = None
        self._begun, self._done = False, 0
        self._sums: dict[Part, float] = defaultdict(float)
        self._durations: list[float] = []
        self._tracers: list[Tracer] = []
        self._hooks: list[RemovableHandle] = []

    @property
    def is_over(self) -> bool:
        """Whether all steps that were to be watched are."""
        return self._done >= self._skipped + self._timed + self._traced

    def begin(self) -> None:
        """A step begins, if none has."""
        if self._begun:
            return
        self._begun = True
        if self._done < self._skipped:
            return
        if not self._hooks:
            self._hooks = list(self._hooked())
        traced = self._done >= self._skipped + self._timed
        self._recorder = Tracer(self._device) if traced else Clock(self._device)

    def end(self) -> None:
        """The step is done."""
        recorder = self._recorder
        if isinstance(recorder, Clock):
            recorder.book()
            self._durations.append(sum(recorder.seconds.values()))
            for part, seconds in recorder.seconds.items():
                self._sums[part] += seconds
        elif isinstance(recorder, Tracer):
            recorder.stop()
            self._tracers.append(recorder)
        self._recorder, self._begun = None, False
        self._done += 1

    def abandon(self) -> None:
        """The step that has begun is none."""
        if isinstance(self._recorder, Tracer):
            self._recorder.stop()
        self._recorder, self._begun = None, False

    def close(self) -> None:
        """Takes the hooks away."""
        self.abandon()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def part(self, part: str, modality: str | None = None) -> AbstractContextManager[None]:
        """Within it the time is that of a part of the step."""
        return nullcontext() if self._recorder is None else _within(self._recorder, (part, modality))

    def found(self) -> StageProfile | None:
        """What the timed steps and the traced ones say; None where none was timed."""
        steps = len(self._durations)
        if not steps:
            return None
        total = sum(self._durations)
        parts = [Share(*part, self._sums[part] / steps, self._sums[part] / total) for part in self._parts()]
        return StageProfile(
            self._stage,
            str(self._device),
            self._skipped,
            steps,
            total / steps,
            statistics.median(self._durations),
            tuple(parts),
            tuple(self._operators()[:HEAVIEST]),
        )

    def trace(self) -> dict[str, Any]:
        """The traced steps in Chrome's format."""
        traces = [tracer.trace() for tracer in self._tracers]
        return {**traces[0], "traceEvents": [each for of in traces for each in of["traceEvents"]]} if traces else {}

    def _parts(self) -> list[Part]:
        """All parts that took time, in the order of a step."""
        modal = [(part, name) for name in self._model.modalities for part in (ENCODERS, AGGREGATOR, HEADS)]
        whole = [(DATA, None), (MOVE, None), *modal, *((p, None) for p in (FUSION, LOSSES, BACKWARD, OPTIMIZER, REST))]
        return [part for part in whole if part in self._sums]

    def _operators(self) -> list[Operator]:
        sums: dict[str, tuple[int, float]] = {}
        for tracer in self._tracers:
            for name, (calls, seconds) in tracer.operators().items():
                before = sums.get(name, (0, 0.0))
                sums[name] = before[0] + calls, before[1] + seconds
        steps = len(self._tracers)
        operators = [Operator(name, calls / steps, seconds / steps) for name, (calls, seconds) in sums.items()]
        return sorted(operators, key=lambda operator: operator.seconds, reverse=True)

    def _hooked(self) -> Iterator[RemovableHandle]:
        for name in self._model.modalities:
            branch = self._model.branch(name)
            for module in branch.encoders:
                yield from self._on_module(module, (ENCODERS, name))
            for module in (branch.aggregator, branch.norm, branch.dropout):
                yield from self._on_module(module, (AGGREGATOR, name))
            for target in branch.heads:
                yield from self._on_module(branch.heads[target], (HEADS, name))
        for module in (self._model.fusion, *(self._model.head(target) for target in self._model.targets)):
            yield from self._on_module(module, (FUSION, None))
        yield self._optimizer.register_step_pre_hook(lambda *_: self._enter((OPTIMIZER, None)))
        yield self._optimizer.register_step_post_hook(lambda *_: self._leave())

    def _on_module(self, module: nn.Module, part: Part) -> tuple[RemovableHandle, RemovableHandle]:
        return (
            module.register_forward_pre_hook(lambda *_: self._enter(part)),
            module.register_forward_hook(lambda *_: self._leave()),
        )

    def _enter(self, part: Part) -> None:
        if self._recorder is not None:
            self._recorder.enter(part)

    def _leave(self) -> None:
        if self._recorder is not None:
            self._recorder.leave()


@contextmanager
def _within(recorder: Recorder, part: Part) -> Iterator[None]:
    recorder.enter(part)
    try:
        yield
    finally:
        recorder.leave()
