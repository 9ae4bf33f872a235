"""The figures of a run or an experiment under corruptions, ``stress.json``."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fusionkit.interfaces import Metric
from fusionkit.storage.records.document import Document, Figure, Interval, Measured, Part


class StressTarget(Measured):
    """By which metric a target is judged."""

    metric: str

    @property
    def main_metric(self) -> Metric:
        """The metric."""
        return self.metric_named(self.metric)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        self.require_measure(self.metric)
        return self


class StressPoint(Interval):
    """A level of a curve: the mean over folds with its interval, and the values that it is of."""

    level: float
    mean: float | None
    by_fold: dict[str, float]
    by_seed: dict[str, dict[str, float | None]]
    samples: int


class StressCurve(Part):
    """A branch under one corruption of one modality."""

    target: str
    column: str
    branch: str
    runs: str
    corruption: str
    modality: str
    unit: str
    gain: Figure
    points: list[StressPoint]

    @property
    def untouched(self) -> StressPoint:
        """The point without corruption."""
        return next(point for point in self.points if point.level == 0)

    @property
    def strongest(self) -> StressPoint:
        """The point that is farthest from untouched: below 0 a modality comes early."""
        return max(self.points, key=lambda point: abs(point.level))

    @model_validator(mode="after")
    def _begins_untouched(self) -> Self:
        if not any(point.level == 0 for point in self.points):
            raise ValueError("points: none is of level 0")
        return self


class StressedInput(Part):
    """A modality over a test part: who has it, elements per second, and its deviation by channel."""

    samples: int
    rate: float | None
    deviation: list[float]


class StressedWeights(Part):
    """A run that was stressed."""

    variant: str
    fold: str
    seed: int
    weights_sha256: str
    inputs: dict[str, StressedInput]


class Stress(Document):
    """A run, or the runs of an experiment, under every corruption and level."""

    title: ClassVar[str] = "a stress test"
    remedy: ClassVar[str] = "`fusionkit stress` makes it again"

    kind: Literal["run", "experiment"]
    levels: dict[str, list[float]]
    seed: int
    targets: dict[str, StressTarget]
    folds: list[str]
    seeds: list[int]
    samples: int
    groups: int
    protocol: str
    selection: str
    curves: list[StressCurve]
    runs: list[StressedWeights]
    notes: list[str]
    commit: str | None
    device: str
    platform: str
    command: str
    versions: dict[str, str]
    time: str
