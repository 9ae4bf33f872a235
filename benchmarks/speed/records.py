"""The content of a result file of speed: the checked schema of `benchmarks/results/speed_*.json`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Record(BaseModel):
    """Strict and frozen; NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Interval(Record):
    """A median, or a figure made of medians, and its 95 % percentile-bootstrap interval over rounds."""

    median: float
    low: float
    high: float


class Ratio(Interval):
    """Paired ratios of interleaved rounds; seconds are medians over the rounds."""

    noise: Interval = Field(description="The same work by itself, a moment later: what two equal things differ by.")
    ours: float = Field(gt=0, description="Seconds of the numerator.")
    theirs: float = Field(gt=0, description="Seconds of the denominator.")
    rounds: list[tuple[float, float, float]] = Field(min_length=1, description="Seconds: ours, theirs, ours again.")


class Number(Record):
    """A count, or a ratio of counts, that has no noise."""

    value: float


class Target(Record):
    """The figure that should be reached."""

    figure: Literal["median", "high", "low", "value"] = Field(description="Which figure of the measurement is judged.")
    sign: Literal["<=", "<", ">="]
    limit: float

    def met_by(self, measured: Ratio | Interval | Number) -> bool:
        """Says whether a measurement reaches it."""
        value = float(getattr(measured, self.figure))
        compared = {"<=": value <= self.limit, "<": value < self.limit, ">=": value >= self.limit}
        return compared[self.sign]


class Measurement(Record):
    """One line of the table."""

    what: str = Field(min_length=1, description="What was measured, at which sizes.")
    measured: Ratio | Interval | Number
    unit: str = Field("", description="The unit of the figures; empty for ratios.")
    target: Target | None = None
    more: dict[str, Any] = Field(default_factory=dict, description="Sizes and further figures.")

    @property
    def met(self) -> bool | None:
        """True where the target is met; None where there is none."""
        return None if self.target is None else self.target.met_by(self.measured)


class Row(Record):
    """A row of the table of targets: measured, or why not."""

    title: str
    measurements: list[Measurement] = []
    not_measured: str = Field("", description="Why it was not measured; empty where it was.")
    seconds: float = Field(ge=0, description="How long measuring it took.")
    made: dict[str, Any] = Field(description="Commit, versions, device, platform, command, threads and time of it.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.measurements) == bool(self.not_measured):
            raise ValueError("a row is measured or says why it is not, and not both")
        return self


class SpeedResult(Record):
    """A result file: the rows that were measured on one kind of device."""

    kind: Literal["speed"] = "speed"
    device: Literal["cpu", "cuda"]
    rows: dict[str, Row]
