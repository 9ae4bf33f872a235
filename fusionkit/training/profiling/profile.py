"""A profile says where the time of a training's steps goes, and changes no number of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Self

from fusionkit.data.loading.feed import Feed
from fusionkit.interfaces import Batch
from fusionkit.models.build import FusionModel
from fusionkit.nn.timer import label_nothing
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.profiling.advice import advise_on
from fusionkit.training.profiling.step_profile import StageProfile
from fusionkit.training.profiling.watch import Watch


class Profile:
    """Watches some steps of every stage of a training, after a few that warm up.

    The time of a step is divided among its parts by one timer, which always runs for the innermost, so the parts add up
    to the step. On a GPU every part is waited for while steps are timed, so that its own kernels count in it; such
    steps are slower than others. A few more steps are traced, without waiting. What is found is written into the run
    folder as soon as a stage's steps are watched.

    Args:
        told: Called then with what was found.
    """

    def __init__(self, told: Callable[[StageProfile], None] | None = None) -> None:
        self.stages: list[StageProfile] = []
        self._told = told
        self._run: RunFolder | None = None
        self._watch: Watch | None = None
        self._events: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._conclude()
        elif self._watch is not None:
            self._watch.close()
            self._watch = None

    def begin_stage(self, stage: str, feed: Feed, left: int, *, model: FusionModel, run: RunFolder) -> None:
        """Begins to watch a stage, or goes on with it after a resume.

        Args:
            stage: Its name.
            feed: Its batches.
            left: Steps that are left of it.
            model: The network.
            run: Where summary and trace go.
        """
        self._conclude()
        if left < 1:
            return
        data, batches = run.recipe.data, feed.count(0)
        fills = -(-batches // run.recipe.train.accumulate) if data.cache else 0
        fills *= max(1, 3 * data.workers)  # each worker keeps what it loaded, and is given other samples every epoch
        self._run, self._watch = run, Watch(stage, left, model, batches=batches, fills=fills)

    def steps(self, groups: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        """Yields the batches of every step of an epoch, and watches some of the steps."""
        watch = self._watch
        if watch is not None:
            yield from watch.steps(groups)
            if watch.is_over:
                self._conclude()
        yield from groups

    def label(self, part: str) -> AbstractContextManager[None]:
        """Counts the time within it for a part of the step, where a step is watched."""
        return label_nothing(part) if self._watch is None else self._watch.label(part)

    def _conclude(self) -> None:
        """Tells what was found of a stage."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.close()
        found = watch.summarise()
        if found is None:
            return
        assert self._run is not None
        found = replace(found, advice=advise_on(found, self._run.recipe))
        self.stages.append(found)
        trace = watch.trace()
        self._events += trace.get("traceEvents", [])
        summary = {"stages": [asdict(stage) for stage in self.stages]}
        self._run.write_profile(summary, {**trace, "traceEvents": self._events})
        if self._told is not None:
            self._told(found)
