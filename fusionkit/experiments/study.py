"""An experiment that is open: one object from its file to its cost and its results."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from fusionkit.data.films import Preparation, PreparationCost
from fusionkit.data.sources import Datasets
from fusionkit.execution.workers import count_processors, show_progress
from fusionkit.experiments.agenda import UNCHANGED, Agenda, Tuned, make_agenda
from fusionkit.experiments.compared_metric import find_compared_metric
from fusionkit.experiments.cost import ExperimentCost, estimate_cost
from fusionkit.experiments.experiment import Experiment, load_experiment
from fusionkit.experiments.job import Failure, Job, is_finished, run_jobs
from fusionkit.experiments.out_folder import claim_out_folder, refuse_no_place
from fusionkit.experiments.prerequisites import (
    check_networks,
    check_pretraining,
    estimate_films,
    find_missing_pretraining,
    prepare_films,
    pretrain,
)
from fusionkit.experiments.result_files import refuse_newer_results, write_results
from fusionkit.experiments.results import make_results
from fusionkit.storage.environment import DEVICE
from fusionkit.storage.records.results import Results


class Study(ABC):
    """An experiment or a comparison that is open: its recipes are checked, its datasets opened, its runs listed.

    Make one with `open_experiment` or `open_comparison`.

    Args:
        experiment: The experiment.
        out: The folder of the runs; ``results.json``, ``table.md`` and ``figures`` are left in it.
        tuned: As for `plan_jobs`.

    Raises:
        RecipeError: The experiment names folds or a metric that there are not.
        RunError: The folder of the runs is none, cannot be made or written, or holds runs of other recipes.
    """

    def __init__(self, experiment: Experiment, out: Path, *, tuned: Tuned | None = UNCHANGED) -> None:
        refuse_no_place(out)
        refuse_newer_results(out, experiment.targets)
        self.experiment, self.out, self.datasets, self._tuned = experiment, out, Datasets(), tuned
        self._of_films = any(self.datasets.source(recipe.data).clips for recipe in experiment.recipes.values())
        if self._of_films:  # what is wrong is said by what datasets list, before films are prepared for hours
            listed = self.datasets.with_films("listed")
            self._listed = make_agenda(experiment, out, listed, check_data=False, tuned=tuned)
            list(split_by_target(self._listed, listed))
        else:
            self._listed = self.agenda
            list(split_by_target(self.agenda, self.datasets))

    @cached_property
    def agenda(self) -> Agenda:
        """The runs; the films of its recipes must be prepared."""
        return make_agenda(self.experiment, self.out, self.datasets, tuned=self._tuned)

    def check_pretraining(self) -> None:
        """Makes sure that what encoders start from is there, or can be trained.

        Raises:
            RecipeError: A pretraining cannot be done.
        """
        check_pretraining(find_missing_pretraining(self.experiment), self.datasets)

    def estimate_films(self, *, timed: int = 3) -> list[PreparationCost]:
        """Estimates the cost of preparing the films of the experiment, for every dataset with unprepared films.

        Args:
            timed: How many clips of each are prepared for the clock.

        Raises:
            DataError: A dataset cannot be opened.
        """
        return estimate_films(self.experiment.recipes.values(), self.datasets, timed=timed) if self._of_films else []

    def prepare(self, *, processes: int | None = None, progress: bool = False) -> list[Preparation]:
        """Prepares the films that are not prepared yet; before that it checks the pretraining.

        Args:
            processes: Clips at a time.
            progress: Show a bar with the remaining time.

        Raises:
            RecipeError: A pretraining cannot be done.
            DataError: A dataset cannot be opened.
            RunError: A cache cannot be written.
        """
        self.check_pretraining()
        recipes = self.experiment.recipes.values() if self._of_films else ()
        return prepare_films(recipes, self.datasets, processes=processes, progress=progress)

    def cost(self, *, processes: int | None = None) -> ExperimentCost:
        """Estimates what is left of the experiment from timed steps; nothing is written.

        Films need not be prepared, nor need there be what encoders start from: steps are timed on noise that is as long
        as the headers of films say.

        Args:
            processes: Runs at a time, as for `run`.

        Raises:
            RecipeError: An epoch of a variant takes longer than the budget of time.
            DataError: The data are missing or damaged.
            RunError: The folder holds runs of other recipes.
        """
        agenda, datasets = self._listed, self.datasets.with_films("foreseen")
        if not self.estimate_films(timed=0):
            agenda, datasets = self.agenda, self.datasets
        agenda, jobs = self._foresee(agenda, datasets)
        waiting = [job for job in jobs if not is_finished(job)]
        return estimate_cost(agenda, waiting, datasets, processes or count_runs_at_a_time())

    def run(self, *, processes: int | None = None, progress: bool = False) -> Results:
        """Does the runs that are left, and compares the variants.

        Films are prepared that are not, what encoders start from is trained where the experiment says how and it is not
        there, and every network is built once. A run is a run folder, ``out/runs/<variant>/<fold>/<seed>``. Finished
        ones are kept, begun ones resumed, so an experiment that was stopped goes on where it was when it is started
        again. A run that fails is reported with its error and stops no other. With several processes a script calls
        this under ``if __name__ == "__main__":``, for workers import it.

        Args:
            processes: Runs at a time, each on one thread; when left out as many as there are processors, and one where
                there is a GPU, which they would share.
            progress: Show a bar with the remaining time.

        Returns:
            What ``results.json`` holds: experiment, protocol, rows, summary, failures and environment. Of several
            targets those of the first; `write_results` says where the others are. Of a comparison also
            ``comparison``: budget, tuning, ranks, corrected tests and costs.

        Raises:
            RecipeError: A pretraining or a network cannot be made.
            RunError: The folder cannot be written, another process works in it, or the results cannot be written.
        """
        self.check_pretraining()
        with claim_out_folder(self.out):
            self.prepare(processes=processes, progress=progress)
            return self._run(processes, progress=progress)

    @abstractmethod
    def _foresee(self, agenda: Agenda, datasets: Datasets) -> tuple[Agenda, Sequence[Job]]:
        """Returns the agenda and all jobs whose cost is to be estimated."""

    @abstractmethod
    def _run(self, processes: int | None, *, progress: bool) -> Results:
        """Does the runs in a folder that is this process's own, and returns the results."""


class _OpenExperiment(Study):
    """An experiment that is open."""

    def _foresee(self, agenda: Agenda, datasets: Datasets) -> tuple[Agenda, Sequence[Job]]:
        return agenda, agenda.jobs

    def _run(self, processes: int | None, *, progress: bool) -> Results:
        begin(self.agenda, self.datasets, progress=progress)
        failures = run_waiting("runs", self.agenda.jobs, self.datasets, processes, progress=progress)
        agendas = split_by_target(self.agenda, self.datasets)
        first, *_ = [write_results(make_results(each, failures), self.out) for each in agendas]
        return first


def open_experiment(path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Opens an experiment: variants of a recipe over folds and seeds, and what may be concluded from them.

    Every variant's recipe is checked, and every dataset is opened once, before anything runs.

    Args:
        path: The experiment file.
        out: The folder of the runs.
        overrides: ``key.path=value``; a first key of the experiment format (such as ``seeds``) changes the
            experiment, any other the recipe of every variant.

    Raises:
        RecipeError: Every problem of the experiment file and of all its recipes.
        RunError: The folder of the runs is none, cannot be made or written, or holds runs of other recipes.
    """
    return _OpenExperiment(load_experiment(path, overrides), Path(out))


def split_by_target(agenda: Agenda, datasets: Datasets) -> Iterator[Agenda]:
    """Yields the same agenda for every target that is compared.

    Raises:
        RecipeError: A target's loss head has no such metric.
    """
    for target in agenda.experiment.targets:
        experiment = agenda.experiment.of_target(target)
        yield replace(agenda, experiment=experiment, compared=find_compared_metric(experiment, datasets))


def begin(agenda: Agenda, datasets: Datasets, *, progress: bool) -> None:
    """Trains what encoders start from, and builds every network once."""
    for todo in find_missing_pretraining(agenda.experiment):
        pretrain(todo, datasets, progress=progress)
    check_networks([job for job in agenda.jobs if not is_finished(job)])


def run_waiting(
    what: str, jobs: Sequence[Job], datasets: Datasets, processes: int | None, *, progress: bool
) -> list[Failure]:
    """Does the jobs that are not finished, and returns those that failed."""
    waiting = [job for job in jobs if not is_finished(job)]
    with show_progress(what, len(waiting), len(jobs) - len(waiting), shown=progress) as advance:

        def report(job: Job, failure: Failure | None) -> None:
            advance(f"{job.name}: {failure.error}" if failure else "")

        return run_jobs(waiting, datasets, processes or count_runs_at_a_time(), report)


def count_runs_at_a_time() -> int:
    """Counts how many runs go on at a time where nobody says it: one per processor, or one on a GPU."""
    on_gpu = torch.cuda.is_available() and os.environ.get(DEVICE) != "cpu"
    return 1 if on_gpu else count_processors()
