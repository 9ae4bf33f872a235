"""Where the time of a training's steps goes: `Profile` watches them without changing a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from fusionkit.data.loading.feed import Feed
from fusionkit.interfaces import Batch, ModelOutput, Repeat
from fusionkit.models.build import FusionModel
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.learner import Learner, Outcome
from fusionkit.training.profiling.advice import advice_on
from fusionkit.training.profiling.clock import REST
from fusionkit.training.profiling.records import BACKWARD, DATA, LOSSES, MOVE, StageProfile
from fusionkit.training.profiling.watch import Watch


class Profile:
    """Watches some steps of every stage of a training, after a few that warm up.

    The time of a step is divided among its parts by one clock, which always runs for the innermost, so the parts add up
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
        self._pending = self._learnt = self._last = False
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

    def learner(self, *args: Any, **options: Any) -> Learner:
        """A `Learner` whose steps can be watched."""
        return _WatchedLearner(self, *args, **options)

    def watch(
        self,
        stage: str,
        feed: Feed,
        left: int,
        *,
        model: FusionModel,
        optimizer: torch.optim.Optimizer,
        run: RunFolder,
    ) -> Feed:
        """A stage begins, or goes on.

        Args:
            stage: Its name.
            feed: Its batches.
            left: Steps that are left of it.
            model: The network.
            optimizer: The optimizer of the stage.
            run: Where summary and trace go.

        Returns:
            The feed to take in its place; the steps whose batches it gives are watched.
        """
        self._conclude()
        if left < 1:
            return feed
        data, batches = run.recipe.data, feed.count(0)
        fills = -(-batches // run.recipe.train.accumulate) if data.cache else 0
        fills *= max(1, 3 * data.workers)  # each worker keeps what it loaded, and is given other samples every epoch
        self._run, self._watch = run, Watch(stage, left, model, optimizer, batches=batches, fills=fills)
        self._pending = self._learnt = self._last = False
        return _WatchedFeed(feed, self)

    def part(self, part: str) -> AbstractContextManager[None]:
        """Within it the time is that of a part of the step."""
        return nullcontext() if self._watch is None else self._watch.part(part)

    def fetches(self) -> None:
        """The next batch is asked for: a step that has learnt ends here, with all that the loop did after it."""
        if self._watch is not None and self._learnt:
            self._step_ends()
        if self._watch is not None:
            self._watch.begin()

    def fetched(self, samples: int) -> None:
        """The batch is there, of so many samples."""
        self._pending = True
        if self._watch is not None:
            self._watch.given(samples)

    def has_no_more(self) -> None:
        """The epoch is out of batches; a step with fewer than it accumulates may still have to learn from them."""
        self._last = self._pending
        if self._watch is not None and not self._pending:
            self._watch.abandon()

    def learns(self) -> None:
        """A step has learnt."""
        self._pending, self._learnt = False, True
        if self._last and self._watch is not None:
            self._step_ends()

    def _step_ends(self) -> None:
        assert self._watch is not None
        self._watch.end()
        self._learnt = self._last = False
        if self._watch.is_over:
            self._conclude()

    def _conclude(self) -> None:
        """Tells what was found of a stage."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.close()
        found = watch.found()
        if found is None:
            return
        assert self._run is not None
        found = replace(found, advice=advice_on(found, self._run.recipe))
        self.stages.append(found)
        trace = watch.trace()
        self._events += trace.get("traceEvents", [])
        summary = {"stages": [asdict(stage) for stage in self.stages]}
        self._run.write_profile(summary, {**trace, "traceEvents": self._events})
        if self._told is not None:
            self._told(found)


class _WatchedFeed(Feed):
    """A feed that says when it is asked and how long it is waited for."""

    def __init__(self, feed: Feed, profile: Profile) -> None:
        self._feed, self._profile = feed, profile
        feed.move_within(partial(profile.part, MOVE))

    def repeat(self, repeats: Iterable[Repeat]) -> None:
        self._feed.repeat(repeats)

    def count(self, epoch: int) -> int:
        return self._feed.count(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        profile, batches = self._profile, None
        while True:
            profile.fetches()
            with profile.part(DATA):
                batches = self._feed.epoch(epoch, start) if batches is None else batches
                batch = next(batches, None)
            if batch is None:
                profile.has_no_more()
                return
            profile.fetched(len(batch.sample_ids))
            yield _WatchedBatch(batch.inputs, batch.targets, batch.sample_ids, batch.pending, profile)


@dataclass(frozen=True)
class _WatchedBatch(Batch):
    """A batch that says how long it takes to move."""

    profile: Profile | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        with nullcontext() if self.profile is None else self.profile.part(MOVE):
            return super().to(device, non_blocking=non_blocking)


class _WatchedLearner(Learner):
    """A learner that says which part of its step it is in; it computes what a `Learner` computes."""

    def __init__(self, profile: Profile, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._profile = profile

    def __call__(self, *args: Any, **options: Any) -> Outcome:
        outcome = super().__call__(*args, **options)
        self._profile.learns()
        return outcome

    def _learn_from(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        with self._profile.part(LOSSES):
            return super()._learn_from(*args, **options)

    def _forward(self, *args: Any, **options: Any) -> ModelOutput:
        with self._profile.part(REST):
            return super()._forward(*args, **options)

    def _backward(self, *args: Any, **options: Any) -> None:
        with self._profile.part(BACKWARD):
            super()._backward(*args, **options)
