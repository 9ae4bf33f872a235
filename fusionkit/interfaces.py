"""The contracts of the library, one class per kind, and the records that pass between them.

Axes: ``batch`` samples, ``time`` elements of one sample, ``total`` elements of all samples, ``features`` of a vector,
``classes`` or ``outputs`` of a target. A modality is always a `Jagged`; a target is a tensor in which a missing value
is negative (integers) or NaN (floats).

Constructor parameters before ``*`` are wired by the model (`wired`), those after it are what a recipe may set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fusionkit.jagged import Jagged

RawTarget = str | int | float | tuple[float, ...] | tuple[str, ...]
"""A target as a data file states it: a class by name, a number, several numbers, or several names."""


class Encoder(nn.Module, ABC):
    """Elements to elements: `F_m` of the paper; encoders chain.

    A subclass takes the shape of one element, declares `out_shape`, may change the lengths, never lets one sample
    see another, keeps an empty sample empty, and is not called when the whole batch is empty.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_shape",)
    out_shape: tuple[int, ...]

    @abstractmethod
    def forward(self, elements: Jagged) -> Jagged:
        """Encodes the elements of every sample: ``(total, *in_shape)`` to ``(total', *out_shape)``."""


class Aggregator(nn.Module, ABC):
    """A sequence of vectors to one vector: `A_m` of the paper (its SAC).

    It is only given samples with at least one element: the model keeps absent samples away, so they are never
    computed and never enter a batch statistic.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_features",)
    out_features: int

    @abstractmethod
    def forward(self, sequence: Jagged) -> Float[Tensor, "batch out_features"]:
        """Summarises every sample's sequence ``(length_i, in_features)``."""


class Fusion(nn.Module, ABC):
    """One vector per modality to one vector: the paper's FusionComponent up to Scoring.

    `in_features` maps every modality, in the recipe's order, to its width. Rows of absent samples hold the model's
    learned placeholder. ``present[m]`` is None where every sample has the modality (the common case, in which
    nothing is masked). A fusion that sets `reads_sequences` has a further wired parameter ``sequence_features``
    (mapping of modality to width of an element) and is also given the encoders' sequences.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_features",)
    reads_sequences: ClassVar[bool] = False
    out_features: int

    @abstractmethod
    def forward(
        self,
        features: Mapping[str, Float[Tensor, "batch _"]],
        present: Mapping[str, Bool[Tensor, " batch"] | None],
        sequences: Mapping[str, Jagged] | None = None,
    ) -> Float[Tensor, "batch out_features"]:
        """Fuses the features of all modalities."""


class LossHead(nn.Module, ABC):
    """Scores from features, a loss per sample, predictions and their metrics, for one target.

    `in_features` is the width of what it reads; `hidden` is None for one dense unit (the paper's uni-modal branch,
    eqs. 8, 9) or the hidden width of its Scoring (the fused branch, eq. 2). `loss` and `metrics` are only given
    samples whose target is `known`.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_features", "hidden")
    #: The metric of `metrics` that summarises it in one number, and whether more is better.
    score: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    out_features: int

    @abstractmethod
    def forward(self, features: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """The scores."""

    @abstractmethod
    def encode(self, value: RawTarget | None) -> Tensor:
        """One sample's target as the data state it, as a tensor; None becomes the mark of a missing target.

        Raises:
            ValueError: The value is no target of this head; the message names what would be.
        """

    @abstractmethod
    def loss(self, scores: Float[Tensor, "known out_features"], targets: Tensor) -> Float[Tensor, " known"]:
        """The loss of each sample; the mean of it is the loss term."""

    @abstractmethod
    def distribution(self, scores: Float[Tensor, "batch out_features"]) -> Float[Tensor, "batch _"]:
        """What an ensemble may average: probabilities of classes, or predicted numbers."""

    @abstractmethod
    def predict(self, distribution: Tensor) -> Tensor:
        """The prediction: class indices, sets of labels, or numbers."""

    @abstractmethod
    def metrics(self, distribution: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Named figures of merit over samples whose target is known; NaN where one is not defined."""

    def known(self, targets: Tensor) -> Bool[Tensor, " batch"]:
        """Which samples state the target (of several numbers, at least one)."""
        stated = ~targets.isnan() if targets.is_floating_point() else targets >= 0
        return stated if stated.ndim == 1 else stated.flatten(1).any(dim=1)


@dataclass(frozen=True)
class ModelOutput:
    """What a `FusionModel` returns. Absent modalities have zeros in `features` and in `unimodal`.

    Args:
        fused: Scores of the fused branch by target, ``(batch, out_features)``; empty when only branches were asked for.
        unimodal: Scores by modality and target; empty in evaluation mode unless asked for.
        features: Normalised features f^_m by modality, before fusion, ``(batch, features)``.
        present: Which samples have the modality, ``(batch,)`` bool.
    """

    fused: Mapping[str, Tensor]
    unimodal: Mapping[str, Mapping[str, Tensor]]
    features: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """What a balancer may look at in one training step.

    Args:
        epoch: Epochs finished in this stage.
        step: Steps finished in this stage.
        epochs: Epochs of this stage.
        output: The model's output of this batch; None in hooks that run before the forward pass.
        targets: The batch's targets on the model's device.
        sample_ids: The batch's samples.
        teacher: The output of the frozen teachers on this batch, where `Balancer.teachers` asks for them.
    """

    epoch: int
    step: int
    epochs: int
    output: ModelOutput | None
    targets: Mapping[str, Tensor]
    sample_ids: tuple[str, ...]
    teacher: ModelOutput | None = None


@dataclass(frozen=True)
class GradientScale:
    """``gradient * scale + noise * std(gradient) * normal``, drawn anew for every tensor."""

    scale: float | Tensor = 1.0
    noise: float | Tensor = 0.0


@dataclass(frozen=True)
class Plan:
    """What happens in one training step; the default is the ordinary one.

    Args:
        trains: Parts that are updated (modalities and ``"fusion"``); None for all of the stage.
        terms: Loss terms that count; None for all of the stage.
        resets: Parts that go back to their initial weights before this step.
        separate_gradients: Compute one gradient per loss term and let `Balancer.combine` merge them.
    """

    trains: tuple[str, ...] | None = None
    terms: tuple[str, ...] | None = None
    resets: tuple[str, ...] = ()
    separate_gradients: bool = False


class Balancer(nn.Module, ABC):
    """Named loss terms to one total, and the hooks by which the literature balances modalities.

    Terms are named ``fused/<target>`` and ``<modality>/<target>``. A subclass overrides the hooks that it needs; one
    that is not overridden is not called and costs nothing. State that a run must resume with belongs in buffers or
    parameters (parameters are trained by the run's optimizer).
    """

    wired: ClassVar[tuple[str, ...]] = ("modalities", "targets")
    #: Modalities whose separately trained uni-modal network is wanted as a frozen teacher (`Step.teacher`).
    teachers: tuple[str, ...] = ()

    @abstractmethod
    def weigh(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Hook 1: the weighted terms, whose sum is the total; terms may be dropped or added."""

    def gradient_scales(self, terms: Mapping[str, Tensor], step: Step) -> Mapping[str, GradientScale]:
        """Hook 2: by ``<modality>`` for its branch's parameters, by ``features/<modality>`` for its features."""
        return {}

    def replace_features(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], step: Step
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Hook 3: other features, or fewer that are present, for the fusion; uni-modal heads see the originals."""
        return features, present

    def sample_weights(self, step: Step) -> Mapping[str, Tensor]:
        """Hook 4: by loss term, a weight per sample ``(batch,)``; a term left out weighs every sample by one."""
        return {}

    def plan(self, step: Step) -> Plan:
        """Hook 5: what this step trains, resets and combines."""
        return Plan()

    def combine(self, gradients: Mapping[str, Sequence[Tensor | None]], step: Step) -> Sequence[Tensor | None]:
        """Merges gradients per weighted term into one, where `plan` asked for `separate_gradients`.

        Each sequence follows the order of the parameters that the step trains; None stands for no dependence.
        """
        columns = zip(*gradients.values(), strict=True)
        return [_sum_of(gradient for gradient in column if gradient is not None) for column in columns]

    def uses(self, hook: str) -> bool:
        """Whether this balancer overrides a hook."""
        return getattr(type(self), hook) is not getattr(Balancer, hook)


def _sum_of(gradients: Iterable[Tensor]) -> Tensor | None:
    present = list(gradients)
    return torch.stack(present).sum(dim=0) if present else None


@dataclass(frozen=True)
class Stage:
    """One leg of a training: which parts learn, from which branches' losses.

    Args:
        name: A short name, unique in the strategy; it stands in logs and in the run folder.
        trains: Parts that learn (modalities and ``"fusion"``); all others are frozen, batch statistics included.
        branches: Branches whose loss terms count: modalities, and ``"fused"``.
        becomes_teacher: Keep a frozen copy of what was trained as a teacher, then put the parts back to their start.
    """

    name: str
    trains: tuple[str, ...]
    branches: tuple[str, ...]
    becomes_teacher: bool = False


class Strategy(ABC):
    """The order in which the parts of a model are trained."""

    wired: ClassVar[tuple[str, ...]] = ("modalities", "unimodal_heads")

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order."""


@dataclass(frozen=True)
class ModalityInfo:
    """What a dataset says of one modality.

    Args:
        shape: Shape of one element; ``()`` for a wave, ``(channels,)`` for a sensor, ``(channels, height, width)``.
        rate: Elements per second; None where the elements are no samples of time.
    """

    shape: tuple[int, ...]
    rate: float | None = None


@dataclass(frozen=True)
class Row:
    """What is known of a sample without loading it.

    Args:
        id: A name, unique in the dataset.
        group: What must not stand on both sides of a split, such as the actor; None where there is none.
        part: The dataset's own part, ``"train"`` or ``"test"``; None where it has none.
        targets: Targets as the data state them; a missing one is None or left out.
        place: Where the sample is stated, for error messages: a file and row.
    """

    id: str
    group: str | None
    part: str | None
    targets: Mapping[str, RawTarget | None]
    place: str


class Dataset(ABC):
    """Samples with named modalities, targets and a group.

    `modalities` and `rows` are known after construction; `load` reads one sample. Problems with many rows are
    raised together as one `DataError`.
    """

    wired: ClassVar[tuple[str, ...]] = ()
    modalities: Mapping[str, ModalityInfo]
    rows: Sequence[Row]
    #: Classes of targets, in order, where the dataset states them; a recipe may leave its classes out then.
    classes: Mapping[str, tuple[str, ...]]

    @abstractmethod
    def load(self, index: int) -> Mapping[str, Tensor]:
        """Every modality that the sample has, ``(length, *shape)``; a missing one is left out.

        Raises:
            DataError: A file is missing, damaged or of another shape.
        """

    def length(self, index: int, modality: str) -> int:
        """Elements of one modality of a sample, for batches by budget; loads the sample unless overridden."""
        values = self.load(index).get(modality)
        return 0 if values is None else len(values)


@dataclass(frozen=True)
class Split:
    """One fold: which samples train and which are reported on.

    Args:
        name: The fold's name, such as ``A1,2``.
        train: Ids of the training samples, in the dataset's order.
        test: Ids of the samples that results are reported on, in the dataset's order.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


class Folds(ABC):
    """A protocol: how a dataset is divided into training and test samples, as often as the protocol says."""

    wired: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def split(self, rows: Sequence[Row]) -> tuple[Split, ...]:
        """The folds, in order.

        Raises:
            DataError: The rows lack the groups or parts that the protocol needs.
        """


class Transform(ABC):
    """One sample's modality to the same modality, on the CPU, random only through the generator it is given.

    `in_shape` is the shape of an element and `rate` the elements per second, where the dataset knows it.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_shape", "rate")

    @abstractmethod
    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Transforms ``(length, *in_shape)``; in evaluation it draws nothing from the generator."""


class OptimizerRecipe(ABC):
    """The recipe of an optimizer."""

    wired: ClassVar[tuple[str, ...]] = ()
    lr: float

    @abstractmethod
    def make(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Makes the optimizer of some parameters."""


class Schedule(ABC):
    """The factor on the learning rate, as a function of progress; a pure function, so that a resumed run agrees."""

    wired: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def factor(self, progress: float, losses: Sequence[float]) -> float:
        """The factor for the next step.

        Args:
            progress: Finished share of the stage's steps, 0 to 1.
            losses: The monitored loss of every finished epoch.
        """


FeatureHook = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
"""`Balancer.replace_features` with its step bound, as the model calls it."""


@dataclass(frozen=True)
class Batch:
    """What a loader yields: packed modalities, encoded targets and the ids of the samples."""

    inputs: Mapping[str, Jagged]
    targets: Mapping[str, Tensor]
    sample_ids: tuple[str, ...]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Moves inputs and targets to a device."""
        return Batch(
            {name: value.to(device, non_blocking=non_blocking) for name, value in self.inputs.items()},
            {name: value.to(device, non_blocking=non_blocking) for name, value in self.targets.items()},
            self.sample_ids,
        )

    def pin_memory(self) -> Batch:
        """Copies to page-locked memory."""
        return Batch(
            {name: value.pin_memory() for name, value in self.inputs.items()},
            {name: value.pin_memory() for name, value in self.targets.items()},
            self.sample_ids,
        )
