"""The contract of what learns from the training part of a fold before the first step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from fusionkit.nn.jagged import Jagged

Passes = Callable[[], Iterable[Jagged]]
"""Starts a pass over the training samples: batches of a modality's elements, in the dataset's order."""


class Fitted(nn.Module, ABC):
    """An encoder that learns from the training part once, before the first step: a scale, a vocabulary, quantiles.

    It stands before `Encoder` among the bases. It is fitted once per training, on the samples that the fold trains on:
    those that select the epoch and those that are reported it never sees. What it learns are buffers, named in
    `learned`: so they are kept, hashed, exported and shared with the weights, and networks of several folds each
    have their own. Until it is fitted it encodes all the same, in the same shape, so that costs can be estimated.
    """

    #: Its buffers that `fit` sets; their sizes may depend on what it was fitted on.
    learned: ClassVar[tuple[str, ...]]

    @abstractmethod
    def fit(self, passes: Passes) -> None:
        """Sets the learned buffers; the outcome depends on the samples alone, and not on how they are batched.

        Args:
            passes: Starts a pass over the elements as it will be given them, on its device; call it as often as needed.
                Samples that lack the modality have none, and where all lack it, what is learned stays as it is.
        """

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Takes learned buffers of other sizes, which the data have given them."""
        for name in self.learned:
            given, own = state_dict.get(f"{prefix}{name}"), getattr(self, name)
            if given is not None and given.ndim == own.ndim and given.shape != own.shape:
                setattr(self, name, own.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)
