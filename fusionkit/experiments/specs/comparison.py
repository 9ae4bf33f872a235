"""The format of comparison files: an experiment with a budget and the same tuning for every variant."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator

from fusionkit.config.components.specs import FoldsSpec, Record
from fusionkit.config.recipe import load_recipe
from fusionkit.config.schema import Recipe, Seed
from fusionkit.errors import Problem, RecipeError, suggest_names
from fusionkit.experiments.experiment import Experiment, load_experiment
from fusionkit.experiments.specs.experiment import ExperimentSpec

Value = bool | int | float | str | None


class RangeSpec(Record):
    """Numbers between two limits; whole ones where both limits are."""

    low: int | float = Field(description="The least value.")
    high: int | float = Field(description="The greatest value.")
    scale: Literal["linear", "log"] = Field("linear", description="log draws the exponent evenly.")

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm; take a positive one, or scale: linear")
        return self

    def at(self, share: float) -> int | float:
        """Returns the value at a share of the range, with four digits."""
        if isinstance(self.low, int) and isinstance(self.high, int) and self.scale == "linear":
            return min(self.high, self.low + math.floor(share * (self.high - self.low + 1)))
        if self.scale == "log":
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return round(value) if whole else min(max(float(f"{value:.4g}"), self.low), self.high)

    @property
    def ends(self) -> tuple[int | float, ...]:
        """The values by which a recipe is tried for size."""
        return self.low, self.high


Choices = Annotated[tuple[Value, ...], Field(min_length=1)]

Search = dict[str, Choices | RangeSpec]
"""By key of the recipe, a list of values or a range."""


class TuningSpec(Record):
    """A seeded random search, the same for every variant, inside the training part of every fold."""

    trials: int = Field(ge=2, description="Settings that are tried per variant and fold; the first is the recipe's.")
    search: Search = Field({}, description="By key of the recipe, a list of values or low, high and scale.")
    also: dict[str, Search] = Field({}, description="Further keys by variant, whose trials they share.")
    within: FoldsSpec = Field(FoldsSpec(type="holdout"), description="The protocol inside the training part.")
    seed: Seed = Field(0, description="Which settings are drawn.")


class BudgetSpec(Record):
    """The budget of every run: so many epochs, or so much time."""

    epochs: int | None = Field(None, gt=0, description="Epochs of every stage of every variant, a teacher's too.")
    minutes: float | None = Field(
        None, gt=0.0, description="Time of a run, all stages; by timed steps it becomes the epochs that each stage has."
    )

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("a budget is epochs, or minutes; one of them")
        return self


class ComparisonSpec(ExperimentSpec):
    """Variants of one recipe over folds and seeds, with equal budget and equal tuning."""

    budget: BudgetSpec = Field(description="What every run may spend.")
    tuning: TuningSpec | None = Field(
        None, description="How every variant is tuned; null compares the recipes as they stand."
    )


def load_comparison(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Experiment, ComparisonSpec]:
    """Reads a comparison file and checks the recipe of every variant, at both ends of what is searched.

    Args:
        path: The YAML file.
        overrides: As for `load_experiment`.

    Raises:
        RecipeError: Every problem of the file, of its recipes and of its search.

    Example:
        A comparison of two fusions, each tuned in four trials::

            schema: 1
            recipe: basic.yaml
            budget: {epochs: 20}
            tuning:
              trials: 4
              search: {train.optimizer.lr: {low: 3.0e-4, high: 1.0e-2, scale: log}}
            variants:
              ensemble: {overrides: [train.strategy=unimodal]}
              concat: {overrides: [model.fusion=concat]}
              mrpn: {overrides: [model.fusion=mrpn]}
    """
    experiment = load_experiment(path, overrides, ComparisonSpec)
    spec = experiment.spec
    assert isinstance(spec, ComparisonSpec)
    if spec.tuning is not None and (problems := _problems_of_search(experiment, spec.tuning)):
        raise RecipeError(problems, source=str(path))
    return experiment, spec


def merge_search(tuning: TuningSpec, variant: str) -> Mapping[str, tuple[Value, ...] | RangeSpec]:
    """Returns what is searched for a variant."""
    return {**tuning.search, **tuning.also.get(variant, {})}


def draw_trial(tuning: TuningSpec, variant: str, trial: int) -> tuple[str, ...]:
    r"""Draws the overrides of a trial; none for the first, which is the recipe as it stands.

    Every key has a stream of its own, seeded by the tuning's seed, the trial and the key. So all variants try the same
    values of the keys that they share, and a key of one variant alone moves no other's draws.

    Example:
        >>> tuning = TuningSpec.model_validate({"trials": 3, "search": {"model.dropout": (0.0, 0.2, 0.4)}})
        >>> draw_trial(tuning, "concat", 0), draw_trial(tuning, "concat", 1)
        ((), ('model.dropout=0.2',))
    """
    if trial == 0:
        return ()
    overrides = []
    for key, space in merge_search(tuning, variant).items():
        digest = hashlib.sha256(f"{tuning.seed}/{trial}/{key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        share = float(torch.rand((), generator=generator, dtype=torch.float64))
        value = space.at(share) if isinstance(space, RangeSpec) else space[int(share * len(space))]
        overrides.append(_written(key, value))
    return tuple(overrides)


def _written(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"


_SAID_ELSEWHERE = {"train.epochs": "the budget says how many", "train.seed": "seeds are no setting; list them in seeds"}


def _problems_of_search(experiment: Experiment, tuning: TuningSpec) -> list[Problem]:
    problems = [
        Problem(f"tuning.also.{name}", "no variant that trains", suggest_names(name, experiment.recipes))
        for name in tuning.also
        if name not in experiment.recipes
    ]
    refused: dict[Problem, list[str]] = {}  # by problem, the variants that have it
    for variant, recipe in experiment.recipes.items():
        if not merge_search(tuning, variant):
            remedy = "name keys under tuning.search, or leave the tuning out"
            problems.append(Problem(f"tuning.also.{variant}", "nothing is searched for this variant", remedy))
        for key, space in merge_search(tuning, variant).items():
            own = f"tuning.also.{variant}" if key in tuning.also.get(variant, {}) else "tuning.search"
            for problem in _problems_of_key(recipe, key, space):
                refused.setdefault(Problem(f"{own}.{key}", problem.message, problem.remedy), []).append(variant)
    for problem, variants in refused.items():
        more = "" if len(variants) == 1 else f" and {len(variants) - 1} more"
        of = "" if len(variants) == len(experiment.recipes) else f" (variant {variants[0]!r}{more})"
        problems.append(Problem(f"{problem.place}{of}", problem.message, problem.remedy))
    return problems


def _problems_of_key(recipe: Recipe, key: str, space: tuple[Value, ...] | RangeSpec) -> list[Problem]:
    """Lists what a recipe has against the values of a key, each problem once."""
    if key.partition(".")[0] == "data" or key in _SAID_ELSEWHERE:
        remedy = _SAID_ELSEWHERE.get(key, "every variant sees the same data; search keys of model and train")
        return [Problem(key, "is no setting of a variant", remedy)]
    problems: list[Problem] = []
    for value in space.ends if isinstance(space, RangeSpec) else space:
        try:
            load_recipe(recipe, [_written(key, value)])
        except RecipeError as error:
            problems += error.problems
    return problems
