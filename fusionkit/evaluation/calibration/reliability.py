"""Reliability: whether what a network calls 80 % comes true in 80 % of the cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import RunError
from fusionkit.evaluation.calibration.coverage import Tested, average_over_groups, find_covered
from fusionkit.inference.calibration.calibrator import refine
from fusionkit.interfaces import LossHead
from fusionkit.storage.records.calibration import Bins, CalibratedTarget, Curves

BINS = 15

_LEVELS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))
"""Levels whose coverage is measured, as far as there are groups enough for them."""


@dataclass(frozen=True)
class Reliability:
    r"""Confidence and accuracy over 15 equal bins of confidence.

    .. math::
        \mathrm{ECE} = \sum_b \frac{|B_b|}{n} |\mathrm{acc}(B_b) - \mathrm{conf}(B_b)|, \qquad
        B_b = \{i : \tfrac{b-1}{15} < p_i \le \tfrac{b}{15}\}

    Args:
        counts: Answers per bin.
        confidence: Mean probability that was given per bin; NaN where it is empty.
        accuracy: Share of them that came true per bin; NaN where it is empty.

    Source:
        Guo et al. 2017, arXiv:1706.04599, eqs. (2), (3).
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """The expected calibration error, between 0 and 1."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((self.counts[filled] * gaps).sum() / self.counts.sum())

    @property
    def surplus(self) -> float:
        """Mean confidence minus accuracy: above zero it is too sure of itself, below too little."""
        filled = self.counts > 0
        gaps = self.confidence[filled] - self.accuracy[filled]
        return float((self.counts[filled] * gaps).sum() / self.counts.sum())

    def record(self) -> Bins:
        """Returns it as a part of a document."""
        said, observed = (
            [None if math.isnan(each) else each for each in of.tolist()] for of in (self.confidence, self.accuracy)
        )
        return Bins(counts=self.counts.tolist(), said=said, observed=observed)


def bin_answers(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """Bins answers by the probability that was given to them.

    Args:
        confidence: The probability of each answer.
        right: Whether it came true.
    """
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    place = np.searchsorted(edges, confidence, side="left")
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(
            counts,
            np.bincount(place, confidence, minlength=BINS) / counts,
            np.bincount(place, right.astype(np.float64), minlength=BINS) / counts,
        )


def bin_predictions(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> Reliability:
    """Bins the predicted classes of samples whose class is known and that the branch answers.

    Args:
        probabilities: ``(samples, classes)``; NaN where the branch says nothing.
        targets: The classes; negative where one is not known.

    Raises:
        RunError: No sample is left.

    Example:
        >>> bin_predictions(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])).ece
        0.4
    """
    spoken = (targets >= 0) & ~np.isnan(probabilities).any(axis=1)
    if not spoken.any():
        raise RunError("no sample has both a prediction and a known class")
    said, wanted = probabilities[spoken], targets[spoken]
    return bin_answers(said.max(axis=1), said.argmax(axis=1) == wanted)


def pool_predictions(parts: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> Reliability:
    """Bins the predicted classes of several runs together.

    Raises:
        RunError: No sample is left.
    """
    if not parts:
        raise RunError("no run's predictions could be read")
    return bin_predictions(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))


def find_curves(of: CalibratedTarget, head: LossHead, tested: Tested) -> Curves:
    """Finds what a figure shows of a calibrated target on test samples.

    Of classes, how often the predicted one is right, and of labels, how often each is there, by the probability that it
    was given, before and after the temperature. Of numbers the mean over groups of how often intervals of rising levels
    hold them.

    Args:
        of: What was learned of the target.
        head: The loss head.
        tested: The test samples.
    """
    predicted = head.predict(tested.said)
    if head.kind == "numbers":
        groups = of.everything.groups
        levels = [level for level in _LEVELS if level <= groups / (groups + 1)]
        refined = [refine(of, tested.said, predicted, tested.subsets, level) for level in levels]
        held = [find_covered(head, each, tested.wanted).double() for each in refined]
        shares = [average_over_groups(each, tested.groups).value for each in held]
        return Curves(levels=levels, covered=[share or 0.0 for share in shares])
    # The level plays no part in probabilities.
    after = refine(of, tested.said, predicted, tested.subsets, 0.5).probabilities
    before, calibrated = (_bin(head, said, tested.wanted).record() for said in (tested.said, after))
    return Curves(before=before, after=calibrated)


def _bin(head: LossHead, said: Tensor, wanted: Tensor) -> Reliability:
    if head.kind == "classes":
        return bin_predictions(said.double().numpy(), wanted.long().numpy())
    stated = ~wanted.isnan()
    return bin_answers(said.double()[stated].numpy(), (wanted[stated] == 1).numpy())
