"""Balancers that are given the gradients of several loss terms apart, and make one of them for each parameter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fusionkit.interfaces import Balancer, Plan, Step
from fusionkit.training.balancers.terms import sum_fused_and_unimodal

Gradients = Mapping[str, Sequence[Tensor | None]]


class MergedGradients(Balancer):
    """One gradient for each block of parameters that several loss terms share; a subclass says how."""

    def plan(self, step: Step) -> Plan:
        """Asks for one gradient per loss term."""
        return Plan(separate_gradients=True)

    def combine(self, gradients: Gradients, step: Step) -> Sequence[Tensor | None]:
        """Merges block by block: a parameter that one term reaches keeps its gradient, one that none reaches has none.

        Blocks are merged by themselves, since an encoder shares nothing with another: as one vector with it, its
        gradients would be judged by what the other's terms do.
        """
        merged: list[Tensor | None] = [None] * len(next(iter(gradients.values())))
        for terms, places in find_blocks(gradients).items():
            if len(terms) == 1:
                for place in places:
                    merged[place] = gradients[terms[0]][place]
            elif terms:
                vector = self.merge({term: flatten(gradients, term, places) for term in terms})
                like = [gradient for place in places if (gradient := gradients[terms[0]][place]) is not None]
                pieces = torch.split(vector, [gradient.numel() for gradient in like])
                for place, piece, gradient in zip(places, pieces, like, strict=True):
                    merged[place] = piece.view_as(gradient)
        return merged

    @abstractmethod
    def merge(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Makes one gradient of a block, as a vector, of those of the terms that share it."""


class ChosenGradients(Balancer):
    """The gradient of the fused losses or of the uni-modal ones for each parameter; a subclass says which.

    Args:
        modalities: The model's modalities.
        targets: The model's targets.
    """

    prefers: ClassVar[Literal["fused", "unimodal"]]

    def __init__(self, modalities: tuple[str, ...], targets: tuple[str, ...]) -> None:
        super().__init__()

    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Sums the fused terms, and all others."""
        return sum_fused_and_unimodal(terms)

    def plan(self, step: Step) -> Plan:
        """Asks for the gradients of the fused and of the uni-modal losses apart."""
        return Plan(separate_gradients=True)

    def combine(self, gradients: Gradients, step: Step) -> Sequence[Tensor | None]:
        """Takes the preferred gradient of each parameter, or the only one."""
        merged: list[Tensor | None] = [None] * len(next(iter(gradients.values())))
        for terms, places in find_blocks(gradients).items():
            for place in places if terms else ():
                merged[place] = gradients[self.prefers if self.prefers in terms else terms[0]][place]
        return merged


def find_blocks(gradients: Gradients) -> dict[tuple[str, ...], list[int]]:
    """Finds the places of the parameters that exactly these terms reach: an encoder is a block, a head another.

    Example:
        >>> one = torch.ones(1)
        >>> find_blocks({"fused": [one, one, None], "audio": [one, None, one]})
        {('fused', 'audio'): [0], ('fused',): [1], ('audio',): [2]}
    """
    blocks: dict[tuple[str, ...], list[int]] = {}
    for place, column in enumerate(zip(*gradients.values(), strict=True)):
        reached = tuple(term for term, gradient in zip(gradients, column, strict=True) if gradient is not None)
        blocks.setdefault(reached, []).append(place)
    return blocks


def flatten(gradients: Gradients, term: str, places: Sequence[int]) -> Tensor:
    """Returns a term's gradient of a block as one vector."""
    parts = [gradient for place in places if (gradient := gradients[term][place]) is not None]
    return torch.cat([part.flatten() for part in parts])
