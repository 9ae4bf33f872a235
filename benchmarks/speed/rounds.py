"""Timing two things beside each other: interleaved rounds, paired ratios, and the noise of the measurement."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from records import Ratio

from fusionkit.nn.timer import time_work

LEVEL = 0.95
DRAWS = 2000

Work = Callable[[int], object]
"""Does what is timed, with the inputs of the given round: several sets in rotation, so that no cache knows them."""


def compare(ours: Work, theirs: Work, device: torch.device, *, rounds: int, warm_up: int = 1) -> Ratio:
    """Times our work beside other work: A B A, A B A, ...

    In every round ours stands on both sides of theirs, so that a machine that grows slower favours neither; the ratio
    of a round is the mean of our two by theirs, and our first by our second is what two equal things differ by.

    Args:
        ours: The numerator.
        theirs: The denominator.
        device: Where both run.
        rounds: Rounds that count.
        warm_up: Rounds before them that do not.
    """
    collected: list[tuple[float, float, float]] = []
    gc.collect()
    for turn in range(-warm_up, rounds):
        first, other, second = (time_work(partial(work, turn), device) for work in (ours, theirs, ours))
        if turn >= 0:
            collected.append((first, other, second))
    return summarise_rounds(collected)


def summarise_rounds(rounds: Sequence[tuple[float, float, float]]) -> Ratio:
    """Returns the ratio of rounds of three times each: ours, theirs, ours again."""
    return Ratio(
        **interval([(first + second) / 2 / other for first, other, second in rounds]),
        noise=interval([first / second for first, _, second in rounds]),
        ours=statistics.median([(first + second) / 2 for first, _, second in rounds]),
        theirs=statistics.median([other for _, other, _ in rounds]),
        rounds=list(rounds),
    )


def time_works(works: Sequence[Work], device: torch.device, *, rounds: int, warm_up: int = 1) -> list[list[float]]:
    """Times several pieces of work, by round: one after the other, and in odd rounds from the last to the first.

    Args:
        works: What is timed.
        device: Where it runs.
        rounds: Rounds that count.
        warm_up: Rounds before them that do not.
    """
    collected: list[list[float]] = []
    gc.collect()
    for turn in range(-warm_up, rounds):
        order = range(len(works)) if turn % 2 == 0 else reversed(range(len(works)))
        seconds = {index: time_work(partial(works[index], turn), device) for index in order}
        if turn >= 0:
            collected.append([seconds[index] for index in range(len(works))])
    return collected


def interval(rounds: ArrayLike, statistic: Callable[[np.ndarray], float] = np.median) -> dict[str, float]:
    """Computes a statistic of rounds with its percentile-bootstrap interval over them, 95 in a hundred.

    Args:
        rounds: ``(rounds,)``, or ``(rounds, figures)`` where the statistic takes several figures of each.
        statistic: Of all rounds; the median of one figure when left out.
    """
    known = np.asarray(rounds)
    draws = np.random.default_rng(0).integers(len(known), size=(DRAWS, len(known)))
    low, high = np.quantile([statistic(known[draw]) for draw in draws], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"median": float(statistic(known)), "low": float(low), "high": float(high)}
