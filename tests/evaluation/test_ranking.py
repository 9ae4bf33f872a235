"""Ranks of many columns, Friedman's test over all arrangements, and families of tests corrected for their number."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fusionkit.evaluation.ranking import (
    compare_all_pairs,
    compare_with_first,
    correct_p_values,
    find_simultaneous_interval,
    rank,
)


def test_ranks_and_friedman_agree_with_their_formulas_restated() -> None:
    rng = np.random.default_rng(0)
    table = np.round(rng.normal(size=(7, 4)) + np.arange(4), 1)
    table[2, 1] = table[2, 3]  # a tie
    values = {f"c{j}": {f"f{i}": float(table[i, j]) for i in range(7)} for j in range(4)}

    ranks = rank(values, higher_is_better=True)

    by_hand = np.array(
        [
            [1 + sum(other > mine for other in row) + (sum(other == mine for other in row) - 1) / 2 for mine in row]
            for row in table
        ]
    )
    n, k = table.shape
    assert list(ranks.mean.values()) == pytest.approx(list(by_hand.mean(axis=0)), abs=1e-12)
    drawn = np.random.default_rng(7).permuted(np.tile(by_hand, (20_000, 1, 1)), axis=2)
    spread = np.square(drawn.mean(axis=1) - (k + 1) / 2).sum(axis=1)
    observed = np.square(by_hand.mean(axis=0) - (k + 1) / 2).sum()
    share = np.mean(spread >= observed - 1e-9)
    assert ranks.friedman_p == pytest.approx(share, abs=4 * math.sqrt(share / 20_000) + 1e-4)
    assert rank(values, higher_is_better=True) == ranks  # what is drawn is seeded
    # q of Demsar's Table 5 for four classifiers
    assert ranks.critical_difference == pytest.approx(2.569 * math.sqrt(k * (k + 1) / (6 * n)), abs=1e-3)


@pytest.mark.parametrize(
    "table",
    [
        [[4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1]],
        [[4, 3, 2, 1], [4, 3, 1, 2], [4, 2, 3, 1]],
        [[2, 2, 1, 1], [4, 3, 2, 1], [1, 1, 1, 0]],
        [[3, 2, 1], [1, 2, 3], [3, 3, 1], [2, 3, 1], [3, 1, 2]],
        [[1, 2], [1, 2], [3, 3], [1, 2], [2, 1], [1, 2]],
    ],
)
def test_the_p_of_few_folds_is_that_of_every_arrangement_of_the_values_within_folds(table: list[list[int]]) -> None:
    columns = range(len(table[0]))

    def friedman(rows: Any) -> float:
        middle = (len(columns) + 1) / 2
        return float(sum((sum(row[column] for row in rows) / len(rows) - middle) ** 2 for column in columns))

    ranked = [[1 + sum(a > b for a in row) + (sum(a == b for a in row) - 1) / 2 for b in row] for row in table]
    every = [friedman(rows) for rows in itertools.product(*(list(itertools.permutations(row)) for row in ranked))]
    share = np.mean([of >= friedman(ranked) - 1e-9 for of in every])

    values = {f"c{column}": {f"f{fold}": float(row[column]) for fold, row in enumerate(table)} for column in columns}
    assert rank(values, higher_is_better=True).friedman_p == pytest.approx(share, abs=1e-12)


def test_less_is_better_turns_the_ranks_round_and_folds_that_lack_a_column_do_not_count() -> None:
    values = {"a": {"1": 0.1, "2": 0.3}, "b": {"1": 0.2, "2": 0.2, "3": 0.0}}

    assert rank(values, higher_is_better=False).mean == {"a": 1.5, "b": 1.5}
    assert rank(values, higher_is_better=False).folds == 2
    assert rank({"a": {"1": 0.1}, "b": {"1": 0.2}}, higher_is_better=False).mean == {"a": 1.0, "b": 2.0}
    assert rank({"a": {"1": 0.1}, "b": {"2": 0.2}}, higher_is_better=True).folds == 0


def test_columns_in_one_order_in_every_fold_differ_and_equal_ones_do_not() -> None:
    sure = {name: {str(fold): step + fold / 100 for fold in range(6)} for step, name in enumerate("abc")}
    same = {name: {str(fold): 0.5 for fold in range(6)} for name in "abc"}

    assert rank(sure, higher_is_better=True).friedman_p == pytest.approx(6 / 6**6)  # every order in all six folds
    assert rank(same, higher_is_better=True).friedman_p == 1.0


def test_holm_is_the_closed_test_of_bonferronis() -> None:
    p = [0.012, 0.2, 0.004, 0.03, 0.004]

    # Rejected at a level are the hypotheses all of whose intersections Bonferroni rejects.
    expected = [
        max(
            min(1.0, len(others) * min(p[at] for at in others))
            for size in range(1, len(p) + 1)
            for others in itertools.combinations(range(len(p)), size)
            if index in others
        )
        for index in range(len(p))
    ]
    assert correct_p_values(p) == pytest.approx(expected, abs=1e-12)
    assert correct_p_values([]) == []


def test_pairs_have_the_corrected_test_and_intervals_that_hold_together() -> None:
    rng = np.random.default_rng(1)
    values = {name: {str(fold): float(value) for fold, value in enumerate(rng.normal(size=5))} for name in "abc"}
    ratio = 0.25

    family = compare_with_first(values, "a", ratio)

    assert [(pair.column, pair.other) for pair in family] == [("b", "a"), ("c", "a")]
    p = []
    for pair in family:
        d = np.array(list(values[pair.column].values())) - np.array(list(values["a"].values()))
        spread = math.sqrt((1 / 5 + ratio) * d.var(ddof=1))
        p.append(2 * stats.t.sf(abs(d.mean()) / spread, 4))
        assert pair.difference == pytest.approx(d.mean(), abs=1e-12)
        assert pair.p == pytest.approx(p[-1], abs=1e-12)
        quantile = stats.t.ppf(1 - 0.05 / 4, 4)  # two intervals, two sides
        assert (pair.low, pair.high) == pytest.approx((d.mean() - quantile * spread, d.mean() + quantile * spread))
    assert [pair.holm_p for pair in family] == pytest.approx(correct_p_values(p), abs=1e-12)
    assert [(pair.column, pair.other) for pair in compare_all_pairs(values, ratio)] == [
        ("b", "a"),
        ("c", "a"),
        ("c", "b"),
    ]


def test_folds_that_do_not_tell_the_spread_give_no_interval_and_no_p() -> None:
    values = {"a": {"1": 0.1, "2": 0.2}, "b": {"1": 0.3, "2": 0.4}, "c": {"1": 0.9, "2": 0.1}}

    first, second = compare_with_first(values, "a", 0.25)

    assert (first.low, first.high, first.p, first.holm_p) == (None, None, None, None)
    assert second.p == second.holm_p  # the only test that there is
    assert find_simultaneous_interval([0.1], 0.25, 1) is None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("folds", "columns"), [(2, 4), (4, 3), (9, 2)])
def test_friedmans_p_is_scipys_over_all_arrangements(folds: int, columns: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 4, (folds, columns)) / 8
    doubled = np.rint(2 * stats.rankdata(-table, axis=1))

    def spread(*of: Any, axis: int) -> Any:
        return sum(np.square(np.sum(each, axis=axis)) for each in of)

    expected = stats.permutation_test(
        tuple(doubled.T), spread, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    values = {str(column): {str(fold): table[fold, column] for fold in range(folds)} for column in range(columns)}
    assert rank(values, higher_is_better=True).friedman_p == pytest.approx(expected.pvalue, abs=1e-12)
