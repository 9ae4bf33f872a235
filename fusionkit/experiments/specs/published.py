"""Published numbers that an experiment is set beside."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from fusionkit.config.components.specs import Record
from fusionkit.errors import Problem, suggest_names
from fusionkit.interfaces import Metric

Values = dict[str, float]


class SourceSpec(Record):
    """A further place where numbers are published, which may contradict the first."""

    source: str = Field(min_length=1, description="Where they stand, such as Table 4.")
    values: Values = Field(min_length=1, description="Mean over folds by variant, in the same unit.")


class ReferenceSpec(Record):
    """Published numbers to stand beside ours: `source`, and `values`, `folds` or both."""

    source: str = Field(min_length=1, description="Where they stand, with what differs from this experiment.")
    unit: Literal["metric", "percent"] = Field(
        "metric",
        description="Unit of all numbers here: that of the metric (accuracies between 0 and 1), or per cent of it.",
    )
    values: Values = Field(
        {}, description="Mean over folds by variant, as published; where it is left out, the mean of `folds`."
    )
    folds: dict[str, Values] = Field(
        {}, description="By variant and fold. Folds that the experiment does not run are shown as not measured."
    )
    also: tuple[SourceSpec, ...] = Field(
        (), description="Further sources, each with `source` and `values`; where they disagree, the report says so."
    )
    remarks: tuple[str, ...] = Field((), description="What a reader must know when comparing, sentence by sentence.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.values and not self.folds:
            raise ValueError("paper needs numbers: values by variant, or folds by variant and fold")
        return self

    def numbers(self) -> Iterator[tuple[str, str, float]]:
        """Yields every number with its place in the file and its variant."""
        for variant, value in self.values.items():
            yield f"paper.values.{variant}", variant, value
        for variant, by_fold in self.folds.items():
            for fold, value in by_fold.items():
                yield f"paper.folds.{variant}.{fold}", variant, value
        for position, source in enumerate(self.also):
            for variant, value in source.values.items():
                yield f"paper.also[{position}].values.{variant}", variant, value


def find_misnamed(reference: ReferenceSpec, variants: Collection[str]) -> list[Problem]:
    """Lists what is wrong with the names of variants."""
    places: dict[str, Mapping[str, object]] = {
        "paper.values": reference.values,
        "paper.folds": reference.folds,
        **{f"paper.also[{position}].values": source.values for position, source in enumerate(reference.also)},
    }
    problems = [
        Problem(f"{place}.{name}", "no variant of the experiment", suggest_names(name, variants))
        for place, named in places.items()
        for name in named
        if name not in variants
    ]
    empty = [name for name, by_fold in reference.folds.items() if not by_fold]
    return problems + [Problem(f"paper.folds.{name}", "no fold is given", "fold: number") for name in empty]


def find_implausible(reference: ReferenceSpec, folds: Collection[str], metric: Metric) -> list[Problem]:
    """Lists what does not fit folds and metric: no fold in common, and shares that are not between 0 and 1.

    Single folds may be unknown: a paper's data may hold actors that the data lack.
    """
    given = list(dict.fromkeys(fold for by_fold in reference.folds.values() for fold in by_fold))
    problems = []
    if given and not set(given) & set(folds):
        remedy = f"the protocol's folds are {', '.join(list(folds)[:6])}{', ...' if len(folds) > 6 else ''}"
        problems.append(Problem("paper.folds", f"none of {', '.join(given[:6])} is a fold", remedy))
    if metric.share:
        most = 1.0 if reference.unit == "metric" else 100.0
        for place, _, value in reference.numbers():
            if not 0.0 <= value <= most:
                remedy = f"{metric.name} is between 0 and {most:g} here; write unit: percent for per cent"
                problems.append(Problem(place, f"given {value:g}", remedy))
    return problems
