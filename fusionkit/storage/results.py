"""The shape of a ``results.json``, as far as a report reads it: a damaged one is refused before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Results = Mapping[str, Any]
"""What a ``results.json`` holds, as plain data."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A number of samples. Larger numbers are none of ours, and NumPy's do not hold them."""


class _Shape(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


class _Interval(_Shape):
    low: float | None
    high: float | None


class _Mean(_Interval):
    mean: float | None


class _Gain(_Interval):
    mean: float


class _Difference(_Shape):
    folds: int
    difference: _Gain
    wilcoxon_p: float | None
    t_p: float | None
    corrected_t_p: float | None


class _OverAlone(_Difference):
    modality: str
    alone: float


class _OverConstant(_Difference):
    constant: float
    surely: bool


class _Summary(_Mean):
    by_fold: dict[str, float]
    against: dict[str, _Difference | None]
    inferior: dict[str, str] | None
    compared_folds: int | None
    over_alone: _OverAlone | None = None
    over_constant: _OverConstant | None = None

    @model_validator(mode="after")
    def _has_a_mean(self) -> Self:
        if self.mean is None and (self.by_fold or self.over_constant is not None):
            raise ValueError("the mean is null, although folds have values")
        return self


class _Row(_Interval):
    variant: str | None
    branch: str
    fold: str
    seed: int
    samples: int
    value: float | None
    metrics: dict[str, float | None]
    run: str


class _Column(_Shape):
    name: str
    branch: str
    runs: str


class _Fold(_Shape):
    name: str
    split_hash: str | None = None
    train: int | None = None
    test: int | None = None


class _Folds(_Shape):
    type: str | None = None


class _Protocol(_Shape):
    label: str
    folds: _Folds | None


class _Confusion(_Shape):
    classes: list[str] | None
    matrices: dict[str, list[list[Count]]]

    @model_validator(mode="after")
    def _are_square(self) -> Self:
        size = len(self.classes or ())
        for name, matrix in self.matrices.items():
            if [len(row) for row in matrix] != [size] * size:
                raise ValueError(f"the matrix of {name!r} is not of {size} rows and columns, one for each class")
        return self


class _Measure(_Shape):
    higher_is_better: bool
    share: bool = False
    of_samples: bool = False
    has_unit: bool = False
    low: float | None = None
    high: float | None = None


class _Failure(_Shape):
    variant: str
    fold: str
    seed: int
    error: str
    traceback: str | None = None


class _Variant(_Shape):
    of: str | None = None
    branch: str | None
    overrides: list[str] | None = None


class _Source(_Shape):
    source: str
    values: dict[str, float]


class _Paper(_Shape):
    source: str
    unit: str | None = None
    folds: dict[str, dict[str, float]] | None = None
    values: dict[str, float] | None = None
    also: list[_Source] | None = None
    remarks: list[str] | None = None


class _Experiment(_Shape):
    variants: dict[str, _Variant]
    paper: _Paper | None


class _Model(_Shape):
    modalities: dict[str, dict[str, Any]]


class _Recipe(_Shape):
    model: _Model


class _Pair(_Interval):
    column: str
    other: str
    difference: float
    p: float | None
    holm_p: float | None


class _Ranks(_Shape):
    mean: dict[str, float]
    folds: int
    friedman_p: float | None
    critical_difference: float | None


class _Budget(_Shape):
    epochs: int | None = None
    minutes: float | None = None

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("epochs or minutes are expected")
        return self


class _Tuning(_Shape):
    trials: int
    search: dict[str, Any]
    also: dict[str, dict[str, Any]]


class _Choice(_Shape):
    variant: str
    fold: str
    trial: int
    overrides: list[str]
    values: list[float | None]
    branch: str


class _Cost(_Shape):
    parameters: float
    memory: float
    epoch_seconds: float
    run_seconds: float


class _Comparison(_Shape):
    budget: _Budget
    epochs: dict[str, int]
    tuning: _Tuning | None
    choices: list[_Choice]
    ranks: _Ranks
    against_first: list[_Pair]
    pairs: list[_Pair]
    pairs_compared: int
    over_alone: dict[str, float] = {}
    cost: dict[str, _Cost]


class ResultsShape(_Shape):
    """What a report reads of the results of an experiment or a comparison."""

    experiment: _Experiment
    recipes: dict[str, _Recipe]
    target: str
    metric: str
    higher_is_better: bool
    measures: dict[str, _Measure] | None = None
    folds: list[_Fold]
    seeds: list[int]
    protocol: _Protocol
    selection: str
    columns: list[_Column]
    rows: list[_Row]
    summary: dict[str, _Summary]
    confusion: _Confusion
    failures: list[_Failure]
    notes: list[str]
    data_notes: list[str] = []
    versions: dict[str, str]
    platform: str
    device: str
    commit: str
    command: str
    time: str
    comparison: _Comparison | None = None

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        names = [column.name for column in self.columns]
        if not names:
            raise ValueError("columns: there is none")
        lacking = [name for name in names if name not in self.summary]
        lacking += [name for name in self.summary if name not in names]
        if lacking:
            raise ValueError(f"columns and summary are not of the same names: {', '.join(lacking)}")
        return self
