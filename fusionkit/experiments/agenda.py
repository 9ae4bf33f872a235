"""The runs of an experiment: which there are, which are finished, and how one is done."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fusionkit.config.recipe import build_component, load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import complete_recipe, pick_fold
from fusionkit.data.sources import datasets_listed, open_dataset
from fusionkit.data.splits import hash_data
from fusionkit.errors import FusionKitError, Problem, RecipeError, RunError, did_you_mean
from fusionkit.execution.workers import GRACE_SECONDS
from fusionkit.experiments.completed import Compared, compared_metric
from fusionkit.experiments.reference import implausible
from fusionkit.experiments.spec import Experiment
from fusionkit.interfaces import Folds, Metric, Split
from fusionkit.storage.card import Card
from fusionkit.storage.files import folder_name, refuse_if_taken
from fusionkit.storage.run_folder import RunFolder

Tuned = Mapping[tuple[str, str], Sequence[str]]
"""By variant and fold, overrides that were chosen for its runs."""

UNCHANGED: Tuned = MappingProxyType({})


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        variant: The variant that trains.
        fold: The name of the fold.
        seed: The seed.
        recipe: The complete recipe as plain data, fold and seed included.
        folder: The run folder.
    """

    variant: str
    fold: str
    seed: int
    recipe: Mapping[str, Any]
    folder: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.variant}, {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Agenda:
    """An experiment met with its data: what is run, and what is compared.

    Args:
        experiment: The experiment.
        folds: Its folds, in order.
        compared: The metric that is compared, and what else is known of the target.
        jobs: Every run; all variants of a fold and seed follow each other.
        out: The folder of the runs.
        data_notes: What the dataset says of its files.
    """

    experiment: Experiment
    folds: tuple[Split, ...]
    compared: Compared
    jobs: tuple[Job, ...]
    out: Path
    data_notes: tuple[str, ...] = ()

    @property
    def metric(self) -> Metric:
        """The metric that is compared."""
        return self.compared.metric


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


def make_agenda(
    experiment: Experiment,
    out: Path,
    *,
    listed: bool = False,
    tuned: Tuned | None = UNCHANGED,
) -> Agenda:
    """Opens the dataset and lists every run.

    Args:
        experiment: The experiment.
        out: The folder of the runs.
        listed: Go by what the dataset lists, before its films are prepared; runs of other data are not looked for.
        tuned: By variant and fold, overrides that were chosen for its runs; None where they are not chosen yet, and
            what is in the folders can be held against nothing.

    Raises:
        RecipeError: The experiment names folds or a metric that there are not, or published numbers do not fit them.
        RunError: The runs' folder is a file or in one, or a folder holds a run of another recipe.
    """
    if (
        file := next((path for path in (out, *out.parents) if os.path.exists(path) and not path.is_dir()), None)
    ) is not None:
        raise RunError(f"{file}: is a file, so no runs can be in it; name another folder")
    if listed:
        with datasets_listed():
            return _agenda(experiment, out, check_data=False, tuned=tuned)
    return _agenda(experiment, out, check_data=True, tuned=tuned)


def _agenda(experiment: Experiment, out: Path, *, check_data: bool, tuned: Tuned | None) -> Agenda:
    folds = fold_splits(experiment)
    jobs = _plan_jobs(experiment, folds, out, tuned or UNCHANGED)
    if tuned is not None:
        what = "settings that their trials no longer choose" if tuned else "another recipe"
        refuse_foreign_runs(jobs, out, check_data=check_data, foreign_are=what)
    compared = compared_metric(experiment)
    names = [split.name for split in protocol_splits(experiment)]
    if experiment.spec.paper and (problems := implausible(experiment.spec.paper, names, compared.metric)):
        raise RecipeError(problems)
    notes = tuple(open_dataset(experiment.first_recipe.data).notes)
    return Agenda(experiment, folds, compared, jobs, out, notes)


def protocol_splits(experiment: Experiment) -> tuple[Split, ...]:
    """Every fold of the protocol, whether the experiment runs it or not."""
    recipe = experiment.first_recipe
    folds: Folds = build_component(recipe.data.folds)
    return folds.split(open_dataset(recipe.data).rows)


def fold_splits(experiment: Experiment) -> tuple[Split, ...]:
    """The folds that an experiment runs over, in its order.

    Raises:
        RecipeError: It names folds that there are not, or one twice; all of them are listed.
    """
    splits = protocol_splits(experiment)
    if experiment.spec.folds == "all":
        return splits
    chosen, problems = [], []
    by_name = {split.name: split for split in splits}
    for index, wanted in enumerate(experiment.spec.folds):
        if isinstance(wanted, int) and 0 <= wanted < len(splits):
            chosen.append(splits[wanted])
        elif wanted in by_name:
            chosen.append(by_name[str(wanted)])
        else:
            remedy = f"a position from 0 to {len(splits) - 1}, or a name; {did_you_mean(str(wanted), by_name)}"
            problems.append(Problem(f"folds[{index}]", f"no fold {wanted!r}", remedy))
            continue
        if chosen[-1] in chosen[:-1]:
            problems.append(Problem(f"folds[{index}]", f"fold {chosen[-1].name!r} stands twice", "list each once"))
    if problems:
        raise RecipeError(problems)
    return tuple(chosen)


def _plan_jobs(experiment: Experiment, folds: Sequence[Split], out: Path, tuned: Tuned) -> tuple[Job, ...]:
    """Every run of an experiment; all variants of a fold and seed follow each other."""
    recipes = complete_recipes(experiment)
    jobs = []
    for fold in folds:
        for seed in experiment.spec.seeds:
            for variant, recipe in recipes.items():
                folder = out / "runs" / folder_name(variant) / folder_name(fold.name) / str(seed)
                always = [f"data.fold={json.dumps(fold.name)}", f"train.seed={seed}"]
                changed = load_recipe(recipe, [*tuned.get((variant, fold.name), ()), *always])
                jobs.append(Job(variant, fold.name, seed, changed.plain(), str(folder)))
    return tuple(jobs)


def refuse_foreign_runs(
    jobs: Sequence[Job], out: Path, *, check_data: bool, foreign_are: str = "another recipe"
) -> None:
    """Makes sure that what was begun in the folders of runs is of their recipes and, if wanted, of the same data.

    Args:
        jobs: The runs.
        out: The folder of all runs.
        check_data: Whether their data are looked at.
        foreign_are: What runs are of whose recipe is another one.

    Raises:
        RunError: A folder holds a run of another recipe or of other data; all of them are listed.
    """
    foreign, changed = list[str](), list[str]()
    for job in jobs:
        run = _begun(job)
        if run is not None and run.differences_from(load_recipe(job.recipe)):
            foreign.append(job.folder)
        elif check_data and run is not None and run.is_of_other_data(_data_of(load_recipe(job.recipe))):
            changed.append(job.folder)
    for folders, what in ((foreign, foreign_are), (changed, "other data, which have changed since")):
        if folders:
            listed = ", ".join(folders[:5]) + (f" and {len(folders) - 5} more" if len(folders) > 5 else "")
            raise RunError(f"{out}: holds runs of {what} ({listed}); choose another folder, or remove them")


def _data_of(recipe: Recipe) -> str:
    """The hash of the data that a run of a recipe is of."""
    dataset = open_dataset(recipe.data)
    return hash_data(pick_fold(recipe, dataset), dataset.rows, dataset.contents)


def complete_recipes(experiment: Experiment) -> dict[str, Recipe]:
    """The recipes with what their datasets say of shapes and classes, as run folders hold them."""
    complete, problems = {}, []
    for variant, recipe in experiment.recipes.items():
        try:
            complete[variant] = complete_recipe(recipe, open_dataset(recipe.data))
        except RecipeError as error:
            problems += [
                Problem(f"variants.{variant}: {problem.place}", problem.message, problem.remedy)
                for problem in error.problems
            ]
    if problems:
        raise RecipeError(problems)
    return complete


def is_finished(job: Job) -> bool:
    """Whether a run needs nothing more."""
    if not RunFolder(job.folder).finished:
        return False
    try:
        read_card(job)
    except RunError:
        return False  # not evaluated, or its card is damaged: it is evaluated again
    return True


def read_card(job: Job) -> Card:
    """Returns the card of a run.

    Raises:
        RunError: There is none, it is damaged, or says nothing of a target.
    """
    run = RunFolder(job.folder)
    card = run.read_card()
    if lacking := sorted(set(job.recipe["model"]["targets"]) - set(card.targets)):
        raise RunError(f"{run.card_file}: is damaged; targets: says nothing of {', '.join(lacking)}")
    return card


def do(job: Job, *, progress: bool = False) -> Failure | None:
    """Trains (or resumes) and evaluates one run; what goes wrong is returned, so that others go on."""
    from fusionkit.evaluation import evaluate
    from fusionkit.training import train

    try:
        run = RunFolder(job.folder, plugins=job.recipe["plugins"])
        if run.begun and not run.finished:  # held by what an experiment that was killed has left, it is ending
            refuse_if_taken(run.path, wait=GRACE_SECONDS)
        if not run.finished:
            run = train(load_recipe(job.recipe), job.folder, progress=progress)
        evaluate(run)
    except FusionKitError as error:
        return Failure(job, str(error))
    except Exception as error:  # reported with the result; the other runs are worth having
        return Failure(job, f"{type(error).__name__}: {error}", traceback.format_exc())
    return None


def _begun(job: Job) -> RunFolder | None:
    try:
        return RunFolder.open(job.folder, plugins=job.recipe["plugins"])
    except RunError:
        return None  # nothing was begun; what else may lie there, the training refuses
