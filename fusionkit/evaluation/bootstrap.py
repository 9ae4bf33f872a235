"""Bootstrap intervals of metrics: whole groups are resampled, for samples of one group are no independent evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionkit.interfaces import LossHead

RESAMPLES = 1000
SEED = 0

FEW_GROUPS = 6
"""Of fewer groups than these all may lean the same way by chance in more than one of twenty cases."""

Limits = tuple[float, float]


def bootstrap_limits(
    head: LossHead,
    distribution: Tensor,
    targets: Tensor,
    groups: Sequence[str],
    losses: Float[Tensor, " samples"] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Limits]:
    """Finds the 2.5 % and 97.5 % quantiles of every metric over resamples of whole groups.

    A metric that is not defined in some resamples is described by the others. Groups are few in small test parts (an
    actor pair has two): the limits are then coarse and too narrow, and the spread over folds says more.

    Args:
        head: What names the metrics.
        distribution: What the branch says of every sample.
        targets: The known targets.
        groups: The group of every sample; its id where it has none.
        losses: The loss of every sample, where there are scores.
        resamples: How many resamples.
        seed: The seed of the resampling.

    Returns:
        Limits by metric; nothing where there are fewer than two groups.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        return {}
    place = {name: position for position, name in enumerate(names)}
    group_of = torch.tensor([place[group] for group in groups])
    counts = draw_counts(len(names), resamples, seed)
    values = dict(resample_metrics(head, distribution, targets, counts, group_of))
    if losses is not None:
        sums = _sum_by_group(losses.double(), group_of, len(names))
        sizes = _sum_by_group(torch.ones_like(losses, dtype=torch.float64), group_of, len(names))
        values["loss"] = (counts @ sums) / (counts @ sizes)
    found = {name: find_limits(drawn) for name, drawn in values.items()}
    return {name: limits for name, limits in found.items() if limits is not None}


def find_limits(drawn: Tensor) -> Limits | None:
    """Finds the limits of a 95 % interval in the values of all resamples; None where it is defined in none."""
    defined = drawn[~drawn.isnan()].double()
    if not len(defined):
        return None
    low, high = torch.quantile(defined, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def draw_counts(groups: int, resamples: int, seed: int) -> Float[Tensor, "resamples groups"]:
    """Draws how often every group stands in every resample; each resample draws as many groups as there are."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(groups, (resamples, groups), generator=generator)
    return torch.zeros(resamples, groups, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(resamples, groups, dtype=torch.float64)
    )


def resample_metrics(
    head: LossHead,
    distribution: Tensor,
    targets: Tensor,
    counts: Float[Tensor, "resamples groups"],
    group_of: Int[Tensor, " samples"],
) -> Mapping[str, Float[Tensor, " resamples"]]:
    """Computes `LossHead.metrics` of every resample; all at once where they follow from sums over samples."""
    statistics = head.statistics(distribution, targets) if head.sums_suffice else None
    if statistics is not None:
        return head.metrics_of_sums(counts @ _sum_by_group(statistics.double(), group_of, counts.shape[1]))
    drawn = []
    samples, times = np.arange(len(targets)), counts.long()[:, group_of].numpy()
    for repeats in times:
        # NumPy's, because torch's starts its threads for every call, which takes a hundred times as long on busy cores.
        rows = torch.from_numpy(np.repeat(samples, repeats))
        drawn.append(head.metrics(distribution[rows], targets[rows]))
    return {name: torch.tensor([each[name] for each in drawn], dtype=torch.float64) for name in drawn[0]}


def _sum_by_group(values: Tensor, group_of: Tensor, groups: int) -> Tensor:
    return values.new_zeros(groups, *values.shape[1:]).index_add(0, group_of, values)
