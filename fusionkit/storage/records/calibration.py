"""The calibration of a run, ``calibration.json``: temperatures and conformal scores, and how well they hold."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from fusionkit.interfaces import TargetKind
from fusionkit.storage.records.document import Document, Figure, Interval, Part

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Learned(Part):
    """Lessons of the samples of a calibration: of all, or of those with the same modalities.

    Args:
        samples: How many there are.
        groups: How many groups they are of; samples without a group count as one each.
        temperature: What logits are divided by; None of numbers, and where there are too few samples for one.
        scores: The conformal scores, rising.
        weights: Their weights; what lacks to one is the new group's.
    """

    samples: int
    groups: int
    temperature: Positive | None
    scores: list[Annotated[float, Field(ge=0)]] = Field(min_length=1)
    weights: list[Share]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if len(self.scores) != len(self.weights):
            raise ValueError(f"{len(self.scores)} scores have {len(self.weights)} weights")
        if any(low > high for low, high in zip(self.scores, self.scores[1:], strict=False)):
            raise ValueError("the scores do not rise")
        if sum(self.weights) > 1 + 1e-9:
            raise ValueError("the weights add up to more than one")
        return self


class CalibratedTarget(Part):
    """A target in one branch.

    Args:
        kind: What it is.
        classes: Its classes or labels; none of numbers.
        spread: Of each number the unit of its conformal scores.
        everything: What all samples taught.
        subsets: By modalities that a sample has, joined by ``+``, what such samples taught.
    """

    kind: TargetKind
    classes: list[str]
    spread: list[Positive]
    everything: Learned
    subsets: dict[str, Learned]


class Held(Part):
    """Some test samples: how often sets or intervals hold the truth, and what temperature does to probabilities.

    Args:
        samples: How many there are.
        groups: How many groups they are of.
        own: Whether the threshold was learned on samples of the same modalities alone.
        coverage: The mean over groups of the share of samples whose set or interval holds the truth.
        size: The mean number of classes or labels of a set; of numbers the mean width of each one's interval.
        nll: The mean negative log-likelihood before and after; None of numbers.
        gain: By how much that falls, with its interval.
        ece: The expected calibration error before and after; None where the target has no classes.
    """

    samples: int
    groups: int
    own: bool
    coverage: Figure
    size: list[float]
    nll: list[float] | None = None
    gain: Figure | None = None
    ece: list[float] | None = None


class Bins(Part):
    """Answers by the probability that was given to them, in equal bins from 0 to 1.

    Args:
        counts: Answers per bin.
        said: Their mean probability; None where a bin is empty.
        observed: The share of them that came true; None where a bin is empty.
    """

    counts: list[Annotated[int, Field(ge=0)]]
    said: list[Share | None]
    observed: list[Share | None]

    @model_validator(mode="after")
    def _is_of_one_length(self) -> Self:
        if not len(self.counts) == len(self.said) == len(self.observed):
            raise ValueError("counts, said and observed are of other lengths")
        return self


class Curves(Part):
    """The points of a figure of reliability, on test samples.

    Args:
        before: Of classes and labels, probabilities as trained.
        after: The same, calibrated.
        levels: Of numbers, levels of intervals.
        covered: How often intervals of each hold them; the mean over groups.
    """

    before: Bins | None = None
    after: Bins | None = None
    levels: list[Share] = Field([])
    covered: list[Share] = Field([])

    @model_validator(mode="after")
    def _is_of_one_length(self) -> Self:
        if len(self.levels) != len(self.covered) or (self.before is None) != (self.after is None):
            raise ValueError("levels and covered, or before and after, do not fit each other")
        return self


class CalibrationTable(Part):
    """The labelled table that a calibration was learned on.

    Args:
        name: Its name, without its folder.
        sha256: The hash of its bytes.
        compared: Whether the data of the training were there, so that none of its groups was trained on.
    """

    name: str
    sha256: str
    compared: bool


class Samples(Part):
    """Samples and groups of a part of the data."""

    samples: int
    groups: int


class Calibration(Document):
    """Everything that `fusionkit calibrate` learned and measured.

    Args:
        weights_sha256: The hash of the weights that it is of.
        split_hash: The hash of the split.
        label: What results on that split may be called.
        level: The level of sets and intervals whose coverage was measured.
        main: The branch that stands for the run.
        aside: The samples that it was learned on.
        test: The samples that it was measured on.
        expected: Where coverage lies in nine of ten calibrations on so many groups, if all is as assumed.
        notes: What a reader must know.
        branches: By branch and target, what was learned.
        held: By branch, target and modalities (``all`` for all samples), how well it holds.
        unfamiliar: By modality the share of test samples, the mean over groups, that lie farther from the training
            than every sample of the calibration.
        table: The table that it was learned on; None for the groups that the training set aside.
        curves: By target, what its figure of the main branch shows.
        told_from: Groups of test samples from which on a coverage is told; fewer may all lean one way by chance.
    """

    title: ClassVar[str] = "a calibration"
    remedy: ClassVar[str] = "remove it, or make it again with `fusionkit calibrate`"

    weights_sha256: str
    split_hash: str
    label: str
    level: Annotated[float, Field(gt=0, lt=1)]
    main: str
    aside: Samples
    test: Samples
    expected: Interval
    notes: list[str] = Field([])
    versions: dict[str, str]
    commit: str | None
    time: str
    branches: dict[str, dict[str, CalibratedTarget]]
    held: dict[str, dict[str, dict[str, Held]]]
    unfamiliar: dict[str, Figure] = Field({})
    table: CalibrationTable | None = None
    curves: dict[str, Curves] = Field({})
    told_from: int = 6

    def tells(self, held: Held) -> bool:
        """Tells whether some test samples are of enough groups to say how often sets hold the truth."""
        return held.groups >= self.told_from

    def describe_origin(self) -> str:
        """Says which samples it was learned on, such as ``24 samples of 12 groups of labelled.csv``."""
        of = "that the training set aside" if self.table is None else f"of {self.table.name}"
        return f"{self.aside.samples} samples of {self.aside.groups} groups {of}"
