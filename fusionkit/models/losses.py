"""A loss term of a batch in which some samples do not count."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from fusionkit.interfaces import LossHead
from fusionkit.nn.distributed import mean_over_union


def all_true(masks: Iterable[Tensor]) -> set[int]:
    """The ids of the masks in which all is true; a GPU is waited for once, however many they are."""
    different = {id(mask): mask for mask in masks}
    told = torch.stack([mask.all() for mask in different.values()]).tolist() if different else []
    return {key for key, true in zip(different, told, strict=True) if true}


def loss_term(head: LossHead, scores: Tensor, targets: Tensor, counts: Tensor | None, weights: Tensor | None) -> Tensor:
    """The mean loss of the samples that count.

    Args:
        head: The loss head.
        scores: Of all samples.
        targets: Of all samples.
        counts: Which of them count; None for all.
        weights: By sample; None for one each.
    """
    if counts is None:
        return mean_over_union(head.loss(scores, targets), weights)
    rows = counts.nonzero().flatten()  # possibly none; a head that sums over processes must be called all the same
    values = head.loss(scores[rows], targets[rows])
    return mean_over_union(values, None if weights is None else weights[rows])
