"""The budget of a comparison: every variant with the epochs that it may have."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fusionkit.config.initial_weights import drop_weights
from fusionkit.config.schema import Recipe
from fusionkit.data.assembly import assemble
from fusionkit.data.sources import Datasets
from fusionkit.errors import Problem, RecipeError, RunError
from fusionkit.execution.workers import use_one_thread
from fusionkit.experiments.experiment import Experiment
from fusionkit.experiments.specs.comparison import ComparisonSpec
from fusionkit.storage.records.document import save_document
from fusionkit.storage.records.time_budget import TimeBudget, load_time_budget

FILE = "budget.json"


def apply_budget(
    experiment: Experiment, spec: ComparisonSpec, out: Path, datasets: Datasets, *, write: bool = True
) -> Experiment:
    """Gives every variant of a comparison the epochs of its budget.

    A budget of time is turned into epochs once, from timed steps, and written into the folder, so that a comparison
    that goes on has the epochs that it began with.

    Args:
        experiment: The comparison.
        spec: Its file.
        out: Its folder.
        datasets: Datasets that are open.
        write: Keep the epochs in the folder.

    Raises:
        RecipeError: An epoch of a variant takes longer than the budget of time.
        RunError: The folder cannot be written, or its epochs are damaged or of another budget.
    """
    if spec.budget.epochs is not None:
        epochs = dict.fromkeys(experiment.recipes, spec.budget.epochs)
    else:
        assert spec.budget.minutes is not None
        epochs = _epochs_of_time(experiment.recipes, spec.budget.minutes, out / FILE, datasets, write=write)
    recipes = {
        variant: recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": epochs[variant]})})
        for variant, recipe in experiment.recipes.items()
    }
    return replace(experiment, recipes=recipes)


def _epochs_of_time(
    recipes: Mapping[str, Recipe], minutes: float, file: Path, datasets: Datasets, *, write: bool
) -> dict[str, int]:
    known = load_time_budget(file) if os.path.exists(file) else None
    if known is not None and known.minutes != minutes:
        raise RunError(f"{file}: is of {known.minutes:g} minutes, now {minutes:g}; choose another folder")
    epochs = dict(known.epochs) if known is not None else {}
    problems = []
    for variant, recipe in recipes.items():
        if variant in epochs:
            continue
        seconds = time_epoch(recipe, datasets)
        epochs[variant] = math.floor(60 * minutes / seconds)
        if epochs[variant] < 1:
            message = f"one epoch of {variant!r} takes {seconds / 60:.2g} minutes, more than the {minutes:g} of a run"
            problems.append(Problem("budget.minutes", message, "more minutes, or less data"))
    if problems:
        raise RecipeError(problems)
    if write:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{file}: cannot be written ({error.strerror or error})") from error
        save_document(file, TimeBudget(format=TimeBudget.formats[-1], minutes=minutes, epochs=epochs))
    return epochs


def time_epoch(recipe: Recipe, datasets: Datasets) -> float:
    """Times an epoch of all stages together, those of the balancer's teachers among them, in seconds."""
    from fusionkit.training.profiling.stage_timing import time_stages

    with use_one_thread():
        stages = time_stages(assemble(drop_weights(recipe), datasets))
    return sum(stage.seconds for stage in stages) / recipe.train.epochs
