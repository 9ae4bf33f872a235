"""Things that must be there before runs begin: prepared films, pretrained encoders, networks that can be built."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fusionkit.config.documents import read_document
from fusionkit.config.initial_weights import list_weight_files
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import PrepareSpec, Recipe
from fusionkit.config.shipped_recipes import find_beside
from fusionkit.data.assembly import pick_fold
from fusionkit.data.films import Preparation, PreparationCost, estimate_preparation, prepare
from fusionkit.data.sources import Datasets
from fusionkit.errors import FusionKitError, Problem, RecipeError
from fusionkit.experiments.experiment import Experiment, load_experiment
from fusionkit.experiments.job import Job
from fusionkit.experiments.specs.comparison import ComparisonSpec
from fusionkit.experiments.specs.experiment import ExperimentSpec
from fusionkit.interfaces import Dataset
from fusionkit.models.build import build


@dataclass(frozen=True)
class Pretraining:
    """A training whose encoders others start from.

    Args:
        recipe: The recipe as the experiment names it.
        experiment: The experiment's file.
        folder: The run folder.
        wanted: The files of it that are wanted and are not there.
        without: The overrides by which the experiment does without.
    """

    recipe: str
    experiment: Path
    folder: Path
    wanted: tuple[Path, ...]
    without: tuple[str, ...] = ()

    def find_recipe(self) -> Path:
        """Finds the recipe's file.

        Raises:
            RecipeError: There is none.
        """
        return find_beside(self.recipe, self.experiment)


def load_recipes(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """Loads the recipe of a file, or every recipe of an experiment or comparison.

    Raises:
        RecipeError: Every problem of the file.
    """
    document, _ = read_document(path)
    if "variants" in document.value:
        kind = ComparisonSpec if "budget" in document.value else ExperimentSpec
        return tuple(load_experiment(path, overrides, kind).recipes.values())
    return (load_recipe(path, overrides),)


def prepare_films(
    recipes: Iterable[Recipe],
    datasets: Datasets,
    *,
    processes: int | None = None,
    progress: bool = False,
    retry: bool = False,
    check: bool = False,
) -> list[Preparation]:
    """Prepares the films of recipes, those of the same dataset and settings once; nothing where there are none.

    Args:
        recipes: The recipes.
        datasets: Datasets that are open.
        processes: Clips at a time.
        progress: Show a bar with the remaining time.
        retry: Do those again that were dropped or failed.
        check: Read every prepared clip and its films, and do those again that are damaged or of other films.

    Raises:
        DataError: A dataset cannot be opened.
        RunError: A cache cannot be written.
    """
    return [
        prepare(
            dataset,
            recipe.data.prepare or PrepareSpec(),
            kind=recipe.data.dataset.type,
            plugins=recipe.plugins,
            processes=processes,
            progress=progress,
            retry=retry,
            check=check,
        )
        for recipe, dataset in _of_films(recipes, datasets)
    ]


def estimate_films(recipes: Iterable[Recipe], datasets: Datasets, *, timed: int = 3) -> list[PreparationCost]:
    """Estimates the cost of preparing the films of recipes, for every dataset with unprepared films.

    Args:
        recipes: The recipes.
        datasets: Datasets that are open.
        timed: How many clips of each are prepared for the clock.

    Raises:
        DataError: A dataset cannot be opened.
    """
    costs = [
        estimate_preparation(
            dataset,
            recipe.data.prepare or PrepareSpec(),
            kind=recipe.data.dataset.type,
            plugins=recipe.plugins,
            timed=timed,
        )
        for recipe, dataset in _of_films(recipes, datasets)
    ]
    return [cost for cost in costs if cost.clips]


def _of_films(recipes: Iterable[Recipe], datasets: Datasets) -> Iterator[tuple[Recipe, Dataset]]:
    """Yields the recipes whose datasets are of films, those of the same dataset and settings once."""
    wanted = {recipe.data.model_dump_json(include={"dataset", "prepare"}): recipe for recipe in recipes}
    for recipe in wanted.values():
        dataset = datasets.source(recipe.data)
        if dataset.clips:
            yield recipe, dataset


def find_missing_pretraining(experiment: Experiment) -> list[Pretraining]:
    """Finds the trainings of ``pretraining`` that have to be done before the experiment's own."""
    wanted = {path for recipe in experiment.recipes.values() for path in list_weight_files(recipe) if not path.exists()}
    found = []
    for folder, recipe in experiment.spec.pretraining.items():
        own = tuple(sorted(path for path in wanted if path.parent == Path(os.path.expanduser(folder))))
        if own:
            without = _write_overrides_without(experiment, own)
            found.append(Pretraining(recipe, experiment.path, Path(os.path.expanduser(folder)), own, without))
    return found


def check_pretraining(waiting: Sequence[Pretraining], datasets: Datasets) -> None:
    """Opens the recipe and the data of every pretraining, so that what is wrong with one is said before any is trained.

    Raises:
        RecipeError: Recipes are wrong, or their data are not there; all of them are listed.
    """
    problems = []
    for todo in waiting:
        try:
            recipe = load_recipe(todo.find_recipe())
            pick_fold(recipe, datasets.with_films("listed").open(recipe.data))
        except FusionKitError as error:
            remedy = f"mend that, or do without it by adding {', or '.join(todo.without)}"
            problems.append(Problem(f"pretraining.{todo.folder}: {todo.recipe}", str(error), remedy))
    if problems:
        raise RecipeError(problems)


def pretrain(todo: Pretraining, datasets: Datasets, *, progress: bool = False) -> None:
    """Does a pretraining, or goes on with it.

    Raises:
        RecipeError: Its recipe is wrong, or does not leave the files that are wanted.
        DataError: Its data are not there.
    """
    from fusionkit.training import train

    train(todo.find_recipe(), todo.folder, progress=progress, datasets=datasets)
    absent = [path for path in todo.wanted if not path.exists()]
    if absent:
        names = ", ".join(path.name for path in absent)
        remedy = "name the modality in the train.export of that recipe"
        raise RecipeError([Problem(f"pretraining.{todo.folder}", f"{todo.recipe} leaves no {names}", remedy)])


def check_networks(jobs: Sequence[Job]) -> None:
    """Builds the network of every variant once, so that what is wrong with it is said before anything runs.

    Args:
        jobs: The runs that are left.

    Raises:
        RecipeError: Networks that cannot be built; all of them are listed.
    """
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(job.variant, job)
    problems = []
    for variant, job in first.items():
        try:
            with torch.random.fork_rng(devices=[]):
                build(job.recipe)
        except RecipeError as error:
            problems += error.within(f"variants.{variant}")
        except FusionKitError as error:
            problems.append(Problem(f"variants.{variant}", str(error)))
    if problems:
        raise RecipeError(problems)


def _write_overrides_without(experiment: Experiment, files: Collection[Path]) -> tuple[str, ...]:
    """Writes what to add to the command where files of weights are not to be had."""
    source = find_beside(experiment.spec.recipe, experiment.path)
    written = read_document(source, experiment.spec.overrides)[0].value["model"]["modalities"]
    found: dict[str, bool] = {}
    for recipe in experiment.recipes.values():
        for name, modality in recipe.model.modalities.items():
            listed = isinstance(written.get(name), Mapping) and isinstance(written[name].get("encoder"), list)
            for place, encoder in enumerate(modality.encoder):
                weights = encoder.options.get("weights")
                if isinstance(weights, str) and Path(os.path.expanduser(weights)) in files:
                    key = f"model.modalities.{name}.encoder{f'.{place}' if listed else ''}"
                    found[key] = "pretrained" in encoder.options
    nothing = " ".join(f"{key}.weights=null" for key in found)
    pretrained = " ".join(f"{key}.pretrained=true" for key, able in found.items() if able)
    return (f"{nothing} (from nothing)", *([f"{nothing} {pretrained} (from ImageNet, by timm)"] if pretrained else ()))
