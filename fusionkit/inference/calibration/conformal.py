"""Conformal sets and intervals of samples that come in groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces import TargetKind

_ROUNDING = 1e-9
"""So much may a sum of weights fall short of a level by rounding."""


def weigh_samples(groups: Sequence[str]) -> Float[Tensor, " samples"]:
    r"""Weighs the samples of a calibration, so that every group counts alike, and a new one as much as each.

    .. math::
        w_{k,i} = \frac{1}{(K + 1) N_k}

    of sample i of the :math:`N_k` of group k, of K groups. They add up to K / (K + 1); the rest is the new group's.

    Args:
        groups: The group of every sample.

    Example:
        >>> weigh_samples(["a", "a", "b"])
        tensor([0.1667, 0.1667, 0.3333], dtype=torch.float64)
    """
    sizes = Counter(groups)
    return torch.tensor([1 / ((len(sizes) + 1) * sizes[group]) for group in groups], dtype=torch.float64)


def find_threshold(scores: Sequence[float], weights: Sequence[float], level: float) -> float:
    r"""Finds the score below which a set of a level reaches.

    .. math::
        q = \min \left\{ s : \sum_{k,i} w_{k,i} [s_{k,i} \le s] \ge \mathrm{level} \right\}

    If the groups of the calibration and the group of a new sample are exchangeable, and the sample is any of its
    group, its own score is at most q with a probability of at least the level. The samples of a group may be as alike
    as they like. No number that was learned of these samples may be part of the score.

    Args:
        scores: Scores, rising.
        weights: Their weights, of `weigh_samples`.
        level: The level.

    Returns:
        The threshold; infinity where there are too few groups for the level.

    Source:
        Lee, Barber and Willett 2023, arXiv:2306.06342, section 3 (hierarchical conformal prediction); for one sample
        a group Vovk et al. 2005, https://doi.org/10.1007/b106715. Dunn, Wasserman and Ramdas 2022,
        https://doi.org/10.1080/01621459.2022.2060112, draw one sample of each group instead, which this does not.

    Example:
        >>> find_threshold([0.1, 0.4, 0.7], [0.25, 0.25, 0.25], 0.5)
        0.4
        >>> find_threshold([0.1, 0.4, 0.7], [0.25, 0.25, 0.25], 0.9)
        inf
    """
    reached = 0.0
    for score, weight in zip(scores, weights, strict=True):
        reached += weight
        if reached >= level - _ROUNDING:
            return float(score)
    return math.inf


def count_needed_groups(level: float) -> int:
    """Counts the groups without which a set of a level would have to hold everything.

    Example:
        >>> count_needed_groups(0.8), count_needed_groups(0.9), count_needed_groups(0.95)
        (4, 9, 19)
    """
    return max(1, math.ceil(level / (1 - level) - _ROUNDING))


def score_samples(
    kind: TargetKind, said: Tensor, targets: Tensor, spread: Float[Tensor, " numbers"] | None = None
) -> Float[Tensor, " samples"]:
    r"""Scores how far the truth is from what a network says, from 0.

    Of classes :math:`1 - p_y`; of labels the largest :math:`1 - p_l` of those that are there, 0 where none is; of
    numbers the largest :math:`|y_j - \hat y_j| / b_j` of those that are stated, b their spread in training.

    Args:
        kind: What the target is.
        said: Probabilities of classes or labels, or predicted numbers.
        targets: Known targets.
        spread: Of numbers, the spread of each.

    Source:
        Sadinle, Lei and Wasserman 2019, https://doi.org/10.1080/01621459.2017.1395341 (classes; the sets that are
        smallest on average); Lei et al. 2018, https://doi.org/10.1080/01621459.2017.1307116 (numbers). Labels and
        several numbers at once by the largest of their scores are ours.
    """
    said = said.double()
    if kind == "classes":
        return 1 - said.gather(1, targets.long()[:, None])[:, 0]
    if kind == "labels":
        return torch.where(targets == 1, 1 - said, 0.0).amax(dim=1)
    columns, wanted = said.reshape(len(said), -1), targets.double().reshape(len(targets), -1)
    unit = torch.ones(columns.shape[1], dtype=torch.float64) if spread is None else spread.double()
    return ((wanted - columns).abs() / unit).nan_to_num(0.0).amax(dim=1)
