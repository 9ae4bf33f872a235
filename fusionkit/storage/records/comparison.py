"""The part of a comparison's results that an experiment lacks: budget, tuning, ranks, corrected tests and costs."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, model_validator

from fusionkit.storage.records.document import Interval, Part


class Budget(Part):
    """The epochs or the minutes of every run."""

    epochs: int | None = None
    minutes: float | None = None

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("epochs or minutes are expected")
        return self


class Tuning(Part):
    """The number of settings that every variant had in every fold, and the keys that were searched."""

    model_config = ConfigDict(extra="allow")

    trials: int
    search: dict[str, Any]
    also: dict[str, dict[str, Any]]


class ChosenTrial(Part):
    """The trial that was best for a variant in a fold, with the values of all trials of a branch."""

    variant: str
    fold: str
    trial: int
    overrides: list[str]
    values: list[float | None]
    branch: str


class Ranks(Part):
    """Mean ranks over folds, whether columns differ at all, and by how much ranks must differ (Nemenyi)."""

    mean: dict[str, float]
    folds: int
    friedman_p: float | None
    critical_difference: float | None


class Pair(Interval):
    """A column minus another, with an interval that holds for the whole family and the p corrected for it."""

    column: str
    other: str
    difference: float
    p: float | None
    holm_p: float | None


class VariantCost(Part):
    """The cost of a variant: parameters, FLOPs, bytes in training, seconds of an epoch and of a run."""

    parameters: float
    flops: float | None = None
    memory: float
    epoch_seconds: float
    run_seconds: float


class Comparison(Part):
    """The part of a comparison's results that an experiment lacks.

    Args:
        budget: What every run had.
        epochs: By variant.
        tuning: How it was tuned; None where nothing was.
        choices: The settings that were chosen.
        ranks: The columns ranked in every fold.
        against_first: Every column against the first, one family of tests.
        pairs: All pairs of columns, one family of tests.
        pairs_compared: How many these are; a document may hold some of them alone.
        over_alone: By fused column, the corrected p of its difference from the best single modality; an earlier version
            did not correct it.
        cost: By variant.
    """

    budget: Budget
    epochs: dict[str, int]
    tuning: Tuning | None
    choices: list[ChosenTrial]
    ranks: Ranks
    against_first: list[Pair]
    pairs: list[Pair]
    pairs_compared: int
    over_alone: dict[str, float] | None = None
    cost: dict[str, VariantCost]
