"""Gradients of several loss terms, block by block: what an encoder shares, and with which terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Gradients = Mapping[str, Sequence[Tensor | None]]


def by_branch(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sum over targets of each branch's terms: ``"fused"`` and the modalities.

    Example:
        >>> terms = {"fused/age": torch.tensor(1.0), "fused/mood": torch.tensor(2.0), "audio/age": torch.tensor(4.0)}
        >>> {branch: value.item() for branch, value in by_branch(terms).items()}
        {'fused': 3.0, 'audio': 4.0}
    """
    sums: dict[str, Tensor] = {}
    for name, term in terms.items():
        branch = name.partition("/")[0]
        sums[branch] = sums[branch] + term if branch in sums else term
    return sums


def fused_and_unimodal(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sum of the fused terms under ``"fused"``, that of all others under ``"unimodal"``, where there are any.

    Example:
        >>> terms = {"fused/mood": torch.tensor(1.0), "audio/mood": torch.tensor(2.0), "face/mood": torch.tensor(4.0)}
        >>> {name: value.item() for name, value in fused_and_unimodal(terms).items()}
        {'fused': 1.0, 'unimodal': 6.0}
    """
    sums = by_branch(terms)
    own = [term for branch, term in sums.items() if branch != "fused"]
    total = {"fused": sums["fused"]} if "fused" in sums else {}
    return {**total, "unimodal": sum(own[1:], own[0])} if own else total


def blocks_of(gradients: Gradients) -> dict[tuple[str, ...], list[int]]:
    """The places of the parameters that exactly these terms reach: an encoder is a block, a head another.

    Example:
        >>> one = torch.ones(1)
        >>> blocks_of({"fused": [one, one, None], "audio": [one, None, one]})
        {('fused', 'audio'): [0], ('fused',): [1], ('audio',): [2]}
    """
    blocks: dict[tuple[str, ...], list[int]] = {}
    for place, column in enumerate(zip(*gradients.values(), strict=True)):
        reached = tuple(term for term, gradient in zip(gradients, column, strict=True) if gradient is not None)
        blocks.setdefault(reached, []).append(place)
    return blocks


def flat(gradients: Gradients, term: str, places: Sequence[int]) -> Tensor:
    """A term's gradient of a block as one vector."""
    parts = [gradient for place in places if (gradient := gradients[term][place]) is not None]
    return torch.cat([part.flatten() for part in parts])


def merge_shared(gradients: Gradients, merge: Callable[[Mapping[str, Tensor]], Tensor]) -> list[Tensor | None]:
    """One gradient per parameter: of a block that several terms reach, what `merge` makes of their flat gradients.

    A parameter that one term reaches keeps that term's gradient; one that none reaches has none.
    """
    merged: list[Tensor | None] = [None] * len(next(iter(gradients.values())))
    for terms, places in blocks_of(gradients).items():
        if len(terms) == 1:
            for place in places:
                merged[place] = gradients[terms[0]][place]
        elif terms:
            vector = merge({term: flat(gradients, term, places) for term in terms})
            like = [gradient for place in places if (gradient := gradients[terms[0]][place]) is not None]
            pieces = torch.split(vector, [gradient.numel() for gradient in like])
            for place, piece, gradient in zip(places, pieces, like, strict=True):
                merged[place] = piece.view_as(gradient)
    return merged
