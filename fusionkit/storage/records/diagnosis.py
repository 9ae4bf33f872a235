"""The worth of a run's encoders, fusion and modalities, ``diagnosis.json``; of one run, or of several.

A figure is a value with its 95 % interval. A gain is positive where the first is better, whatever the metric. Where
several runs are merged, what differs between them is None.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from fusionkit.interfaces import Metric, TargetKind
from fusionkit.storage.records.document import Document, Figure, Measured, Part

Third = Literal["first", "middle", "last"]


class Gradients(Part):
    """The angle between the gradients of a modality's own and of the fused loss over a training.

    Args:
        steps: How many were measured.
        cosine: The mean cosine.
        thirds: The mean of the first, middle and last third of the training.
        negative: The share of steps in which the two gradients conflict.
        norm_ratio: The median of the uni-modal gradient's norm over the fused one's.
        bins: The mean of each twentieth of the training, by its place, for a curve.
    """

    steps: int
    cosine: Figure
    thirds: dict[Third, Figure]
    negative: Figure
    norm_ratio: Figure
    bins: dict[str, Figure]


class Cost(Part):
    """Milliseconds per sample of the network with all modalities and without each, and what is spared without it."""

    batch: Figure
    all: Figure
    without: dict[str, Figure]
    spared: dict[str, Figure]


class Shapley(Part):
    """Shares of the score by modality, in the metric's own direction."""

    empty: Figure
    all: Figure
    shares: dict[str, Figure]


class Single(Part):
    """The score of a modality by itself, and where that answer comes from."""

    source: str | None
    score: Figure


class Constant(Part):
    """The score of the constant answer of the training part, and the gain over it."""

    score: Figure
    over: Figure


class Fusing(Part):
    """The best single modality by these very figures, and the gains over it and over the ensembles."""

    best_single: str | None = None
    over_best_single: Figure | None = None
    over_ensemble: Figure | None = None
    over_ensemble_log: Figure | None = Field(None, alias="over_ensemble (log)")

    @property
    def gains(self) -> dict[str, Figure | None]:
        """The gain over every rival, by its name."""
        return {
            "best_single": self.over_best_single,
            "ensemble": self.over_ensemble,
            "ensemble (log)": self.over_ensemble_log,
        }


class Probe(Part):
    """A linear head on a frozen encoder, and all else that was trained on the modality.

    Args:
        score: The linear head's.
        own_head: The run's own head.
        alone: The network trained alone.
        alone_probe: A linear head on the encoder of that.
        kept: The gain of the linear head here over the linear head there.
    """

    score: Figure
    own_head: Figure | None
    alone: Figure | None
    alone_probe: Figure | None
    kept: Figure | None


class ClassGain(Part):
    """The recall of a class by the fused network and by the best single modality, and the gain."""

    samples: int
    first: Figure
    second: Figure
    gain: Figure


class Rescued(Part):
    """Samples that the fused network tells right and a rival wrong, and the other way round; some of them by name."""

    samples: int
    rescued: int
    hurt: int
    rescued_share: Figure
    hurt_share: Figure
    rescued_samples: list[str] = Field([])
    hurt_samples: list[str] = Field([])


class Calibration(Part):
    """The distance of a branch from what it claims.

    Args:
        source: Whose answer it is.
        ece: The expected calibration error of classes.
        surplus: Of classes the mean confidence minus the share that is right; else the mean of what is said minus the
            mean of what is true.
    """

    source: str | None
    ece: Figure | None = None
    surplus: Figure


class Disagreement(Part):
    """The fused network on samples on which single modalities do not say the same.

    Args:
        samples: The number that every modality answers.
        disagree: The share on which they do; of numbers the mean distance.
        agree: The share that the fused network tells right where they agree.
        one_right: The same where they disagree and one of them or more is right.
        all_wrong: The same where they disagree and none is right.
        near: The fused network's mean absolute error on the half of the samples where numbers are nearer together.
        far: The same on the other half.
    """

    samples: int
    disagree: Figure
    agree: Figure | None = None
    one_right: Figure | None = None
    all_wrong: Figure | None = None
    near: Figure | None = None
    far: Figure | None = None


class DiagnosedTarget(Measured):
    """A target of a diagnosis.

    Args:
        score: The metric that it is judged by.
        kind: What the target is.
        samples: Test samples that state it.
        groups: Groups that these are of.
        fused: The fused branch's score.
        subsets: The same where only these modalities are present.
        shapley: Shares of the score; None of too many modalities.
        drop: By modality, the gain of having it, with all others there.
        singles: By modality, its score by itself: of a network trained alone where one is given, else of the run's own
            head, else of a linear head on the frozen encoder.
        ensemble: The score of their average.
        ensemble_log: The score of the average of their logarithms.
        constant: The constant answer; an earlier version had none.
        fusing: What fusing gains.
        probe: By modality, what is left in its encoder.
        classes: By class, what fusing does to its recall.
        rivals: By what the fused network is held against, single samples that it rescues and hurts.
        calibration: By branch.
        disagreement: Where modalities disagree; None with fewer than two.
    """

    score: str
    kind: TargetKind
    samples: int
    groups: int = 0
    fused: Figure
    subsets: dict[str, Figure]
    shapley: Shapley | None
    drop: dict[str, Figure]
    singles: dict[str, Single]
    ensemble: Figure | None
    ensemble_log: Figure | None = Field(None, alias="ensemble (log)")
    constant: Constant | None = None
    fusing: Fusing
    probe: dict[str, Probe]
    classes: dict[str, ClassGain]
    rivals: dict[str, Rescued]
    calibration: dict[str, Calibration]
    disagreement: Disagreement | None

    @property
    def main_metric(self) -> Metric:
        """The metric that it is judged by."""
        return self.metric_named(self.score)

    @property
    def ensembles(self) -> dict[str, Figure]:
        """The scores of the ensembles that there are, by name."""
        found = {"ensemble": self.ensemble, "ensemble (log)": self.ensemble_log}
        return {name: score for name, score in found.items() if score is not None}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        self.require_measure(self.score)
        return self


class DiagnosedProtocol(Part):
    """The fold of one run, or the folds of several; the rest is that of a card."""

    model_config = ConfigDict(extra="allow")

    label: str | None
    fold: str | None = None
    folds: Any = None
    split_hash: str | None = None


class DiagnosedRun(Part):
    """One of several runs, and whether fusing helped in it."""

    run: str
    fold: str
    seed: int
    fusing: dict[str, Fusing]


class Diagnosis(Document):
    """A finished run, or several of one variant, looked into."""

    title: ClassVar[str] = "a diagnosis"
    remedy: ClassVar[str] = "`fusionkit diagnose` makes it again"

    run: str | None = None
    each: list[DiagnosedRun] | None = None
    alone: dict[str, str | None] | None
    protocol: DiagnosedProtocol
    selection: str | None
    seed: int | None = None
    recipe: dict[str, Any]
    modalities: list[str]
    weights_sha256: str | None = None
    commit: str | None
    device: str
    platform: str
    command: str
    versions: dict[str, str]
    time: str
    notes: list[str]
    gradients: dict[str, Gradients] | None
    cost: Cost
    targets: dict[str, DiagnosedTarget]
