"""The part of a predictor that computes: what it is asked, and trained networks that answer it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from fusionkit.config.schema import Recipe
from fusionkit.errors import FusionKitError, suggest_names
from fusionkit.inference.answers import AnsweredTarget, describe_head
from fusionkit.inference.branches import TrainedBranches
from fusionkit.inference.element_checks import refuse_training
from fusionkit.inference.scoring import (
    ByBranch,
    HeadCopies,
    average_networks,
    collect_scores,
    distribute,
    score_batch,
)
from fusionkit.inference.timeline.encoded import EncodedElements, WindowEncoder
from fusionkit.interfaces import ModelOutput
from fusionkit.models.network import FusionModel
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.environment import choose_device
from fusionkit.storage.tensor_files import content_hash

Precision = Literal["32", "bf16"]
"""The precision of the computation: that of the weights, or products of bfloat16."""


@dataclass(frozen=True)
class Said:
    """Answers to a batch, on the CPU.

    Args:
        distributions: By branch and target, averaged over the networks; a row of a branch that says nothing of a
            sample means nothing.
        predictions: By branch and target, what is predicted by these, as `LossHead.predict` has it.
        present: By modality, which samples have it.
        features: By modality the normalised features, of the first network; empty where they are not known.
    """

    distributions: ByBranch
    predictions: ByBranch
    present: Mapping[str, Tensor]
    features: Mapping[str, Tensor]


class Backend(ABC):
    """The networks of a predictor, whose mean answers.

    Attributes:
        modalities: The modalities, in the order of the networks.
        targets: The targets.
        branches: The branches that are trained.
        main: The branch that answers unless a user names another.
        device: Where they compute.
        fusion: The fusion, as recipes call it.
        count: The number of networks.
        precision: The precision of the computation.
        models: The networks, where they are networks of torch.
        recipe: Their recipe, where it is known.
    """

    modalities: tuple[str, ...]
    targets: Mapping[str, AnsweredTarget]
    branches: TrainedBranches
    main: str
    device: torch.device
    fusion: str
    count: int
    precision: Precision = "32"
    models: tuple[FusionModel, ...] = ()
    recipe: Recipe | None = None

    @property
    @abstractmethod
    def identity(self) -> object:
        """Plain data that differ where answers may."""

    def autocast(self) -> AbstractContextManager[object]:
        """Computes in the precision of the networks."""
        if self.precision == "32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @abstractmethod
    def say(self, inputs: Mapping[str, Jagged]) -> Said:
        """Answers to a batch that is on the device."""

    @abstractmethod
    def make_encoders(self) -> Mapping[str, Sequence[WindowEncoder]]:
        """Makes what encodes windows of a stream, by modality and network."""

    @abstractmethod
    def say_encoded(self, sequences: Sequence[Mapping[str, Jagged]]) -> Said:
        """Answers to the sequences that these made, by network and modality."""


class TrainedBackend(Backend):
    """Networks of torch, all of the same recipe but for fold and seed.

    Args:
        networks: The networks.
        branches: The branches that are trained.
        recipe: Their recipe, with shapes and classes.
        device: Where to compute; a GPU where there is one, when left out.
        precision: The precision of the computation.

    Raises:
        FusionKitError: The precision is none of those.
    """

    def __init__(
        self,
        networks: Sequence[FusionModel],
        branches: TrainedBranches,
        recipe: Recipe,
        *,
        device: str | None = None,
        precision: Precision = "32",
    ) -> None:
        if precision not in get_args(Precision):
            raise FusionKitError(f"precision {precision!r}: {suggest_names(str(precision), get_args(Precision))}")
        self.device, self.precision, self.recipe = choose_device(device), precision, recipe
        self.models = tuple(network.to(self.device).channels_last().eval() for network in networks)
        self.modalities, self.count = self.models[0].modalities, len(self.models)
        self.branches, self.main, self.fusion = branches, branches.main, recipe.model.fusion.type
        self._heads = [HeadCopies(network, branches) for network in self.models]
        self.targets = {name: describe_head(self._heads[0].find(name, None)) for name in self.models[0].targets}

    @property
    def identity(self) -> object:
        """The hashes of the weights, and the precision."""
        return [[content_hash(network.state_dict(), {}) for network in self.models], self.precision]

    def say(self, inputs: Mapping[str, Jagged]) -> Said:
        """Answers to a batch that is on the device."""
        with torch.inference_mode(), self.autocast():
            outputs = [score_batch(network, self.branches, inputs) for network in self.models]
        return self._distribute(outputs)

    def make_encoders(self) -> Mapping[str, Sequence[WindowEncoder]]:
        """Makes encoders that encode each element of a window once."""
        return {
            name: [EncodedElements(name, network.branch(name)) for network in self.models] for name in self.modalities
        }

    def say_encoded(self, sequences: Sequence[Mapping[str, Jagged]]) -> Said:
        """Answers to encoded sequences."""
        unimodal = bool(self.branches.unimodal)
        for network in self.models:
            refuse_training(network, [network])
        with torch.inference_mode(), self.autocast():
            outputs = [
                network.score_sequences(of, unimodal=unimodal)
                for network, of in zip(self.models, sequences, strict=True)
            ]
        return self._distribute(outputs)

    def _distribute(self, outputs: Sequence[ModelOutput]) -> Said:
        """Makes distributions of what each of the networks returns."""
        with torch.inference_mode():
            present = {name: mask.cpu() for name, mask in outputs[0].present.items()}
            each = [
                distribute(heads.find, self.branches, collect_scores(self.branches, [output]), present)
                for heads, output in zip(self._heads, outputs, strict=True)
            ]
            said = each[0] if len(each) == 1 else average_networks(each)
            predicted = {
                branch: {target: self._heads[0].find(target, None).predict(values) for target, values in of.items()}
                for branch, of in said.items()
            }
        return Said(said, predicted, present, outputs[0].features)
