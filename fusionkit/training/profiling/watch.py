"""The steps of a stage that are watched: what their time is divided among, and a trace of some of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fusionkit.models.build import FusionModel
from fusionkit.training.profiling.clock import REST, Clock, Part, Recorder, Tracer
from fusionkit.training.profiling.records import (
    AGGREGATOR,
    BACKWARD,
    DATA,
    ENCODERS,
    FUSION,
    HEADS,
    LONG_CALL,
    LOSSES,
    MOVE,
    OPTIMIZER,
    Calls,
    Operator,
    Share,
    StageProfile,
)

SKIPPED, TIMED, TRACED = 5, 20, 2
"""Steps of a stage that warm up, that are timed, and that a trace shows, where the stage has as many left."""

MOST_SKIPPED = 50
"""Steps that are skipped, at most, where they fill the memory with samples."""

HEAVIEST, WORTH_TELLING = 3, 0.05
"""Operators that are told, and the share of a step from which one is."""


class Watch:
    """The steps of one stage: first those that warm up, then those that are timed, then those that are traced.

    Hooks stand on the network and on the optimizer from the first timed step to the last one that is watched.

    Args:
        stage: Its name.
        left: Optimizer steps that are left of it.
        model: The network.
        optimizer: The optimizer of the stage.
        batches: Batches of its first epoch.
        fills: Steps in which samples are loaded that later ones take from memory; they warm up too if not too many.
    """

    def __init__(
        self,
        stage: str,
        left: int,
        model: FusionModel,
        optimizer: torch.optim.Optimizer,
        *,
        batches: int,
        fills: int = 0,
    ) -> None:
        self._stage, self._model, self._optimizer = stage, model, optimizer
        self._batches, self._fills = batches, fills
        self._skipped = min(max(SKIPPED, fills if fills <= MOST_SKIPPED else 0), left // 3)
        self._traced = min(TRACED, (left - self._skipped) // 2)
        self._timed = min(TIMED, left - self._skipped - self._traced)
        self._device = next(model.parameters()).device
        self._recorder: Clock | Tracer | None = None
        self._begun, self._done = False, 0
        self._samples = self._timed_samples = 0
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
        self._begun, self._samples = True, 0
        if self._done < self._skipped:
            return
        if not self._hooks:
            self._hooks = list(self._hooked())
        traced = self._done >= self._skipped + self._timed
        self._recorder = Tracer(self._device) if traced else Clock(self._device)

    def given(self, samples: int) -> None:
        """The step has so many more samples to learn from."""
        self._samples += samples

    def end(self) -> None:
        """The step is done."""
        recorder = self._recorder
        if isinstance(recorder, Clock):
            recorder.book()
            self._timed_samples += self._samples
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
        traced = [tracer.calls() for tracer in self._tracers]
        heavy = [each for each in _operators(traced) if each.seconds >= WORTH_TELLING * total / steps]
        return StageProfile(
            stage=self._stage,
            device=str(self._device),
            batches=self._batches,
            skipped=self._skipped,
            steps=steps,
            filling=min(max(0, self._fills - self._skipped), steps),
            step_samples=self._timed_samples / steps,
            step_seconds=total / steps,
            median_seconds=statistics.median(self._durations),
            parts=tuple(parts),
            operators=tuple(heavy[:HEAVIEST]),
            calls=min(map(_summed, traced), key=lambda calls: calls.seconds, default=Calls()),
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


def _operators(traced: Sequence[Sequence[tuple[str, float]]]) -> list[Operator]:
    """The operators that every traced step calls, the heaviest first."""
    steps = []
    for calls in traced:
        seconds: dict[str, list[float]] = defaultdict(list)
        for name, own in calls:
            seconds[name].append(own)
        steps.append({name: Operator(name, len(of), sum(of)) for name, of in seconds.items()})
    shared = set(steps[0]).intersection(*steps) if steps else set[str]()
    least = [min((step[name] for step in steps), key=lambda operator: operator.seconds) for name in shared]
    return sorted(least, key=lambda operator: operator.seconds, reverse=True)


def _summed(calls: Sequence[tuple[str, float]]) -> Calls:
    seconds = [own for _, own in calls]
    return Calls(len(seconds), sum(seconds), sum(own for own in seconds if own >= LONG_CALL))


@contextmanager
def _within(recorder: Recorder, part: Part) -> Iterator[None]:
    recorder.enter(part)
    try:
        yield
    finally:
        recorder.leave()
