"""The runs of an experiment: every variant on every fold with every seed, met with the data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import complete_recipe, pick_fold
from fusionkit.data.sources import Datasets
from fusionkit.data.splits import hash_data
from fusionkit.errors import RecipeError, RunError
from fusionkit.experiments.compared_metric import Compared, find_compared_metric
from fusionkit.experiments.experiment import Experiment
from fusionkit.experiments.folds import choose_folds, protocol_splits
from fusionkit.experiments.job import Job
from fusionkit.experiments.specs.published import find_implausible
from fusionkit.interfaces import Metric, Split
from fusionkit.storage.files import folder_name

Tuned = Mapping[tuple[str, str], Sequence[str]]
"""By variant and fold, overrides that were chosen for its runs."""

UNCHANGED: Tuned = MappingProxyType({})


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


def make_agenda(
    experiment: Experiment,
    out: Path,
    datasets: Datasets,
    *,
    check_data: bool = True,
    tuned: Tuned | None = UNCHANGED,
) -> Agenda:
    """Opens the dataset and lists every run.

    Args:
        experiment: The experiment.
        out: The folder of the runs.
        datasets: Datasets that are open.
        check_data: Look for runs of other data; not by what datasets list before their films are prepared.
        tuned: As for `plan_jobs`.

    Raises:
        RecipeError: The experiment names folds or a metric that there are not, or published numbers do not fit them.
        RunError: The runs' folder is a file or in one, or a folder holds a run of another recipe.
    """
    if (
        file := next((path for path in (out, *out.parents) if os.path.exists(path) and not path.is_dir()), None)
    ) is not None:
        raise RunError(f"{file}: is a file, so no runs can be in it; name another folder")
    splits = protocol_splits(experiment.first_recipe, datasets)
    folds = choose_folds(experiment.spec.folds, splits)
    jobs = plan_jobs(experiment, folds, out, datasets, check_data=check_data, tuned=tuned)
    compared = find_compared_metric(experiment, datasets)
    names = [split.name for split in splits]
    if experiment.spec.paper and (problems := find_implausible(experiment.spec.paper, names, compared.metric)):
        raise RecipeError(problems)
    notes = tuple(datasets.open(experiment.first_recipe.data).notes)
    return Agenda(experiment, folds, compared, jobs, out, notes)


def plan_jobs(
    experiment: Experiment,
    folds: Sequence[Split],
    out: Path,
    datasets: Datasets,
    *,
    check_data: bool = True,
    tuned: Tuned | None = UNCHANGED,
) -> tuple[Job, ...]:
    """Lists every run of an experiment; all variants of a fold and seed follow each other.

    Args:
        experiment: The experiment.
        folds: The folds that it runs over.
        out: The folder of the runs.
        datasets: Datasets that are open.
        check_data: Look for runs of other data, too.
        tuned: By variant and fold, overrides that were chosen for its runs; None where they are not chosen yet, and
            what is in the folders can be held against nothing.

    Raises:
        RecipeError: A dataset lacks what the recipe of a variant wants.
        RunError: A folder holds a run of another recipe, or of other data.
    """
    recipes = complete_recipes(experiment, datasets)
    jobs = []
    for fold in folds:
        chosen = {
            variant: load_recipe(recipe, tuple((tuned or UNCHANGED).get((variant, fold.name), ())))
            for variant, recipe in recipes.items()
        }
        for seed in experiment.spec.seeds:
            for variant, recipe in chosen.items():
                folder = out / "runs" / folder_name(variant) / folder_name(fold.name) / str(seed)
                jobs.append(Job(variant, fold.name, seed, recipe.of_run(fold.name, seed), str(folder)))
    if tuned is not None:
        what = "settings that their trials no longer choose" if tuned else "another recipe"
        refuse_foreign_runs(jobs, out, datasets if check_data else None, foreign_are=what)
    return tuple(jobs)


def refuse_foreign_runs(
    jobs: Sequence[Job], out: Path, datasets: Datasets | None, *, foreign_are: str = "another recipe"
) -> None:
    """Makes sure that what was begun in the folders of runs is of their recipes and, if wanted, of the same data.

    Args:
        jobs: The runs.
        out: The folder of all runs.
        datasets: Datasets that are open; None to leave the data of runs alone.
        foreign_are: What runs are of whose recipe is another one.

    Raises:
        RunError: A folder holds a run of another recipe or of other data; all of them are listed.
    """
    foreign, changed = list[str](), list[str]()
    for job in jobs:
        run = job.run
        if not run.begun:
            continue  # what else may lie there, the training refuses
        if run.differences_from(job.recipe):
            foreign.append(job.folder)
        elif datasets is not None and run.is_of_other_data(_data_of(job.recipe, datasets)):
            changed.append(job.folder)
    for folders, what in ((foreign, foreign_are), (changed, "other data, which have changed since")):
        if folders:
            listed = ", ".join(folders[:5]) + (f" and {len(folders) - 5} more" if len(folders) > 5 else "")
            raise RunError(f"{out}: holds runs of {what} ({listed}); choose another folder, or remove them")


def _data_of(recipe: Recipe, datasets: Datasets) -> str:
    """Hashes the data that a run of a recipe is of."""
    dataset = datasets.open(recipe.data)
    return hash_data(pick_fold(recipe, dataset), dataset.rows, dataset.contents)


def complete_recipes(experiment: Experiment, datasets: Datasets) -> dict[str, Recipe]:
    """Returns the recipes with what their datasets say of shapes and classes, as run folders hold them."""
    complete, problems = {}, []
    for variant, recipe in experiment.recipes.items():
        try:
            complete[variant] = complete_recipe(recipe, datasets.open(recipe.data))
        except RecipeError as error:
            problems += error.within(f"variants.{variant}")
    if problems:
        raise RecipeError(problems)
    return complete
