"""The watched steps of a stage: their time, divided among parts, and a trace of some of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fusionkit.interfaces import Batch
from fusionkit.models.build import FusionModel
from fusionkit.nn.timer import REST, Timer, label_nothing
from fusionkit.training.profiling.step_profile import Share, StageProfile, name_part
from fusionkit.training.profiling.trace import Trace, list_operators, merge_traces, sum_calls
from fusionkit.training.step.part_names import (
    AGGREGATOR,
    BACKWARD,
    DATA,
    ENCODERS,
    FUSION,
    HEADS,
    LOSSES,
    MOVE,
    OPTIMIZER,
)

SKIPPED, TIMED, TRACED = 5, 20, 2
"""Steps of a stage that warm up, that are timed, and that a trace shows, where the stage has as many left."""

MOST_SKIPPED = 50
"""Steps that are skipped, at most, where they fill the memory with samples."""

HEAVIEST, WORTH_TELLING = 3, 0.05
"""Operators that are told, and the share of a step from which one is."""


class Watch:
    """The steps of one stage: first those that warm up, then those that are timed, then those that are traced.

    Hooks stand on the network from the first timed step to the last one that is watched.

    Args:
        stage: Its name.
        left: Optimizer steps that are left of it.
        model: The network.
        batches: Batches of its first epoch.
        fills: Steps in which samples are loaded that later ones take from memory; they warm up too if not too many.
    """

    def __init__(self, stage: str, left: int, model: FusionModel, *, batches: int, fills: int = 0) -> None:
        self._stage, self._model, self._batches, self._fills = stage, model, batches, fills
        self._skipped = min(max(SKIPPED, fills if fills <= MOST_SKIPPED else 0), left // 3)
        self._traced = min(TRACED, (left - self._skipped) // 2)
        self._timed = min(TIMED, left - self._skipped - self._traced)
        self._device = next(model.parameters()).device
        self._done = self._timed_samples = 0
        self._timer: Timer | None = None
        self._trace: Trace | None = None
        self._traces: list[Trace] = []
        self._sums: dict[str, float] = defaultdict(float)
        self._durations: list[float] = []
        self._hooks: list[RemovableHandle] = []

    @property
    def is_over(self) -> bool:
        """True as soon as all steps that were to be watched are."""
        return self._done >= self._skipped + self._timed + self._traced

    def steps(self, groups: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        """Yields the batches of every step of an epoch until all steps are watched.

        A step lasts from when its batches are asked for until those of the next are, with all that is done meanwhile.
        """
        while not self.is_over:
            self._begin()
            with self.label(DATA):
                batches = next(groups, None)
            if batches is None:  # what has begun is no step: the epoch is out of batches
                self._drop()
                return
            yield batches
            self._end(sum(len(batch.sample_ids) for batch in batches))

    def label(self, part: str) -> AbstractContextManager[None]:
        """Counts the time within it for a part of the step, where a step is timed or traced."""
        return label_nothing(part) if self._timer is None else self._timer.label(part)

    def close(self) -> None:
        """Takes the hooks away."""
        self._drop()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def summarise(self) -> StageProfile | None:
        """Returns what the timed steps and the traced ones say; None where none was timed."""
        steps = len(self._durations)
        if not steps:
            return None
        total = sum(self._durations)
        parts = [(*part, self._sums[name_part(*part)]) for part in self._list_parts() if name_part(*part) in self._sums]
        traced = [trace.calls() for trace in self._traces]
        heavy = [each for each in list_operators(traced) if each.seconds >= WORTH_TELLING * total / steps]
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
            parts=tuple(Share(part, name, seconds / steps, seconds / total) for part, name, seconds in parts),
            operators=tuple(heavy[:HEAVIEST]),
            calls=sum_calls(traced),
        )

    def trace(self) -> dict[str, Any]:
        """Returns the traced steps in Chrome's format."""
        return merge_traces([trace.export() for trace in self._traces])

    def _begin(self) -> None:
        if self._done < self._skipped:
            return
        if not self._hooks:
            self._hooks = list(self._hook())
        if self._done >= self._skipped + self._timed:
            self._trace = Trace(self._device)
        # A traced step waits for no device, so that the trace shows what runs beside what.
        self._timer = Timer(torch.device("cpu") if self._trace else self._device)

    def _end(self, samples: int) -> None:
        timer, trace = self._timer, self._trace
        self._done += 1
        if trace is None and timer is not None:
            timer.book()
            self._timed_samples += samples
            self._durations.append(sum(timer.seconds.values()))
            for part, seconds in timer.seconds.items():
                self._sums[part] += seconds
        elif trace is not None:
            self._traces.append(trace)
        self._drop()

    def _drop(self) -> None:
        if self._trace is not None:
            self._trace.stop()
        self._timer = self._trace = None

    def _list_parts(self) -> Iterator[tuple[str, str | None]]:
        """Yields all parts in the order of a step, and the modality whose part each is."""
        yield from ((DATA, None), (MOVE, None))
        yield from ((part, name) for name in self._model.modalities for part in (ENCODERS, AGGREGATOR, HEADS))
        yield from ((part, None) for part in (FUSION, LOSSES, BACKWARD, OPTIMIZER, REST))

    def _hook(self) -> Iterator[RemovableHandle]:
        for name in self._model.modalities:
            branch = self._model.branch(name)
            for module in branch.encoders:
                yield from self._hook_module(module, name_part(ENCODERS, name))
            for module in (branch.aggregator, branch.norm, branch.dropout):
                yield from self._hook_module(module, name_part(AGGREGATOR, name))
            for target in branch.heads:
                yield from self._hook_module(branch.heads[target], name_part(HEADS, name))
        for module in (self._model.fusion, *(self._model.head(target) for target in self._model.targets)):
            yield from self._hook_module(module, FUSION)

    def _hook_module(self, module: nn.Module, part: str) -> tuple[RemovableHandle, RemovableHandle]:
        def enter(*_: object) -> None:
            if self._timer is not None:
                self._timer.enter(part)

        def leave(*_: object) -> None:
            if self._timer is not None:
                self._timer.leave()

        return module.register_forward_pre_hook(enter), module.register_forward_hook(leave)
