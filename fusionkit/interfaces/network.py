"""The contracts of a network's parts that give features: encoders, aggregators and fusions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node

from fusionkit.nn.jagged import Jagged

NUMBERS_AT_ONCE = 2**23
"""Numbers that an encoder is given at once in evaluation by default: 668 images of 112 x 112."""


def count_at_once(shape: tuple[int, ...]) -> int:
    """Returns the number of elements of a shape that an encoder is given at once in evaluation where nobody says."""
    return max(1, NUMBERS_AT_ONCE // math.prod(shape))


class Encoder(nn.Module, ABC):
    """Elements to elements: `F_m` of the paper; encoders chain.

    A subclass takes the shape of one element, declares `out_shape`, may change the lengths, never lets one sample
    see another, keeps an empty sample empty, and is not called when the whole batch is empty.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_shape",)
    #: Dtypes of whole numbers that it takes beside floating-point ones of the network's precision; the network refuses
    #: others. None where it does not say: then it is given whatever comes.
    whole_numbers: ClassVar[tuple[torch.dtype, ...] | None] = None
    #: Whether modalities of one element, such as a vector or a picture, are usual for it: costs are estimated for one.
    suits_one_element: ClassVar[bool] = False
    out_shape: tuple[int, ...]

    @classmethod
    def complete(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the options of a recipe with all that files beside it say, as the run of a training holds them.

        So a trained network is built without those files. An encoder whose options name a file that says what it is
        like, such as the config of a pretrained network, overrides it; weights are no such thing: a run has its own.

        Raises:
            RecipeError: A file is missing or wrong.
        """
        return options

    @abstractmethod
    def forward(self, elements: Jagged) -> Jagged:
        """Encodes the elements of every sample: ``(total, *in_shape)`` to ``(total', *out_shape)``."""

    def recompute_activations(self) -> None:
        """Keeps less for the backward pass from now on, which computes the rest again; does nothing where it cannot."""

    def encode_pieces(self, elements: Jagged, most: int | None) -> Iterator[Jagged]:
        """Encodes in evaluation, in parts if it can, of at most so many elements (None: `count_at_once`).

        Every part is a batch of all samples, in which those have elements whose turn it is; one part's elements after
        the other's are the whole, so that a clip of any length takes the memory of one part.
        """
        yield self(elements)


class Aggregator(nn.Module, ABC):
    """A sequence of vectors to one vector: `A_m` of the paper (its SAC).

    It is only given samples with at least one element: the model keeps absent samples away, so they are never
    computed and never enter a batch statistic.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_features",)
    #: Whether modalities of one element are usual for it, as for an encoder.
    suits_one_element: ClassVar[bool] = False
    out_features: int

    @abstractmethod
    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Summarises every sample's sequence ``(length_i, in_features)``."""


class Fusion(nn.Module, ABC):
    """One vector per modality to one vector: the paper's FusionComponent up to Scoring.

    `in_features` maps every modality, in the recipe's order, to its width. Rows of absent samples hold the model's
    learned placeholder. ``present[m]`` is None where every sample has the modality (the common case, in which
    nothing is masked). A fusion that sets `reads_sequences` has a further wired parameter ``sequence_features``
    (mapping of modality to width of an element) and is also given the encoders' sequences. One whose output is a vector
    per modality side by side says their widths in `blocks`. One that adapts each modality's features, and leaves fusing
    them to another fusion, names that one in `adapts_for`.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_features",)
    reads_sequences: bool = False
    blocks: tuple[int, ...] | None = None
    out_features: int

    @property
    def adapts_for(self) -> Fusion | None:
        """The fusion that is given this one's adapted features, which figures then show; None where there is none."""
        return None

    @abstractmethod
    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Fuses the features of all modalities."""


@dataclass(frozen=True)
class ModelOutput:
    """The output of a `FusionModel`. Absent modalities have zeros in `features` and in `unimodal`.

    Args:
        fused: Scores of the fused branch by target, ``(batch, out_features)``. `LossHead.distribution` turns them into
            probabilities, or into numbers in the target's unit. Empty when only branches were asked for.
        unimodal: Scores by modality and target; empty in evaluation mode unless asked for.
        features: Normalised features f^_m by modality, before dropout and fusion, ``(batch, features)``.
        present: Which samples have the modality, ``(batch,)`` bool.
        sequences: The encoded sequences by modality, before aggregation.
        dropout: By modality whose features are dropped in this pass, the factors by which heads and fusion read them,
            ``(batch, features)``; a modality that is left out is read whole.
    """

    fused: Mapping[str, Tensor]
    unimodal: Mapping[str, Mapping[str, Tensor]]
    features: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    sequences: Mapping[str, Jagged] = field(default_factory=dict)
    dropout: Mapping[str, Tensor] = field(default_factory=dict)


def _flatten_output(output: ModelOutput) -> tuple[list[Any], dict[str, tuple[int, ...]]]:
    """Returns the tensors of an output, elements of sequences among them, and the lengths of the sequences."""
    unimodal = {name: dict(of) for name, of in output.unimodal.items()}
    elements = {name: sequence.values for name, sequence in output.sequences.items()}
    plain = [dict(each) for each in (output.fused, output.features, output.present, output.dropout)]
    return [*plain, unimodal, elements], {name: sequence.sizes for name, sequence in output.sequences.items()}


def _restore_output(parts: Iterable[Any], sizes: dict[str, tuple[int, ...]]) -> ModelOutput:
    fused, features, present, dropout, unimodal, elements = parts
    sequences = {name: Jagged.from_sizes(values, sizes[name]) for name, values in elements.items()}
    return ModelOutput(fused, unimodal, features, present, sequences, dropout)


# DistributedDataParallel(static_graph=True) finds the scores by it; of what it cannot take apart it averages nothing.
register_pytree_node(
    ModelOutput, _flatten_output, _restore_output, serialized_type_name="fusionkit.interfaces.ModelOutput"
)


FeatureHook = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
"""`Balancer.replace_features` with its step bound, as the model calls it."""
