"""Statistics of a comparison whose units are folds: intervals, paired tests, and the folds that a single modality wins.

Every fold's value is the mean over its seeds, so that seeds do not pass for independent evidence. The training parts
of folds overlap, so values of folds are not independent either: the plain intervals and tests are a little too
confident, and `compute_corrected_t_p` is the one that allows for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean over folds and its 95 % interval; without limits where one fold, or equal ones, do not tell the spread."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """A variant against the first one, over the folds that both have.

    Args:
        folds: How many folds both have.
        difference: Mean of the differences, variant minus first variant, with its interval.
        wilcoxon_p: Two-sided exact p of the signed-rank test.
        t_p: Two-sided p of the paired t test.
        corrected_t_p: The same with the variance corrected for training parts that overlap.
    """

    folds: int
    difference: Interval
    wilcoxon_p: float
    t_p: float | None
    corrected_t_p: float | None

    def plain(self) -> dict[str, object]:
        """Returns the comparison as plain data."""
        return asdict(self)


def estimate_mean(values: Sequence[float]) -> Interval:
    r"""Estimates the mean and its 95 % interval by Student's t, folds being the units.

    .. math::
        \bar v \pm t_{0.975, k-1} \frac{s}{\sqrt k}

    Example:
        >>> interval = estimate_mean([0.7, 0.8, 0.9])
        >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
        (0.8, 0.552, 1.048)
    """
    from scipy import stats

    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if np.ptp(np.round(array, 12)) == 0:
        return Interval(mean, None, None)
    half = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return Interval(mean, mean - half, mean + half)


def compute_wilcoxon_p(differences: Sequence[float]) -> float:
    """Computes the two-sided exact p of Wilcoxon's signed-rank test; ties share their mean rank.

    Differences of zero are left out, as Wilcoxon did; without any other the p is 1. Five folds cannot give less than
    0.0625, however clear the difference.

    Example:
        >>> compute_wilcoxon_p([0.1, 0.2, 0.3, 0.4, 0.5])
        0.0625
    """
    from scipy import stats

    array = np.round(np.asarray(differences, dtype=np.float64), 12)
    array = array[array != 0]
    if len(array) == 0:
        return 1.0
    # Sign patterns are counted by their sums, not one by one: scipy's `PermutationMethod` gives the same p, but takes a
    # thousand times as long for 12 folds, and draws patterns at random for 24, whose p is then right to two digits.
    doubled = np.rint(2 * stats.rankdata(np.abs(array))).astype(np.int64)  # whole numbers, with halves in mean ranks
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    observed = int(doubled[array > 0].sum())
    tail = min(ways[: observed + 1].sum(), ways[observed:].sum()) / ways.sum()
    return float(min(1.0, 2 * tail))


def compute_t_p(differences: Sequence[float]) -> float | None:
    """Computes the two-sided p of the paired t test; None for a single fold, and where all differences are the same."""
    return compute_corrected_t_p(differences, 0.0)


def compute_corrected_t_p(differences: Sequence[float], test_to_train: float) -> float | None:
    r"""Computes the two-sided p of the corrected resampled t test, which allows for training parts that overlap.

    .. math::
        t = \frac{\bar d}{\sqrt{(1/k + n_\mathrm{test}/n_\mathrm{train})\, s_d^2}}

    Args:
        differences: One per fold.
        test_to_train: Test samples per training sample.

    Returns:
        The p; None for a single fold, and where all differences are the same.

    Source:
        Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366, section 3.
    """
    from scipy import stats

    array = np.round(np.asarray(differences, dtype=np.float64), 12)
    if len(array) < 2:
        return None
    if np.ptp(array) == 0:  # equal differences do not tell how far they spread; their deviation may round to something
        return 1.0 if array[0] == 0 else None
    spread = float(array.std(ddof=1)) * math.sqrt(1 / len(array) + test_to_train)
    return float(2 * stats.t.sf(abs(float(array.mean())) / spread, len(array) - 1))


def compare(values: Mapping[str, float], first: Mapping[str, float], test_to_train: float) -> Comparison | None:
    """Compares a variant's values by fold with the first variant's; None where they have no fold in common."""
    shared = [fold for fold in first if fold in values]
    if not shared:
        return None
    differences = [values[fold] - first[fold] for fold in shared]
    return Comparison(
        folds=len(shared),
        difference=estimate_mean(differences),
        wilcoxon_p=compute_wilcoxon_p(differences),
        t_p=compute_t_p(differences),
        corrected_t_p=compute_corrected_t_p(differences, test_to_train),
    )
