"""What must be there before the runs of an experiment begin: pretrained encoders, and networks that can be built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fusionkit.errors import FusionKitError, Problem, RecipeError
from fusionkit.experiments.jobs import Job
from fusionkit.experiments.spec import Experiment
from fusionkit.model import build
from fusionkit.recipe import load_recipe
from fusionkit.shipped import find_recipe
from fusionkit.spec import Recipe


@dataclass(frozen=True)
class Pretraining:
    """A training whose encoders others start from.

    Args:
        recipe: The recipe's path or shipped name.
        folder: The run folder.
        wanted: The files of it that are wanted and are not there.
    """

    recipe: str
    folder: Path
    wanted: tuple[Path, ...]


def missing_pretraining(experiment: Experiment) -> list[Pretraining]:
    """The trainings of ``pretraining`` that have to be done before the experiment's own."""
    wanted = {path for recipe in experiment.recipes.values() for path in _weights_of(recipe) if not path.exists()}
    found = []
    for folder, recipe in experiment.spec.pretraining.items():
        own = tuple(sorted(path for path in wanted if path.parent == Path(folder).expanduser()))
        if own:
            found.append(Pretraining(recipe, Path(folder).expanduser(), own))
    return found


def pretrain(todo: Pretraining, *, progress: bool = False) -> None:
    """Does a pretraining, or goes on with it.

    Raises:
        RecipeError: Its recipe is wrong, or does not leave the files that are wanted.
        DataError: Its data are not there.
    """
    from fusionkit.training import train

    train(find_recipe(todo.recipe), todo.folder, progress=progress)
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
                build(load_recipe(job.recipe))
        except RecipeError as error:
            problems += [
                Problem(f"variants.{variant}: {each.place}".rstrip(": "), each.message, each.remedy)
                for each in error.problems
            ]
        except FusionKitError as error:
            problems.append(Problem(f"variants.{variant}", str(error)))
    if problems:
        raise RecipeError(problems)


def _weights_of(recipe: Recipe) -> Iterator[Path]:
    for modality in recipe.model.modalities.values():
        for encoder in modality.encoder:
            options: Mapping[str, object] = encoder.options
            if isinstance(weights := options.get("weights"), str):
                yield Path(weights).expanduser()
