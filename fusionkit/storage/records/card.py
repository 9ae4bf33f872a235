"""The card of a run, ``metrics.json``: every figure with its interval, and all that says how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from fusionkit.config.validation import find_value
from fusionkit.interfaces import Metric, TargetKind
from fusionkit.storage.records.document import Document, Figure, Measured, Part
from fusionkit.storage.records.environment import Environment


class CardProtocol(Part):
    """The samples that were trained on and reported, and what the result may be called.

    A card of `new_data` is of samples that no protocol of the training names; its fold is the name of their table.
    """

    folds: dict[str, Any]
    fold: str
    split_hash: str
    label: str
    train: int
    validation: int
    test: int
    test_groups: list[str] = Field([])
    new_data: bool = False


class Selection(Part):
    """The rule that selected the epoch, and what it is called."""

    rule: str
    label: str


class Intervals(Part):
    """The method of the intervals."""

    method: str
    level: float
    units: int
    resamples: int
    seed: int


class PresentBranch(Part):
    """A branch on the samples that have some modality."""

    samples: int
    metrics: dict[str, float | None]


class CardBranch(Part):
    """A branch on the samples that it is judged on.

    Args:
        trained: How it was trained.
        samples: How many test samples its figures are over.
        metrics: Those of the loss head, and the loss where there are scores.
        confusion: Rows are true, columns predicted; None where the target has no classes.
        where: By modality that some samples lack, the figures over those that have it.
    """

    trained: str
    samples: int
    metrics: dict[str, Figure]
    confusion: list[list[int]] | None = None
    where: dict[str, PresentBranch] = Field({})


class CardTarget(Measured):
    """A target of a card.

    Args:
        type: The loss head's name in recipes.
        kind: One class of several, any number of labels, or numbers.
        classes: Its classes or labels; None for numbers.
        score: The metric that the loss head is judged by.
        branches: By branch.
    """

    type: str
    kind: TargetKind
    classes: list[str] | None
    score: str
    branches: dict[str, CardBranch]

    @property
    def main_metric(self) -> Metric:
        """The metric that the loss head is judged by."""
        return self.metric_named(self.score)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        self.require_measure(self.score)
        size = len(self.classes or ())
        for name, branch in self.branches.items():
            if branch.confusion is not None and [len(row) for row in branch.confusion] != [size] * size:
                raise ValueError(f"the confusion matrix of {name!r} is not of {size} rows and columns, one a class")
        return self


class Card(Document):
    """A run's figures, and how they came about.

    Cards of format 1 say neither kinds of targets nor what their metrics are.
    """

    title: ClassVar[str] = "a card"
    remedy: ClassVar[str] = "`fusionkit evaluate` makes it again"
    formats: ClassVar[tuple[int, ...]] = (1, 2)

    protocol: CardProtocol
    selection: Selection
    notes: list[str] = Field([])
    starts: dict[str, str] = Field({})
    seed: int
    recipe: dict[str, Any]
    recipe_sha256: str
    weights_sha256: str
    commit: str | None
    versions: dict[str, str]
    device: str
    platform: str
    time: str
    training: Environment
    intervals: Intervals
    targets: dict[str, CardTarget]

    @model_validator(mode="before")
    @classmethod
    def _with_kinds(cls, card: Any) -> Any:
        """Adds to a card of format 1 what its targets are, which the branches' confusion matrices tell."""
        if not isinstance(card, Mapping) or card.get("format") != 1 or not isinstance(card.get("targets"), Mapping):
            return card
        return {**card, "targets": {name: _with_kind(target) for name, target in card["targets"].items()}}


def _with_kind(target: Any) -> Any:
    branches = find_value(target, ("branches",))
    if not isinstance(target, Mapping) or "kind" in target or not isinstance(branches, Mapping):
        return target
    has_matrix = any(isinstance(branch, Mapping) and "confusion" in branch for branch in branches.values())
    kind: TargetKind = "numbers" if not target.get("classes") else "classes" if has_matrix else "labels"
    return {**target, "kind": kind}
