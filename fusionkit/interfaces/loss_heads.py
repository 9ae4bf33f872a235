"""The contract of loss heads, and the records by which they say what their target and their metrics are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fusionkit.interfaces.data import RawTarget

TargetKind = Literal["classes", "labels", "numbers"]
"""One class of several, any number of labels, or numbers."""


@dataclass(frozen=True)
class Metric:
    """A figure of merit, as a loss head declares it and cards carry it.

    Args:
        name: The name under which `LossHead.metrics` gives it.
        higher_is_better: Whether more of it is better.
        share: Whether it is a share: shown in per cent, its differences in points.
        of_samples: Whether it is a share of samples, so that one of n is worth 1/n.
        has_unit: Whether it is in the target's own unit, as errors of numbers are.
        low: The least value that it can have; None where there is none.
        high: The greatest value that it can have; None where there is none.
    """

    name: str
    higher_is_better: bool
    share: bool = False
    of_samples: bool = False
    has_unit: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def sign(self) -> int:
        """1 where more is better, else -1: what a difference is multiplied by so that better is positive."""
        return 1 if self.higher_is_better else -1


def share(name: str, *, higher_is_better: bool = True, of_samples: bool = False) -> Metric:
    """Declares a metric that is a share of something, between 0 and 1."""
    return Metric(name, higher_is_better, share=True, of_samples=of_samples, low=0.0, high=1.0)


LOSS = Metric("loss", higher_is_better=False)
"""The mean loss, which every branch that has scores is judged by beside its head's metrics."""


class LossHead(nn.Module, ABC):
    """Scores from features, a loss per sample, predictions and their metrics, for one target.

    `in_features` is the width of what it reads; `hidden` is None for one dense unit (the paper's uni-modal branch,
    eqs. 8, 9) or the hidden width of its Scoring (the fused branch, eq. 2). `loss` and `metrics` are only given
    samples whose target is `known`. A head that sets `reads_blocks` has a further wired parameter ``blocks`` (widths of
    the modalities' vectors in its features) and goes with fusions that state them.

    A subclass declares its `kind`, its `measures` and its `score`; one of classes or labels sets `classes`. Everything
    that reports, compares or draws goes by these alone.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_features", "hidden")
    declared: ClassVar[tuple[str, ...]] = ("kind", "measures", "score")
    reads_blocks: ClassVar[bool] = False
    #: What its target is.
    kind: ClassVar[TargetKind]
    #: The metrics of `metrics`.
    measures: ClassVar[tuple[Metric, ...]]
    #: The name of the one of `measures` that summarises it in one number.
    score: ClassVar[str]
    #: Names of the classes or labels, in the order of the distribution; empty for numbers.
    classes: tuple[str, ...] = ()
    out_features: int

    @abstractmethod
    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """Returns the scores."""

    @abstractmethod
    def encode(self, value: RawTarget | None) -> Tensor:
        """Returns one sample's target, as the data state it, as a tensor; None becomes the mark of a missing target.

        Raises:
            ValueError: The value is no target of this head; the message names what would be.
        """

    @abstractmethod
    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """Returns the loss of each sample; the mean of it is the loss term."""

    @abstractmethod
    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """Returns what an ensemble may pool: probabilities of classes (they add up to one) or labels, or numbers.

        It has a column per class, label or number. A head of numbers may add columns of other things after them, such
        as a standard deviation; `predict` leaves those out.
        """

    @abstractmethod
    def predict(self, distribution: Tensor) -> Tensor:
        """Returns the prediction, in the shape of the encoded targets: class indices, sets of labels, or numbers."""

    @abstractmethod
    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Computes the `measures` over samples whose target is known; NaN where one is not defined."""

    @classmethod
    def measure(cls, name: str) -> Metric:
        """Returns what it declares of a metric; of the loss, too.

        Raises:
            KeyError: It has no such metric.
        """
        return {each.name: each for each in (*cls.measures, LOSS)}[name]

    def find_known(self, targets: Tensor) -> Bool[Tensor, " batch"]:
        """Returns the mask of the samples that state the target (of several numbers, at least one)."""
        stated = ~targets.isnan() if targets.is_floating_point() else targets >= 0
        return stated if stated.ndim == 1 else stated.flatten(1).any(dim=1)

    def check_targets(self, values: Sequence[RawTarget | None]) -> None:
        """Checks the targets of all samples of a fold, as the data state them; `encode` takes each of them.

        A head refuses here what only all of them together show; unless it says otherwise, nothing.

        Raises:
            ValueError: They cannot be learned together; the message says why, and what would be right.
        """

    def fit_targets(self, targets: Tensor) -> None:
        """Learns the scale of the known targets of the training part, once, before training.

        A head of numbers scales by them: `loss` takes targets in the user's unit all the same, `distribution` gives
        numbers in it, and scores are in another. What it keeps are buffers, which go with the weights.
        """

    def constant(self, targets: Tensor) -> Float[Tensor, " out_features"]:
        """Returns the scores of the best answer that does not look at a sample, from known targets of training samples.

        Unless a head knows better, they are those of the least mean loss over the targets, found by L-BFGS.
        """
        with torch.inference_mode(False), torch.enable_grad():
            wanted = targets.clone()  # what was made in inference mode cannot be differentiated
            scores = torch.zeros(self.out_features, requires_grad=True, device=targets.device)
            optimizer = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

            def closure() -> Tensor:
                loss = self.loss(scores.expand(len(wanted), -1), wanted).mean()
                (scores.grad,) = torch.autograd.grad(loss, [scores])
                return loss

            optimizer.step(closure)  # type: ignore[no-untyped-call]
        return scores.detach()

    def confusion(self, distribution: Tensor, targets: Tensor) -> Int[Tensor, "classes classes"] | None:
        """Counts how often each class (row) is predicted as each class (column); None where there is no such table."""
        return None

    @property
    def sums_suffice(self) -> bool:
        """True if its `statistics` are made for its `metrics`: a subclass with other metrics inherits none for them."""
        said, meant = (
            next(each for each in type(self).__mro__ if name in vars(each)) for name in ("metrics", "statistics")
        )
        return issubclass(meant, said)

    def statistics(self, distribution: Tensor, targets: Tensor) -> Float[Tensor, "samples statistics"] | None:
        """Returns numbers of each sample from whose sums all `metrics` follow by `metrics_of_sums`; None if none do.

        With them the intervals of a thousand resamples are a matrix product instead of a thousand calls of `metrics`.
        """
        return None

    def metrics_of_sums(self, sums: Float[Tensor, "resamples statistics"]) -> Mapping[str, Float[Tensor, " resamples"]]:
        """Computes the `metrics` of many sets of samples, from the sums of their `statistics`."""
        raise NotImplementedError(
            f"{type(self).__name__} gives statistics; write metrics_of_sums for their sums, or give none"
        )
