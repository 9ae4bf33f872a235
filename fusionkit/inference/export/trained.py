"""A trained network, or several that answer together, with all that has to be known of them for an export."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fusionkit.data.loading.collation import Sample
from fusionkit.inference.branches import ENSEMBLE, ENSEMBLE_LOG, FUSED
from fusionkit.interfaces import Encoder, ModalityInfo, Transform
from fusionkit.interfaces.elements import takes_whole_numbers_only
from fusionkit.models.network import FusionModel
from fusionkit.models.random_inputs import assume_length
from fusionkit.storage.records.inputs import InputModality, Inputs


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, what it is given, and what it may be asked; or several, which answer by their mean.

    Args:
        model: The network.
        others: Further networks of the same recipe.
        fusion: The fusion, as recipes call it; by its class where left out.
        modalities: By modality, shape and rate of its elements before the transforms.
        transforms: By modality, its transforms.
        fused: Whether the fused branch is trained.
        unimodal: The modalities whose own heads are trained.
        ensemble: Whether the mean of the modalities' answers is an answer too.
        main: The branch that answers; the one that stands for a run where left out.
        inputs: How samples stand in files and tables; as bare elements where left out.
        dtypes: By modality, the dtype of its elements; found by the network's encoders where left out.
        longest: By modality, the elements of the longest sample that the network has seen; assumed where left out.
        examples: Samples by modality, such as the network may be given, which an export is tried on; noise if empty.
        preparation: How films and sounds are prepared before the network is given them; None where there are none.
        transform_specs: By modality, the transforms as the recipe states them, for readers.
        test_part: Reads the samples of the test part, raw and with their targets; None where they are not at hand.
        weights_sha256: The hashes of the runs' weights.
        about: What else a reader of the export should know; plain data.
    """

    model: FusionModel
    modalities: Mapping[str, ModalityInfo]
    transforms: Mapping[str, Sequence[Transform]] = field(default_factory=dict)
    fused: bool = True
    unimodal: tuple[str, ...] = ()
    ensemble: bool = False
    main: str | None = None
    inputs: Inputs | None = None
    others: Sequence[FusionModel] = ()
    fusion: str = ""
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    longest: Mapping[str, int] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Tensor]] = ()
    preparation: Mapping[str, Any] | None = None
    transform_specs: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    test_part: Callable[[], Iterator[Sample]] | None = None
    weights_sha256: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> tuple[FusionModel, ...]:
        """All networks."""
        return (self.model, *self.others)

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that answer, the main one first."""
        several = self.ensemble and len(self.unimodal) > 1
        pooled = (ENSEMBLE, ENSEMBLE_LOG) if self.ensemble else ()
        found = (*((FUSED,) if self.fused else ()), *self.unimodal, *pooled)
        main = self.main or (ENSEMBLE if several and not self.fused else found[0])
        return (main, *(each for each in found if each != main))

    @property
    def outputs(self) -> tuple[tuple[str, str], ...]:
        """Branch and target of every answer, in order."""
        return tuple((branch, target) for branch in self.branches for target in self.model.targets)

    def describe_inputs(self) -> Inputs:
        """Describes how samples stand in files and tables."""
        if self.inputs is not None:
            return self.inputs
        stated = {name: InputModality(shape=list(of.shape), rate=of.rate) for name, of in self.modalities.items()}
        return Inputs(format=Inputs.formats[-1], modalities=stated)

    def dtype(self, modality: str) -> torch.dtype:
        """Returns the dtype of a modality's elements."""
        if modality in self.dtypes:
            return self.dtypes[modality]
        branch = self.model.branch(modality)
        first = branch.encoders[0]
        assert isinstance(first, Encoder)
        whole = takes_whole_numbers_only(first, branch.in_shape)
        if whole is not None:
            return whole
        is_image = len(branch.in_shape) == 3
        return torch.uint8 if is_image and torch.uint8 in (first.whole_numbers or ()) else torch.float32

    def longest_of(self, modality: str) -> int:
        """Returns the elements of the longest sample of a modality, before the transforms."""
        every = 1
        for transform in self.transforms.get(modality, ()):
            every *= transform.keeps_every
        return self.longest.get(modality) or assume_length(self.model.branch(modality)) * every

    def freeze(self) -> TrainedNetwork:
        """Returns it with copies of the networks on the CPU, in single precision and evaluation mode."""
        models = [copy.deepcopy(model).cpu().float().eval() for model in self.models]
        for parameter in (each for model in models for each in model.parameters()):
            parameter.requires_grad_(False)
        halves = (torch.float16, torch.bfloat16, torch.float64)
        dtypes = {name: torch.float32 if of in halves else of for name, of in self.dtypes.items()}
        return replace(self, model=models[0], others=tuple(models[1:]), dtypes=dtypes)
