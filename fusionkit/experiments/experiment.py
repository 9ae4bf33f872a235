"""An experiment from its file to its table."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fusionkit.config.differences import find_differences
from fusionkit.config.recipe import load_recipe
from fusionkit.data.sources import datasets_foreseen, datasets_listed, datasets_shared
from fusionkit.errors import RecipeError, RunError
from fusionkit.execution.workers import count_processors, show_progress
from fusionkit.experiments.agenda import UNCHANGED, Agenda, Failure, Job, Tuned, is_finished, make_agenda
from fusionkit.experiments.completed import compared_metric
from fusionkit.experiments.cost import ExperimentCost, estimate_cost
from fusionkit.experiments.pool import run_jobs
from fusionkit.experiments.prerequisites import (
    check_networks,
    check_pretraining,
    films_that_wait,
    missing_pretraining,
    prepare_films,
    pretrain,
)
from fusionkit.experiments.results import make_results
from fusionkit.experiments.spec import Experiment, load_experiment
from fusionkit.report.figures.folds import draw_figures
from fusionkit.report.text.tables import markdown
from fusionkit.storage.environment import DEVICE
from fusionkit.storage.experiment_folder import further_results
from fusionkit.storage.files import LOCK, as_json, folder_name, read_json, replace_file, sole_worker
from fusionkit.storage.results import Results

_LONGEST_NAME = 255
"""Bytes of a file's name that every common file system allows."""


def run_experiment(
    path: str | Path,
    out: str | Path,
    *,
    processes: int | None = None,
    progress: bool = False,
    overrides: Sequence[str] = (),
) -> Results:
    """Runs the variants of an experiment over folds and seeds, and compares them.

    Every variant's recipe is checked before anything runs. Films are prepared that are not, what encoders start from
    is trained where the experiment says how and it is not there, and every network is built once. A run is a run
    folder, ``out/runs/<variant>/<fold>/<seed>``. Finished ones are kept, begun ones resumed, so an experiment that was
    stopped goes on where it was when it is started again. A run that fails is reported with its error and stops no
    other. With several processes a script calls this under ``if __name__ == "__main__":``, for workers import it.

    Args:
        path: The experiment file.
        out: The folder of the runs; ``results.json``, ``table.md`` and ``figures`` are left in it.
        processes: Runs at a time, each on one thread; when left out as many as there are processors, and one where
            there is a GPU, which they would share.
        progress: Show a bar with the remaining time.
        overrides: ``key.path=value``; a first key of the experiment format (such as ``seeds``) changes the
            experiment, any other the recipe of every variant.

    Returns:
        What ``results.json`` holds: experiment, protocol, rows, summary, failures and environment. Of several targets
        those of the first; `write_results` says where the others are.

    Raises:
        RecipeError: Every problem of the experiment file and of all its recipes.
        RunError: The folder cannot be written or holds runs of other recipes, another process works in it, or the
            results cannot be written.
    """
    out = Path(out)
    with datasets_shared():
        experiment = load_experiment(path, overrides)
        check_beginnings(experiment, out)
        with sole_experiment(out):
            prepare_films(experiment.recipes.values(), processes=processes, progress=progress)
            agenda = make_agenda(experiment, out)
            begin(agenda, agenda.jobs, progress=progress)
            failures = run_waiting("runs", agenda.jobs, processes, progress=progress)
            first, *_ = [write_results(make_results(each, failures), out) for each in by_target(agenda)]
    return first


@contextmanager
def sole_experiment(out: Path) -> Iterator[None]:
    """Makes the folder of the runs; within it no other experiment works there.

    A folder that it has made goes again where an error leaves nothing in it.

    Raises:
        RunError: Another one does, or nothing can be written there.
    """
    is_new = not out.exists()
    _make_folder(out)
    with sole_worker(out):
        try:
            yield
        except BaseException:
            if is_new and [file.name for file in out.iterdir()] == [LOCK]:
                (out / LOCK).unlink()
                out.rmdir()
            raise


def by_target(agenda: Agenda) -> Iterator[Agenda]:
    """The same agenda for every target that is compared.

    Raises:
        RecipeError: A target's loss head has no such metric.
    """
    for target in agenda.experiment.targets:
        experiment = agenda.experiment.of_target(target)
        yield replace(agenda, experiment=experiment, compared=compared_metric(experiment))


def begin(agenda: Agenda, jobs: Sequence[Job], *, progress: bool) -> None:
    """Trains what encoders start from, and builds every network once."""
    for todo in missing_pretraining(agenda.experiment):
        pretrain(todo, progress=progress)
    check_networks([job for job in jobs if not is_finished(job)])


def run_waiting(what: str, jobs: Sequence[Job], processes: int | None, *, progress: bool) -> list[Failure]:
    """Does the jobs that are not finished, and returns those that failed."""
    waiting = [job for job in jobs if not is_finished(job)]
    with _progress(what, len(waiting), len(jobs) - len(waiting), shown=progress) as report:
        return run_jobs(waiting, processes or runs_at_a_time(), report)


def write_results(results: Results, out: Path) -> Results:
    """Writes the results, the table and the figures, and returns the results.

    The first target of a folder has ``results.json``, ``table.md`` and ``figures``, any other
    ``results.<target>.json``, ``table.<target>.md`` and ``figures/<target>``: none overwrites another.

    Raises:
        RunError: They cannot be written.
    """
    suffix = _suffix_of(results, out)
    try:
        replace_file(out / f"results{suffix}.json", as_json(results.plain()))
        replace_file(out / f"table{suffix}.md", markdown(results).encode())
        draw_figures(results, out / "figures" / suffix.removeprefix("."))
    except OSError as error:
        remedy = "every run is kept; start it again to write them"
        raise RunError(f"{out}: the results cannot be written ({error.strerror or error}); {remedy}") from error
    return results


def _suffix_of(results: Results, out: Path) -> str:
    """What the files of a target have in their names; of the first target of these recipes nothing."""
    try:
        first = read_json(out / "results.json")
    except RunError:
        return ""  # there is none, or it is damaged
    given, there = results.recipes, first.get("recipes", {})
    if not isinstance(there, dict):
        return ""  # it is damaged
    if not there or not all(_same_results(there[variant], given[variant]) for variant in given.keys() & there.keys()):
        for part, stale in further_results(out).items():  # of other recipes
            stale.unlink()
            (out / f"table.{part}.md").unlink(missing_ok=True)
        return ""
    return "" if first.get("target") == results.target else f".{folder_name(results.target)}"


def _same_results(there: object, given: Mapping[str, Any]) -> bool:
    """Whether runs of two recipes have the same results, as those have that differ in ``data.workers`` alone."""
    if not isinstance(there, dict):
        return False
    try:
        recipe = load_recipe(given)
        return not find_differences(load_recipe(there, plugins=recipe.plugins), recipe)
    except RecipeError:  # it is damaged, or of an earlier version
        return False


def check_beginnings(
    experiment: Experiment, out: Path, *, tuned: Tuned | None = UNCHANGED, pretraining: bool = True
) -> None:
    """Says what is wrong with an experiment that can be known before films are prepared and encoders pretrained.

    Args:
        experiment: The experiment.
        out: The folder of the runs.
        tuned: As for `make_agenda`.
        pretraining: Whether what encoders start from must be there, or be such as can be trained.

    Raises:
        RecipeError: It names folds or a metric that there are not, or a pretraining cannot be done.
        RunError: The folder of the runs is none, cannot be made or written, or holds runs of other recipes.
    """
    _refuse_no_place(out)
    with datasets_listed():
        list(by_target(make_agenda(experiment, out, listed=True, tuned=tuned)))
    if pretraining:
        check_pretraining(missing_pretraining(experiment))


def estimate_experiment(
    path: str | Path, out: str | Path, *, processes: int | None = None, overrides: Sequence[str] = ()
) -> ExperimentCost:
    """What is left of an experiment will cost, from timed steps; nothing is written.

    Films need not be prepared, nor need there be what encoders start from: steps are timed on noise that is as long as
    the headers of films say.

    Args:
        path: The experiment file.
        out: The folder of the runs; those that are finished cost nothing any more.
        processes: Runs at a time, as for `run_experiment`.
        overrides: ``key.path=value``.

    Raises:
        RecipeError: Every problem of the experiment file and of all its recipes.
        DataError: The data are missing or damaged.
        RunError: The folder holds runs of other recipes.
    """
    with datasets_shared(), datasets_foreseen():
        experiment = load_experiment(path, overrides)
        check_beginnings(experiment, Path(out), pretraining=False)
        agenda = make_agenda(experiment, Path(out), listed=bool(films_that_wait(experiment.recipes.values(), timed=0)))
        waiting = [job for job in agenda.jobs if not is_finished(job)]
        return estimate_cost(agenda, waiting, processes or runs_at_a_time())


def runs_at_a_time() -> int:
    """How many runs go on at a time where nobody says it: one per processor, or one on a GPU."""
    on_gpu = torch.cuda.is_available() and os.environ.get(DEVICE) != "cpu"
    return 1 if on_gpu else count_processors()


def _make_folder(out: Path) -> None:
    """Makes the folder of the runs, or finds before any of them is begun that nothing can be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise _not_writable(out, error) from error


def _refuse_no_place(out: Path) -> None:
    """Finds that the folder of the runs could not be made or written, without making it; the agenda finds a file."""
    try:
        nearest = next(place for place in (out.absolute(), *out.absolute().parents) if _is_there(place))
        longest = max(len(os.fsencode(part)) for part in out.absolute().relative_to(nearest).parts or ("",))
        if longest > _LONGEST_NAME:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        if nearest.is_dir() and not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _not_writable(out, error) from error


def _is_there(place: Path) -> bool:
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _not_writable(out: Path, error: OSError) -> RunError:
    return RunError(f"{out}: no runs can be written there ({error.strerror}); name a folder that can be written")


@contextmanager
def _progress(what: str, waiting: int, kept: int, *, shown: bool) -> Iterator[Callable[[Job, Failure | None], None]]:
    with show_progress(what, waiting, kept, shown=shown) as advance:
        yield lambda job, failure: advance(f"{job.name}: {failure.error}" if failure else "")
