"""The folds that an experiment runs over, by the names or positions of its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import Recipe
from fusionkit.data.sources import Datasets
from fusionkit.errors import FusionKitError, Problem, RecipeError, suggest_names
from fusionkit.interfaces import Folds, Split

Wanted = Literal["all"] | Sequence[int | str]
"""Folds as the file names them."""


def protocol_splits(recipe: Recipe, datasets: Datasets) -> tuple[Split, ...]:
    """Divides the dataset of a recipe into every fold of its protocol, whether an experiment runs it or not."""
    folds: Folds = build_component(recipe.data.folds)
    return folds.split(datasets.open(recipe.data).rows)


def choose_folds(wanted: Wanted, splits: Sequence[Split]) -> tuple[Split, ...]:
    """Returns the folds that an experiment runs over, in its order.

    Raises:
        RecipeError: It names folds that there are not, or one twice; all of them are listed.
    """
    if wanted == "all":
        return tuple(splits)
    chosen, problems = [], []
    by_name = {split.name: split for split in splits}
    for index, fold in enumerate(wanted):
        if isinstance(fold, int) and 0 <= fold < len(splits):
            chosen.append(splits[fold])
        elif fold in by_name:
            chosen.append(by_name[str(fold)])
        else:
            remedy = f"a position from 0 to {len(splits) - 1}, or a name; {suggest_names(str(fold), by_name)}"
            problems.append(Problem(f"folds[{index}]", f"no fold {fold!r}", remedy))
            continue
        if chosen[-1] in chosen[:-1]:
            problems.append(Problem(f"folds[{index}]", f"fold {chosen[-1].name!r} stands twice", "list each once"))
    if problems:
        raise RecipeError(problems)
    return tuple(chosen)


def find_wrong_folds(wanted: Wanted, recipe: Recipe) -> list[Problem]:
    """Lists what is wrong with the folds of an experiment that has other mistakes, as far as its data are there.

    Args:
        wanted: The folds that it names.
        recipe: A recipe of it that is right.
    """
    if wanted == "all":
        return []
    try:
        splits = protocol_splits(recipe, Datasets().with_films("listed"))
    except FusionKitError:  # told by whoever opens the data, once the file is right
        return []
    try:
        choose_folds(wanted, splits)
    except RecipeError as error:
        return list(error.problems)
    return []
