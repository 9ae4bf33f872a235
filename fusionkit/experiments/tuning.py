"""The search of a comparison: trials of every variant inside the training part of every fold, and what they choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fusionkit.config.components.specs import FoldsSpec
from fusionkit.config.documents import read_document
from fusionkit.config.recipe import build_component, check_document, load_recipe
from fusionkit.config.schema import Recipe
from fusionkit.data.sources import Datasets
from fusionkit.errors import Problem, RecipeError
from fusionkit.experiments.agenda import Agenda, complete_recipes, refuse_foreign_runs
from fusionkit.experiments.job import Failure, Job, read_card
from fusionkit.experiments.specs.comparison import TuningSpec, draw_trial
from fusionkit.inference.branches import ENSEMBLE, trained_branches
from fusionkit.interfaces import LOSS, Folds
from fusionkit.storage.files import folder_name
from fusionkit.storage.records.comparison import ChosenTrial


@dataclass(frozen=True)
class Trial:
    """One setting of a variant, tried inside the training part of a fold.

    Args:
        variant: The variant.
        fold: The outer fold.
        number: The position of the trial; 0 is the recipe as it stands.
        overrides: The setting.
        jobs: A run per inner fold.
    """

    variant: str
    fold: str
    number: int
    overrides: tuple[str, ...]
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Choice:
    """The choice of a variant's trials for a fold.

    Args:
        trial: The trial that was best.
        overrides: Its setting.
        values: By trial, the mean of the compared metric over inner folds; None where a run of it failed.
        branch: The branch that was judged.
    """

    trial: int
    overrides: tuple[str, ...]
    values: tuple[float | None, ...]
    branch: str


def plan_trials(agenda: Agenda, tuning: TuningSpec, datasets: Datasets) -> tuple[Trial, ...]:
    """Lists every trial of a comparison; those of a fold follow each other.

    Args:
        agenda: The comparison, met with its data.
        tuning: How it tunes.
        datasets: Datasets that are open.

    Raises:
        RecipeError: A setting cannot be, the training part cannot be divided, or the metric cannot judge a variant.
        RunError: A folder holds a run of another recipe or of other data.
    """
    _check_metric(agenda)
    recipes = complete_recipes(agenda.experiment, datasets)
    settings = {name: [draw_trial(tuning, name, number) for number in range(tuning.trials)] for name in recipes}
    tried = {name: [load_recipe(recipe, of) for of in settings[name]] for name, recipe in recipes.items()}
    seed = agenda.experiment.spec.seeds[0]
    trials = []
    for fold in agenda.folds:
        for variant, recipe in recipes.items():
            nested = _nested(recipe, tuning, fold.name)
            inner: Folds = build_component(nested)
            names = [split.name for split in inner.split(datasets.open(recipe.data).rows)]
            for number, setting in enumerate(tried[variant]):
                folder = agenda.out / "trials" / folder_name(variant) / folder_name(fold.name) / str(number)
                within = setting.model_copy(update={"data": setting.data.model_copy(update={"folds": nested})})
                jobs = tuple(
                    Job(
                        variant,
                        f"{fold.name}, trial {number}, {name}",
                        seed,
                        within.of_run(name, seed),
                        str(folder / folder_name(name)),
                    )
                    for name in names
                )
                trials.append(Trial(variant, fold.name, number, settings[variant][number], jobs))
    refuse_foreign_runs([job for trial in trials for job in trial.jobs], agenda.out, datasets)
    return tuple(trials)


def choose(agenda: Agenda, trials: Sequence[Trial], failures: Sequence[Failure]) -> dict[tuple[str, str], Choice]:
    """Chooses by variant and fold the trial that is best in the mean over inner folds; of equal ones the first.

    It is judged by the branch that the variant's own column reads, which is its main branch unless the file says
    another. A trial with a failed run is not chosen; where all failed it is the first, the recipe as it stands.
    """
    failed, sign = {failure.job.folder for failure in failures}, agenda.metric.sign
    by_cell: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        by_cell.setdefault((trial.variant, trial.fold), []).append(trial)
    choices = {}
    for (variant, fold), cell in by_cell.items():
        branch = _find_judged_branch(agenda, variant)
        values = [_value(agenda, trial, branch, failed) for trial in cell]
        known = {at: value for at, value in enumerate(values) if value is not None}
        best = cell[max(known, key=lambda at: sign * known[at], default=0)]
        choices[variant, fold] = Choice(best.number, best.overrides, tuple(values), branch)
    return choices


def describe_choices(choices: Mapping[tuple[str, str], Choice]) -> list[ChosenTrial]:
    """Returns the choices as results carry them."""
    return [
        ChosenTrial(
            variant=variant,
            fold=fold,
            trial=choice.trial,
            overrides=list(choice.overrides),
            values=list(choice.values),
            branch=choice.branch,
        )
        for (variant, fold), choice in choices.items()
    ]


def _check_metric(agenda: Agenda) -> None:
    if agenda.metric != LOSS:
        return
    averaged = [name for name in agenda.experiment.recipes if _find_judged_branch(agenda, name) == ENSEMBLE]
    if averaged:
        message = f"an average of networks has no loss, so no trial of {', '.join(averaged)} could be chosen"
        raise RecipeError([Problem("metric", message, "a metric of the loss head, or no tuning")])


def _find_judged_branch(agenda: Agenda, variant: str) -> str:
    own = (column.branch for column in agenda.experiment.columns if column.name == column.runs == variant)
    return next(own, trained_branches(agenda.experiment.recipes[variant]).main)


def _nested(recipe: Recipe, tuning: TuningSpec, fold: str) -> FoldsSpec:
    plain = {
        "type": "nested",
        "folds": recipe.data.folds.model_dump(mode="json"),
        "fold": fold,
        "within": tuning.within.model_dump(mode="json"),
    }
    return check_document(FoldsSpec, read_document(plain)[0])


def _value(agenda: Agenda, trial: Trial, branch: str, failed: set[str]) -> float | None:
    if any(job.folder in failed for job in trial.jobs):
        return None
    found = []
    for job in trial.jobs:
        described = read_card(job).targets[agenda.experiment.target].branches[branch]
        found.append(described.metrics[agenda.metric.name].value)
    known = [value for value in found if value is not None]
    return fmean(known) if len(known) == len(found) else None
