"""The words of a training: the log, TensorBoard, and a bar with losses and the remaining time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch.utils.tensorboard import SummaryWriter

from fusionkit.interfaces import Stage
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.checkpoint import Position
from fusionkit.training.step.outcome import Outcome


class Journal:
    """Writes what happens in a training; only the first of several processes does.

    The log has a line per optimizer step and one per epoch. TensorBoard is given the epochs, which costs a step
    nothing. Where ``train.gradient_cosines`` asks for it, a step's line has ``gradients``: by modality, the cosine and
    the norms of the gradients of its uni-modal and of the fused losses (unweighted, of the first process's first batch
    of the step). No line holds a time, so a resumed run writes the very log of one that was not interrupted.

    Args:
        run: The run folder.
        records: Lines of the log that count already; what a stopped run wrote after them is dropped.
        step: Optimizer steps so far, over all stages.
        progress: Show a bar.
        active: Whether this process writes.
    """

    def __init__(self, run: RunFolder, *, records: int, step: int, progress: bool, active: bool) -> None:
        self.records = records
        self._run, self._active = run, active
        self._bar: Progress | None = None
        if active:
            run.log.truncate(records)
            self._events = SummaryWriter(run.tensorboard, purge_step=step)
            self._bar = _make_bar() if progress else None
        self._task: Any = None
        self._untold: list[Mapping[str, Any]] = []
        self._told_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self.flush()
        if self._active:
            self._events.close()

    def stage(self, name: str, steps: int, done: int) -> None:
        """Begins a stage, or goes on with it after a resume."""
        if self._bar is not None:
            self._task = self._bar.add_task(name, total=steps, completed=done, losses="")

    def step(self, record: Mapping[str, Any]) -> None:
        """Notes that an optimizer step is done."""
        self._append(record)
        if self._bar is not None:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in record["terms"].items())
            self._bar.update(self._task, advance=1, losses=f"epoch {record['epoch']}  {shown}")

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Notes that an epoch is done."""
        self._append(record)
        self.flush()
        if self._active:
            for name in ("training", "validation"):
                if record[name] is not None:
                    tag = f"{record['stage']}/{name}_loss"
                    self._events.add_scalar(tag, record[name], record["step"])
            tag = f"{record['stage']}/learning_rate"
            self._events.add_scalar(tag, record["lr"], record["step"])

    def flush(self) -> None:
        """Brings what was told to the log: before a checkpoint, after an epoch, and every second."""
        if self._untold and self._active:
            self._run.log.append(self._untold)
        self._untold = []
        self._told_at = time.monotonic()

    def _append(self, record: Mapping[str, Any]) -> None:
        self.records += 1
        self._untold.append(record)
        if time.monotonic() - self._told_at > 1.0:
            self.flush()


def describe_step(position: Position, stage: Stage, lr: float, outcome: Outcome) -> dict[str, Any]:
    """Returns the line of the log of the step that is finished."""
    return {
        "step": position.total_steps,
        "stage": stage.name,
        "epoch": position.epoch,
        "lr": lr,
        "loss": outcome.loss,
        "terms": outcome.terms,
        **({"gradients": outcome.gradients} if outcome.gradients else {}),
    }


def describe_epoch(
    position: Position,
    stage: Stage,
    lr: float,
    *,
    training: float,
    validation: float | None,
    terms: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Returns the line of the log of an epoch whose steps are finished.

    Args:
        position: Where the training stands.
        stage: The stage.
        lr: The learning rate of the last step.
        training: The mean loss of its steps.
        validation: The monitored loss; None where no samples are held out.
        terms: By loss term, the validation loss.
    """
    return {
        "step": position.total_steps,
        "stage": stage.name,
        "epoch": position.epoch,
        "lr": lr,
        "training": training,
        "validation": validation,
        "validation_terms": terms,
    }


def _make_bar() -> Progress:
    """Makes a line on the error output; where it is too long, the losses end with an ellipsis, and nothing else."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[losses]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=Console(stderr=True),
        expand=True,
    )
