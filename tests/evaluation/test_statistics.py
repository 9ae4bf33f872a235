"""Statistics of folds: intervals and paired tests, held to scipy's and to all sign patterns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from fusionkit.evaluation.statistics import (
    compare,
    compute_corrected_t_p,
    compute_t_p,
    compute_wilcoxon_p,
    estimate_mean,
)

DIFFERENCES = [0.021, -0.013, 0.044, 0.005, 0.038, 0.012, -0.002]


def test_the_interval_is_students_t_over_folds():
    values = np.array([0.81, 0.76, 0.9, 0.84, 0.79])
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    interval = estimate_mean(list(values))
    np.testing.assert_allclose([interval.mean, interval.low, interval.high], [values.mean(), low, high], atol=1e-12)


def test_a_single_fold_has_a_mean_and_no_interval_or_test():
    assert estimate_mean([0.5]) == estimate_mean((0.5,))
    assert (estimate_mean([0.5]).low, compute_t_p([0.1])) == (None, None)


def test_wilcoxon_is_scipys_exact_test():
    assert compute_wilcoxon_p(DIFFERENCES) == pytest.approx(
        stats.wilcoxon(DIFFERENCES, method="exact").pvalue, abs=1e-12
    )


def test_wilcoxon_counts_all_sign_patterns_where_there_are_ties():
    tied = np.array([0.1, 0.1, -0.1, 0.2, 0.2, 0.3])
    ranks = stats.rankdata(np.abs(tied))
    observed = ranks[tied > 0].sum()
    sums = [ranks[np.array(signs)].sum() for signs in itertools.product([True, False], repeat=len(tied))]
    tails = [np.mean([value <= observed for value in sums]), np.mean([value >= observed for value in sums])]
    assert compute_wilcoxon_p(list(tied)) == pytest.approx(min(1, 2 * min(tails)), abs=1e-12)


def test_equal_variants_have_a_p_of_one():
    assert compute_wilcoxon_p([0.0, 0.0, 0.0]) == 1.0
    assert compute_t_p([0.0, 0.0, 0.0]) == 1.0


def test_equal_differences_do_not_pass_for_certainty():
    assert compute_t_p([1 / 3, 1 / 3]) is None
    assert compute_corrected_t_p([0.1, 0.1, 0.1], 0.2) is None
    assert estimate_mean([0.1, 0.1, 0.1]).low is None
    assert compare({"a": 0.9, "b": 0.7}, {"a": 0.6, "b": 0.4}, 0.2).corrected_t_p is None


def test_the_paired_t_test_is_scipys():
    assert compute_t_p(DIFFERENCES) == pytest.approx(stats.ttest_1samp(DIFFERENCES, 0).pvalue, abs=1e-10)


def test_the_corrected_test_widens_the_variance_by_test_to_train():
    d = np.array(DIFFERENCES)
    t = d.mean() / np.sqrt((1 / 7 + 0.5) * d.var(ddof=1))
    assert compute_corrected_t_p(DIFFERENCES, 0.5) == pytest.approx(2 * stats.t.sf(abs(t), 6), abs=1e-12)
    assert compute_corrected_t_p(DIFFERENCES, 0.5) > compute_t_p(DIFFERENCES)


def test_a_comparison_is_over_the_folds_that_both_have():
    found = compare({"a": 0.9, "b": 0.8}, {"b": 0.7, "c": 0.1}, 0.5)
    assert found.folds == 1
    assert found.difference.mean == pytest.approx(0.1)
    assert compare({"a": 0.9}, {"b": 0.7}, 0.5) is None


def draw_differences(folds: int, seed: int) -> np.ndarray:
    """Draws differences with ties and zeros."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(0.3, 1, folds) * rng.integers(1, 6)) / rng.integers(1, 20)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("folds", [4, 7, 10])
def test_wilcoxon_is_scipys_test_over_all_sign_patterns(folds, seed):
    differences = draw_differences(folds, seed)
    known = differences[differences != 0]
    if len(known) > 1:  # scipy refuses a single one
        expected = stats.wilcoxon(known, method=stats.PermutationMethod(n_resamples=2**folds)).pvalue
        assert compute_wilcoxon_p(differences) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("folds", [2, 5, 24])
def test_the_t_test_is_scipys_on_drawn_differences(folds, seed):
    differences = np.random.default_rng(seed).normal(0.1, 0.2, folds)
    assert compute_t_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-9)
