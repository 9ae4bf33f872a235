"""The contracts of data: datasets, folds, transforms, face detectors, and the batches that a loader yields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from fusionkit.interfaces.columns import TableColumns
from fusionkit.nn.jagged import Jagged

RawTarget = str | int | float | tuple[float, ...] | tuple[str, ...]
"""A target as a data file states it: a class by name, a number, several numbers, or several names."""


@dataclass(frozen=True)
class ModalityInfo:
    """A dataset's description of one modality.

    Args:
        shape: Shape of one element; ``()`` for a wave, ``(channels,)`` for a sensor, ``(channels, height, width)``.
        rate: Elements per second; None where the elements are no samples of time.
    """

    shape: tuple[int, ...]
    rate: float | None = None


@dataclass(frozen=True)
class Row:
    """A sample's description, known without loading it.

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


@dataclass(frozen=True)
class Clip:
    """The films and sounds of one sample, which are prepared once before anything is trained.

    Args:
        film: The film that the faces are cut from; None where there is none.
        sound: The file of the sound; None takes the film's own sound, if it has any.
    """

    film: Path | None
    sound: Path | None = None


class Dataset(ABC):
    """Samples with named modalities, targets and a group.

    `modalities` and `rows` are known after construction; `load` reads one sample. Problems with many rows are
    raised together as one `DataError`. A dataset of films states its `clips` instead: what `fusionkit prepare` makes of
    them is loaded in its place, as the modalities ``video`` and ``audio``.
    """

    wired: ClassVar[tuple[str, ...]] = ()
    modalities: Mapping[str, ModalityInfo]
    rows: Sequence[Row]
    #: Classes of targets, in order, where the dataset states them; a recipe may leave its classes out then.
    classes: Mapping[str, tuple[str, ...]]
    #: By target, the file and column that state it, where that is known; messages name it.
    origins: Mapping[str, str] = MappingProxyType({})
    #: By row id, what is prepared before it can be loaded; empty where `load` reads the samples themselves.
    clips: Mapping[str, Clip] = MappingProxyType({})
    #: By row id, a hash of what the sample holds, where that is known without reading it.
    contents: Mapping[str, str] = MappingProxyType({})
    #: By row id, the files that the sample is read from; one on both sides of a split is an overlap.
    sources: Mapping[str, Sequence[Path]] = MappingProxyType({})
    #: What a user should know of the files: what is missing, was left out or mended, and why.
    notes: Sequence[str] = ()
    #: What one group is, in the singular, such as speaker or pump; labels of protocols say it.
    group_name: str = "group"
    #: What every reader of results must know of the samples, such as files without an element; cards repeat it.
    cautions: Sequence[str] = ()
    #: Where its samples stand in a table, the columns; a trained network reads tables of new samples by them.
    columns: TableColumns = TableColumns()

    @abstractmethod
    def load(self, index: int) -> Mapping[str, Tensor]:
        """Reads every modality that the sample has, ``(length, *shape)``; a missing one is left out, or has length 0.

        Both mean the same everywhere: `fusionkit.collate` fills what is left out with length 0. Whole numbers, such as
        ids, stay whole, of one dtype in all samples. Tensors are dense and real; others are refused with the sample.

        Raises:
            DataError: A file is missing, damaged or of another shape.
        """

    def has(self, index: int, modality: str) -> bool:
        """Tells whether a sample has a modality; by its length unless overridden."""
        return self.length(index, modality) > 0

    def length(self, index: int, modality: str) -> int:
        """Counts a sample's elements of one modality, for batches by budget; loads the sample unless overridden."""
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
        """Returns the folds, in order.

        Raises:
            DataError: The rows lack the groups or parts that the protocol needs.
        """


class Transform(ABC):
    """One sample's modality to the same modality, on the CPU, random only through the generator it is given.

    `in_shape` is the shape of an element and `rate` the elements per second, where the dataset knows it. A transform
    returns a new tensor or a view, and never writes into what it is given.
    """

    wired: ClassVar[tuple[str, ...]] = ("in_shape", "rate")
    #: Whether all modalities of a sample whose transforms set it are given the same generator, to draw alike.
    together: bool = False
    #: Of how many elements it keeps one: the rate that transforms after it are given is divided by it.
    keeps_every: int = 1

    @abstractmethod
    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Transforms ``(length, *in_shape)``; in evaluation it draws nothing from the generator."""


class DeviceTransform(Transform):
    """A transform in two halves: the sample's generator draws on the CPU, the device computes on the packed batch.

    What is drawn is a function of seed, epoch and sample alone, like every other draw; only the arithmetic moves. In a
    chain these stand after all transforms that are no `DeviceTransform`. Elements keep their shape, number and dtype.
    """

    @abstractmethod
    def draw(self, length: int, generator: torch.Generator) -> Tensor:
        """Draws the parameters of every element of a sample, ``(length, parameters)``; called in training only."""

    @abstractmethod
    def apply(self, values: Tensor, parameters: Tensor) -> Tensor:
        """Transforms packed elements ``(total, *in_shape)`` by their parameters ``(total, parameters)``."""

    def __call__(self, values: Tensor, generator: torch.Generator, *, training: bool) -> Tensor:
        """Computes both halves, for one sample."""
        return self.apply(values, self.draw(len(values), generator)) if training else values


@dataclass(frozen=True)
class Box:
    """A face in an image, in pixels from the upper left corner; it may reach beyond the image.

    Args:
        left: The first column.
        top: The first row.
        right: One behind the last column.
        bottom: One behind the last row.
        score: How sure the detector is, on a scale of its own; higher is surer.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float = 0.0


class FaceDetector(ABC):
    """A detector of the faces in an image."""

    wired: ClassVar[tuple[str, ...]] = ()
    #: Whether it looks at the image at all; one that does not is asked once per film, and gets no margin.
    looks: ClassVar[bool] = True
    #: What its findings depend on besides its options, such as a hash of its weights: others are looked for anew.
    version: str = ""

    @abstractmethod
    def detect(self, image: Tensor) -> Sequence[Box]:
        """Finds the faces of an image ``(height, width, 3)`` uint8 red, green, blue, in no particular order."""


@dataclass(frozen=True)
class Batch:
    """A loader's batch: packed modalities, encoded targets and the ids of the samples.

    Args:
        inputs: By modality, the packed elements.
        targets: By target, the encoded values.
        sample_ids: The samples.
        pending: By modality, transforms that are still to be computed, each with its drawn parameters; `to` does it.
        said: By sample of which there is something to say, remarks, and why it could not be used or an empty text.
    """

    inputs: Mapping[str, Jagged]
    targets: Mapping[str, Tensor]
    sample_ids: tuple[str, ...]
    pending: Mapping[str, tuple[tuple[DeviceTransform, Tensor], ...]] = field(default_factory=dict)
    said: Mapping[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Moves inputs and targets to a device and computes there what is pending."""
        moved = self.copy_to(device, non_blocking=non_blocking)
        inputs = dict(moved.inputs)
        for name, steps in moved.pending.items():
            for transform, parameters in steps:
                inputs[name] = inputs[name].with_values(transform.apply(inputs[name].values, parameters))
        return Batch(inputs, moved.targets, moved.sample_ids, said=moved.said)

    def copy_to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Moves all of it to a device; what is pending stays so."""
        return Batch(
            {name: value.to(device, non_blocking=non_blocking) for name, value in self.inputs.items()},
            {name: value.to(device, non_blocking=non_blocking) for name, value in self.targets.items()},
            self.sample_ids,
            {
                name: tuple((each, parameters.to(device, non_blocking=non_blocking)) for each, parameters in steps)
                for name, steps in self.pending.items()
            },
            self.said,
        )

    def pin_memory(self) -> Batch:
        """Copies to page-locked memory."""
        return Batch(
            {name: value.pin_memory() for name, value in self.inputs.items()},
            {name: value.pin_memory() for name, value in self.targets.items()},
            self.sample_ids,
            {
                name: tuple((transform, parameters.pin_memory()) for transform, parameters in steps)
                for name, steps in self.pending.items()
            },
            self.said,
        )
