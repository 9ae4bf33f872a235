"""The results of an experiment or a comparison, ``results.json``: values by fold, summaries, tests and failures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from fusionkit.config.schema import Name
from fusionkit.config.validation import find_value
from fusionkit.interfaces import Metric, TargetKind
from fusionkit.storage.records.comparison import Comparison
from fusionkit.storage.records.document import Document, Interval, Measured, Part

Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A number of samples. Larger numbers are none of ours, and NumPy's do not hold them."""

LONGEST_PATH = 4096
"""The most characters of a path that common systems take."""


class Gain(Interval):
    """A mean difference over folds."""

    mean: float


class Difference(Part):
    """A column minus another over the folds of both, and the p of three paired tests."""

    folds: int
    difference: Gain
    wilcoxon_p: float | None
    t_p: float | None
    corrected_t_p: float | None


class OverAlone(Difference):
    """A fused column against the best network of one modality, and the mean of that."""

    modality: str
    alone: float


class OverConstant(Difference):
    """A column against the constant answer, its mean, and whether the column is better by more than noise."""

    constant: float
    surely: bool


class Summary(Interval):
    """A column over all folds.

    Args:
        by_fold: The mean over seeds; of folds whose every seed has a value.
        mean: The mean over folds; None where no fold has a value.
        interval: What kind of interval that is.
        against: By column before it, the difference; None where they share no fold.
        inferior: By fold where a single modality is better, that modality; None of columns that fuse nothing.
        compared_folds: The folds in which it was held against single modalities.
        over_alone: The best single modality; an earlier version did not say it.
        over_constant: The constant answer.
    """

    by_fold: dict[str, float]
    mean: float | None
    interval: str = ""
    against: dict[str, Difference | None]
    inferior: dict[str, str] | None
    compared_folds: int | None
    over_alone: OverAlone | None = None
    over_constant: OverConstant | None = None

    @model_validator(mode="after")
    def _has_a_mean(self) -> Self:
        if self.mean is None and (self.by_fold or self.over_constant is not None):
            raise ValueError("the mean is null, although folds have values")
        return self


class Row(Interval):
    """A branch of a run; `variant` is None where it is no column, but a network that others are held against."""

    variant: str | None
    branch: str
    trained: str
    fold: str
    seed: int
    samples: int
    value: float | None
    metrics: dict[str, float | None]
    run: str = Field(max_length=LONGEST_PATH)

    @field_validator("run")
    @classmethod
    def _is_below_the_folder(cls, run: str) -> str:
        path = PurePosixPath(run)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in run:
            raise ValueError("it is no folder below that of the experiment")
        return run


class ResultColumn(Part):
    """A column of the table: the variant whose runs it reads, and the branch that it reads of them."""

    name: str
    branch: str
    runs: str
    alone: str | None = None
    automatic: bool = False


class Fold(Part):
    """A fold, with the hash of its split where all runs agree on it."""

    name: str
    split_hash: str | None = None
    train: int | None = None
    test: int | None = None


class Protocol(Part):
    """The name that the result may have, and the folds as a recipe states them."""

    label: str
    folds: dict[str, Any] | None

    @field_validator("folds")
    @classmethod
    def _have_a_type(cls, folds: dict[str, Any] | None) -> dict[str, Any] | None:
        if folds is not None and not isinstance(folds.get("type", ""), str):
            raise ValueError("their type is no text")
        return folds


class Confusion(Part):
    """By column its confusion matrix over all folds and seeds; rows are true, columns predicted."""

    classes: list[str] | None
    matrices: dict[str, list[list[Count]]]

    @property
    def names(self) -> list[str]:
        """The classes; none where there are no matrices."""
        return self.classes or []

    @model_validator(mode="after")
    def _are_square(self) -> Self:
        size = len(self.classes or ())
        for name, matrix in self.matrices.items():
            if [len(row) for row in matrix] != [size] * size:
                raise ValueError(f"the matrix of {name!r} is not of {size} rows and columns, one for each class")
        return self


class FailedRun(Part):
    """A run that failed."""

    variant: str
    fold: str
    seed: int
    error: str
    traceback: str | None = None


class Variant(Part):
    """A variant as the experiment's file states it."""

    model_config = ConfigDict(extra="allow")

    of: str | None = None
    branch: str | None
    overrides: list[str] | None = None


class Source(Part):
    """A further place where numbers are published."""

    source: str
    values: dict[str, float]


class Paper(Part):
    """Published numbers, as the experiment's file states them."""

    source: str
    unit: str | None = None
    folds: dict[str, dict[str, float]] | None = None
    values: dict[str, float] | None = None
    also: list[Source] | None = None
    remarks: list[str] | None = None


class StatedExperiment(Part):
    """The experiment's file, as far as reports read it."""

    model_config = ConfigDict(extra="allow")

    variants: dict[str, Variant]
    paper: Paper | None


class Results(Document, Measured):
    """The results of an experiment or a comparison.

    Args:
        experiment: What its file says.
        recipes: By variant that trains, its complete recipe.
        target: The compared target.
        target_kind: What that is; an earlier version did not say it.
        metric: The metric that is compared.
        folds: The folds.
        seeds: The seeds.
        protocol: What the result may be called.
        selection: How the epoch was selected.
        columns: The columns of the table; the first is what others are compared with.
        rows: The runs.
        summary: By column.
        confusion: Confusion matrices, where the target has classes.
        failures: The runs that failed.
        notes: What a reader must know.
        data_notes: What the dataset says of its files.
        comparison: What a comparison adds; None of an experiment.
    """

    title: ClassVar[str] = "results"
    remedy: ClassVar[str] = "the command of the experiment makes it again"

    experiment: StatedExperiment
    recipes: dict[str, dict[str, Any]]
    target: Name
    target_kind: TargetKind | None = None
    metric: str
    folds: list[Fold]
    seeds: list[int]
    protocol: Protocol
    selection: str
    device: str
    commit: str
    versions: dict[str, str]
    platform: str
    command: str
    time: str
    notes: list[str]
    data_notes: list[str] = Field([])
    columns: list[ResultColumn]
    rows: list[Row]
    summary: dict[str, Summary]
    confusion: Confusion
    failures: list[FailedRun]
    comparison: Comparison | None = None

    @property
    def main_metric(self) -> Metric:
        """The metric that is compared."""
        return self.metric_named(self.metric)

    @property
    def means(self) -> dict[str, float]:
        """The mean over folds of every column that has one."""
        return {name: column.mean for name, column in self.summary.items() if column.mean is not None}

    @property
    def targets(self) -> tuple[str, ...]:
        """Every target of some recipe."""
        stated = (find_value(each, ("model", "targets")) for each in self.recipes.values())
        return tuple(dict.fromkeys(name for targets in stated if isinstance(targets, Mapping) for name in targets))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Every modality of some recipe."""
        return tuple(dict.fromkeys(name for each in self.recipes.values() for name in each["model"]["modalities"]))

    @field_validator("recipes")
    @classmethod
    def _have_modalities(cls, recipes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, recipe in recipes.items():
            modalities = find_value(recipe, ("model", "modalities"))
            if not isinstance(modalities, Mapping) or not all(isinstance(of, dict) for of in modalities.values()):
                raise ValueError(f"the recipe of {name!r} states no modalities")
        return recipes

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        self.require_measure(self.metric)
        if self.targets and self.target not in self.targets:
            raise ValueError(f"target: no recipe has {self.target!r}; they have {', '.join(self.targets)}")
        names = [column.name for column in self.columns]
        if not names:
            raise ValueError("columns: there is none")
        lacking = [name for name in names if name not in self.summary]
        lacking += [name for name in self.summary if name not in names]
        if lacking:
            raise ValueError(f"columns and summary are not of the same names: {', '.join(lacking)}")
        return self
