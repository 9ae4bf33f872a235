"""One run of an experiment: whether it is finished, and how it is done, here or on several processes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fusionkit.config.plugins import import_plugins
from fusionkit.config.schema import Recipe
from fusionkit.data.sources import Datasets
from fusionkit.errors import FusionKitError, RecipeError, RunError
from fusionkit.execution import workers
from fusionkit.storage.locks import refuse_if_taken
from fusionkit.storage.records.card import Card
from fusionkit.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        variant: The variant that trains.
        fold: The name of the fold.
        seed: The seed.
        recipe: The complete recipe, fold and seed included.
        folder: The run folder.
    """

    variant: str
    fold: str
    seed: int
    recipe: Recipe
    folder: str

    @property
    def name(self) -> str:
        """The name by which messages call it."""
        return f"{self.variant}, {self.fold}, seed {self.seed}"

    @property
    def run(self) -> RunFolder:
        """The run folder, whether it has been begun or not."""
        return RunFolder(self.folder, plugins=self.recipe.plugins)


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why.

    Args:
        job: The run.
        error: The message.
        traceback: Where it came from; empty for errors that say enough.
    """

    job: Job
    error: str
    traceback: str = ""


Report = Callable[[Job, Failure | None], None]


def is_finished(job: Job) -> bool:
    """Tells whether a run needs nothing more."""
    if not job.run.finished:
        return False
    try:
        read_card(job)
    except RunError:
        return False  # not evaluated, or its card is damaged: it is evaluated again
    return True


def read_card(job: Job) -> Card:
    """Reads the card of a run.

    Raises:
        RunError: There is none, it is damaged, or says nothing of a target.
    """
    card = job.run.read_card()
    if lacking := sorted(set(job.recipe.model.targets) - set(card.targets)):
        raise RunError(f"{job.run.card_file}: is damaged; targets: says nothing of {', '.join(lacking)}")
    return card


def do(job: Job, datasets: Datasets, *, progress: bool = False) -> Failure | None:
    """Trains (or resumes) and evaluates one run; what goes wrong is returned, so that others go on."""
    from fusionkit.evaluation import evaluate
    from fusionkit.training import train

    try:
        if problems := import_plugins(job.recipe.plugins):  # a worker is a fresh interpreter and knows none yet
            raise RecipeError(problems)
        run = job.run
        if run.begun and not run.finished:  # held by what an experiment that was killed has left, it is ending
            refuse_if_taken(run.path, wait=workers.GRACE_SECONDS)
        if not run.finished:
            run = train(job.recipe, job.folder, progress=progress, datasets=datasets)
        evaluate(run, datasets=datasets)
    except FusionKitError as error:
        return Failure(job, str(error))
    except Exception as error:  # reported with the result; the other runs are worth having
        return Failure(job, f"{type(error).__name__}: {error}", traceback.format_exc())
    return None


def run_jobs(jobs: Sequence[Job], datasets: Datasets, processes: int, report: Report) -> list[Failure]:
    """Does all jobs, each on one thread, and reports every end.

    With one process they run in this one; with several in workers. Each worker opens its own datasets and keeps them
    from run to run. A worker that dies fails its run only. Ctrl-C asks the workers to write their checkpoints and waits
    for them.

    Args:
        jobs: The runs, in order.
        datasets: Datasets that are open.
        processes: How many run at a time.
        report: Called in this process as runs end.

    Returns:
        The runs that failed.
    """
    failures: list[Failure] = []

    def ended(job: Job, result: Failure | workers.Death | None) -> None:
        if isinstance(result, workers.Death):
            result = Failure(job, f"the process that ran it ended with exit status {result.status}")
        if result is not None:
            failures.append(result)
        report(job, result)

    workers.run_jobs(jobs, partial(do, datasets=datasets), processes, ended)
    return failures
