"""Sets and intervals hold the truth as often as they say, where the truth is known."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusionkit.inference.calibration.conformal import (
    count_needed_groups,
    find_threshold,
    score_samples,
    weigh_samples,
)
from fusionkit.inference.calibration.temperature import apply_temperature, find_losses, fit_temperature

GROUPS, EACH, LEVEL, DRAWS = 11, 20, 0.9, 2000


def restated_threshold(scores: NDArray[np.float64], groups: NDArray[np.int64], level: float) -> float:
    """The rule in whole fractions: the least score at which the weights of all scores up to it reach the level."""
    names, sizes = np.unique(groups, return_counts=True)
    size = dict(zip(names.tolist(), sizes.tolist(), strict=True))
    for candidate in sorted(scores.tolist()):
        reached = sum(
            Fraction(1, (len(names) + 1) * size[group])
            for score, group in zip(scores.tolist(), groups.tolist(), strict=True)
            if score <= candidate
        )
        if reached >= Fraction(str(level)):
            return float(candidate)
    return float("inf")


def threshold_of(scores: NDArray[np.float64], groups: NDArray[np.int64], level: float) -> float:
    order = np.argsort(scores)
    weights = weigh_samples([str(group) for group in groups])[torch.from_numpy(order)]
    return find_threshold(scores[order].tolist(), weights.tolist(), level)


@given(st.integers(0, 10_000), st.integers(1, 14), st.sampled_from([0.5, 0.75, 0.8, 0.9]))
def test_the_threshold_is_that_of_the_formula(seed: int, groups: int, level: float) -> None:
    draw = np.random.default_rng(seed)
    of = np.concatenate([np.full(draw.integers(1, 5), group) for group in range(groups)])
    scores = draw.integers(0, 6, len(of)) / 8  # with ties

    found = threshold_of(scores, of, level)

    assert found == restated_threshold(scores, of, level)
    assert (found == np.inf) == (groups < count_needed_groups(level))


def drawn_scores(draw: np.random.Generator, groups: int) -> NDArray[np.float64]:
    """Scores of groups that differ much more than their samples do."""
    return draw.normal(0, 1, (groups, 1)) + draw.normal(0, 0.1, (groups, EACH))


def test_sets_cover_as_they_say_where_groups_differ_and_those_that_pool_samples_do_not() -> None:
    draw = np.random.default_rng(0)
    of = np.repeat(np.arange(GROUPS), EACH)
    covered, pooled = np.zeros(DRAWS), np.zeros(DRAWS)
    for trial in range(DRAWS):
        scores, new = drawn_scores(draw, GROUPS).ravel(), drawn_scores(draw, 1).ravel()
        covered[trial] = (new <= threshold_of(scores, of, LEVEL)).mean()
        # As if the 220 samples were independent: the rank of split conformal prediction for them.
        rank = int(np.ceil((len(scores) + 1) * LEVEL))
        pooled[trial] = (new <= np.sort(scores)[rank - 1]).mean()

    error = covered.std() / np.sqrt(DRAWS)
    assert covered.mean() >= LEVEL - 3 * error
    assert covered.mean() <= LEVEL + 2 / (GROUPS + 1)
    assert pooled.mean() < LEVEL - 3 * pooled.std() / np.sqrt(DRAWS)


def test_a_calibration_on_what_was_trained_on_covers_less_than_it_says() -> None:
    draw = np.random.default_rng(1)
    held, own = [], []
    for _ in range(300):
        weights = draw.normal(0, 1, 12)
        inputs = [draw.normal(0, 1, (size, 12)) for size in (18, 20, 20)]  # to train on, set aside, new
        targets = [each @ weights + draw.normal(0, 1, len(each)) for each in inputs]
        fitted = np.linalg.lstsq(inputs[0], targets[0], rcond=None)[0]
        residuals = [np.abs(wanted - each @ fitted) for each, wanted in zip(inputs, targets, strict=True)]
        held.append((residuals[2] <= threshold_of(residuals[1], np.arange(20), LEVEL)).mean())
        own.append((residuals[2] <= threshold_of(residuals[0], np.arange(18), LEVEL)).mean())

    assert np.mean(held) >= LEVEL - 3 * np.std(held) / np.sqrt(300)
    assert np.mean(own) < 0.7


def test_scores_are_those_of_the_formulas() -> None:
    said = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    assert score_samples("classes", said, torch.tensor([1, 2])).tolist() == [
        1 - said[0, 1].double(),
        1 - said[1, 2].double(),
    ]

    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, torch.nan, 0.0]])
    assert score_samples("labels", said, labels).tolist() == [float(1 - said[0, 1].double()), 0.0]

    numbers, wanted = torch.tensor([[1.0, 10.0], [2.0, 20.0]]), torch.tensor([[2.0, 14.0], [torch.nan, 10.0]])
    scores = score_samples("numbers", numbers, wanted, torch.tensor([2.0, 4.0]))
    assert scores.tolist() == [1.0, 2.5]


def test_a_network_that_is_three_times_too_sure_gets_the_temperature_of_three() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 4, generator=draw, dtype=torch.float64)
    truth = logits.softmax(dim=1)
    targets = torch.multinomial(truth, 1, generator=draw)[:, 0]
    said = (3 * logits).softmax(dim=1)

    found = fit_temperature("classes", said, targets)

    assert found == pytest.approx(3.0, rel=0.05)
    restored = apply_temperature("classes", said, found)
    assert torch.allclose(restored, truth, atol=0.02)
    assert torch.equal(restored.argmax(dim=1), said.argmax(dim=1))
    grid = [1 + step / 50 for step in range(200)]
    losses = [float(-apply_temperature("classes", said, each)[range(20_000), targets].log().mean()) for each in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], abs=0.03)


def test_temperature_of_labels_divides_their_logits_and_skips_what_is_not_stated() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64)
    targets = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])

    assert torch.allclose(apply_temperature("labels", logits.sigmoid(), 2.0), (logits / 2).sigmoid(), atol=1e-12)
    losses = find_losses("labels", logits.sigmoid(), targets)
    p = 1 / (1 + np.exp(-logits.numpy()))
    assert losses.tolist() == pytest.approx([-np.log(p[0, 0]), -(np.log(1 - p[1, 0]) + np.log(p[1, 1])) / 2], abs=1e-12)


def test_where_every_sample_is_right_probabilities_become_no_surer() -> None:
    said = torch.tensor([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1]])

    assert fit_temperature("classes", said, torch.tensor([0, 1, 0])) == 1
    assert fit_temperature("labels", said, torch.tensor([[1.0, 0.0], [torch.nan, 1.0], [1.0, 0.0]])) == 1
    assert fit_temperature("classes", said, torch.tensor([0, 1, 1])) > 1
