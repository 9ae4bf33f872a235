"""Conclusions from many columns at once: ranks, tests corrected for their number, and the columns that differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusionkit.evaluation.statistics import compute_corrected_t_p

LEVEL = 0.05

DRAWS = 20_000
"""Arrangements that are drawn where there are more of them than that; fewer are all counted."""

Values = Mapping[str, Mapping[str, float]]
"""By column and fold."""


@dataclass(frozen=True)
class Ranks:
    """Columns ranked in every fold.

    Args:
        mean: By column, its mean rank over folds; 1 is best, equal values share the mean of their ranks.
        folds: How many folds have all columns.
        friedman_p: Whether the columns differ at all, by Friedman's statistic and its permutation distribution.
        critical_difference: By how much mean ranks must differ to differ by more than noise (Nemenyi, 5 %).
    """

    mean: Mapping[str, float]
    folds: int
    friedman_p: float | None
    critical_difference: float | None


@dataclass(frozen=True)
class Pair:
    """Two columns, over the folds that both have.

    Args:
        column: The one.
        other: The other.
        difference: Mean of the differences, `column` minus `other`.
        low: Lower limit of the difference's interval, which holds for all pairs of the family together.
        high: Upper limit.
        p: Two-sided p of the corrected resampled t test; None where folds do not tell the spread.
        holm_p: The same, corrected for the number of pairs in the family.
    """

    column: str
    other: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    holm_p: float | None


def rank(values: Values, higher_is_better: bool) -> Ranks:
    r"""Ranks the columns in every fold that all of them have.

    .. math::
        \chi^2_F = \frac{12 n}{k (k + 1)} \sum_j \left( \bar r_j - \frac{k + 1}{2} \right)^2, \quad
        \mathrm{CD} = \frac{q_{0.05, k}}{\sqrt 2} \sqrt{\frac{k (k + 1)}{6 n}}

    n folds, k columns, mean ranks :math:`\bar r_j`, q of the studentised range. The p of Friedman's statistic is the
    share of the arrangements of every fold's ranks, all equally likely where columns do not differ, that give one as
    large: of all :math:`(k!)^n` where they are few, else of a seeded 20,000 draws, the observed one counted among them.
    Unlike the approximations by chi-square and by Iman and Davenport's F it holds for few folds and with ties. The
    folds of one data set share training samples, so the test is a little too confident.

    Source:
        Demsar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, section 3.2; there the p is by F.
        Friedman 1937, The Use of Ranks to Avoid the Assumption of Normality Implicit in the Analysis of Variance.

    Example:
        >>> ranks = rank({"a": {"f1": 0.9, "f2": 0.8}, "b": {"f1": 0.7, "f2": 0.8}}, higher_is_better=True)
        >>> dict(ranks.mean), ranks.folds
        ({'a': 1.25, 'b': 1.75}, 2)
    """
    from scipy import stats

    columns = list(values)
    folds = [fold for fold in next(iter(values.values()), {}) if all(fold in values[name] for name in columns)]
    if not folds:
        return Ranks({}, 0, None, None)
    table = np.round(np.array([[values[name][fold] for name in columns] for fold in folds]), 12)
    ranks = stats.rankdata(-table if higher_is_better else table, axis=1)
    means = ranks.mean(axis=0)
    n, k = table.shape
    p = critical = None
    if n > 1 and k > 1:
        p = _compute_permutation_p(ranks)
        q = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / math.sqrt(2)
        critical = q * math.sqrt(k * (k + 1) / (6 * n))
    return Ranks(dict(zip(columns, means.tolist(), strict=True)), n, p, critical)


def correct_p_values(p: Sequence[float]) -> list[float]:
    r"""Corrects p values for their number by Holm's step-down method.

    .. math::
        \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})

    Source:
        Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    Example:
        >>> [round(each, 12) for each in correct_p_values([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    corrected, least = [0.0] * len(p), 0.0
    for step, index in enumerate(sorted(range(len(p)), key=lambda at: p[at])):
        least = max(least, min(1.0, (len(p) - step) * p[index]))
        corrected[index] = least
    return corrected


def compare_with_first(values: Values, first: str, test_to_train: float) -> list[Pair]:
    """Compares every other column with the first, in one family of tests."""
    return _compare_pairs(values, [(name, first) for name in values if name != first], test_to_train)


def compare_all_pairs(values: Values, test_to_train: float) -> list[Pair]:
    """Compares every column with every one before it, in one family of tests."""
    return _compare_pairs(values, [(b, a) for a, b in itertools.combinations(values, 2)], test_to_train)


def find_simultaneous_interval(
    differences: Sequence[float], test_to_train: float, comparisons: int
) -> tuple[float, float] | None:
    r"""Finds an interval that holds with 95 % for all comparisons together.

    .. math::
        \bar d \pm t_{1 - 0.025 / m,\, k - 1} \sqrt{\left( \frac{1}{k}
        + \frac{n_\mathrm{test}}{n_\mathrm{train}} \right) s_d^2}

    Args:
        differences: One per fold, k of them.
        test_to_train: Test samples per training sample, by which training parts that overlap are allowed for.
        comparisons: How many there are, m (Bonferroni).

    Returns:
        The limits; None where one fold, or equal differences, do not tell the spread.
    """
    from scipy import stats

    array = np.asarray(differences, dtype=np.float64)
    if len(array) < 2 or np.ptp(np.round(array, 12)) == 0:
        return None
    quantile = float(stats.t.ppf(1 - LEVEL / 2 / comparisons, len(array) - 1))
    half = quantile * float(array.std(ddof=1)) * math.sqrt(1 / len(array) + test_to_train)
    return float(array.mean()) - half, float(array.mean()) + half


def _compute_permutation_p(ranks: NDArray[np.float64]) -> float:
    """Computes the share of arrangements within folds, the rows, whose rank sums spread as far as the observed ones.

    Arrangements keep the ties of a fold, so Friedman's statistic grows with the squares of the rank sums alone. It
    does not tell columns apart either, so the first fold may stay as it is: k! times fewer arrangements are to be
    counted than by scipy's `permutation_test`, and more tables get an exact p.
    """
    n, k = ranks.shape
    doubled = np.rint(2 * ranks).astype(np.int64)  # whole numbers, with halves in mean ranks
    first, *others = doubled
    counted = math.factorial(k) ** (n - 1) <= DRAWS
    sums = first[None] if counted else np.tile(first, (DRAWS, 1))
    orders = np.array(list(itertools.permutations(range(k)))) if counted else None
    generator = np.random.default_rng(0)
    for row in others:
        if orders is not None:
            sums = (sums[:, None] + row[orders]).reshape(-1, k)
        else:
            sums = sums + generator.permuted(np.tile(row, (DRAWS, 1)), axis=1)
    as_far = int((np.square(sums).sum(axis=1) >= np.square(doubled.sum(axis=0)).sum()).sum())
    return as_far / len(sums) if counted else (1 + as_far) / (1 + DRAWS)


def _compare_pairs(values: Values, pairs: Sequence[tuple[str, str]], test_to_train: float) -> list[Pair]:
    differences = {}
    for column, other in pairs:
        shared = [fold for fold in values[column] if fold in values[other]]
        if shared:
            differences[column, other] = [values[column][fold] - values[other][fold] for fold in shared]
    p = {pair: compute_corrected_t_p(of, test_to_train) for pair, of in differences.items()}
    known = {pair: value for pair, value in p.items() if value is not None}
    corrected = dict(zip(known, correct_p_values(list(known.values())), strict=True))
    family = []
    for (column, other), of in differences.items():
        low, high = find_simultaneous_interval(of, test_to_train, len(differences)) or (None, None)
        pair = (column, other)
        family.append(Pair(column, other, float(np.mean(of)), low, high, p[pair], corrected.get(pair)))
    return family
