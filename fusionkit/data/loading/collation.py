"""Samples packed into batches: numbers of one kind, length 0 where a modality is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Batch, ModalityInfo
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.tensor_checks import describe_odd_kind


@dataclass(frozen=True)
class Sample:
    """One sample, transformed and encoded; a modality that it lacks is left out of `inputs`.

    Args:
        id: Its name.
        inputs: By modality, its elements.
        targets: By target, the encoded value.
        drawn: By modality, what each `DeviceTransform` of it drew, in order; empty in evaluation.
        remarks: What a user should know of it.
        failure: Why it cannot be used; then it has no inputs. Empty where it can.
    """

    id: str
    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    drawn: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    failure: str = ""


def collate(
    samples: Sequence[Mapping[str, Tensor]], modalities: Mapping[str, ModalityInfo] | None = None
) -> dict[str, Jagged]:
    """Packs samples as `Dataset.load` gives them into what a network takes.

    A sample lacks a modality where its key is missing and where it has length 0: both become length 0.

    Args:
        samples: By modality, elements ``(length, *element)``.
        modalities: Those of the dataset, ``dataset.modalities``: each of them is in the batch, also if no sample has
            it. When left out, the batch has those that at least one sample has an element of; to a network the others
            are missing just the same.

    Raises:
        DataError: There is no sample, or samples hold other modalities than these, complex or sparse tensors, numbers
            of different dtypes, or elements of different shapes; every problem is listed.

    Example:
        >>> batch = collate([{"wave": torch.ones(3), "face": torch.ones(0, 2)}, {"face": torch.ones(5, 2)}])
        >>> {name: packed.sizes for name, packed in batch.items()}
        {'wave': (3, 0), 'face': (0, 5)}
    """
    if not samples:
        raise DataError("collate: there is no sample")
    problems: list[Problem] = []
    shapes = {name: info.shape for name, info in (modalities or {}).items()}
    for position, sample in enumerate(samples):
        for name, values in sample.items():
            if modalities is None and len(values):
                shapes.setdefault(name, tuple(values.shape[1:]))
            elif modalities is not None and name not in modalities:
                remedy = f"known: {', '.join(modalities)}"
                problems.append(Problem(f"sample {position}", f"unknown modality {name!r}", remedy))
    if problems:
        raise DataError(problems)
    named = [(str(position), sample) for position, sample in enumerate(samples)]
    return {
        name: _pack(name, shape, [(position, sample.get(name)) for position, sample in named])
        for name, shape in shapes.items()
    }


def make_batch(samples: Sequence[Sample], element_shapes: Mapping[str, tuple[int, ...]]) -> Batch:
    """Packs samples into a batch; a modality that no sample has is an empty `Jagged` of its element shape.

    Raises:
        DataError: Samples hold numbers of different dtypes, or elements of another shape, in one modality.

    Example:
        >>> samples = [Sample("a", {"wave": torch.zeros(3)}, {}), Sample("b", {}, {})]
        >>> batch = make_batch(samples, {"wave": (), "face": (2,)})
        >>> batch.inputs["wave"].sizes, batch.inputs["face"].element_shape
        ((3, 0), (2,))
    """
    inputs = {
        name: _pack(name, shape, [(sample.id, sample.inputs.get(name)) for sample in samples])
        for name, shape in element_shapes.items()
    }
    targets = {name: torch.stack([sample.targets[name] for sample in samples]) for name in samples[0].targets}
    said = {sample.id: (sample.remarks, sample.failure) for sample in samples if sample.remarks or sample.failure}
    return Batch(inputs, targets, tuple(sample.id for sample in samples), said=said)


def fit_numbers(values: Tensor, whole_numbers: tuple[torch.dtype, ...] | None) -> Tensor:
    """Fits whole numbers to an encoder: as they are, in a larger dtype that it takes, or else as float32.

    Args:
        values: Elements of any dtype; those of floating point stay as they are.
        whole_numbers: The dtypes of whole numbers that the encoder takes; None where it does not say.

    Example:
        >>> ids = torch.tensor([3, 5])
        >>> [fit_numbers(ids, takes).dtype for takes in (None, (torch.int64,), ())]
        [torch.int64, torch.int64, torch.float32]
    """
    if whole_numbers is None or values.is_floating_point() or values.dtype in whole_numbers:
        return values
    larger = [dtype for dtype in whole_numbers if torch.promote_types(values.dtype, dtype) == dtype]
    return values.to(larger[0] if larger else torch.float32)


def _pack(name: str, shape: tuple[int, ...], samples: Sequence[tuple[str, Tensor | None]]) -> Jagged:
    """Packs one modality of samples, each with its id."""
    present = [(sample, values) for sample, values in samples if values is not None and len(values)]
    if not present:
        return Jagged.from_sizes(torch.empty(0, *shape), [0] * len(samples))
    first, like = present[0]
    problems = []
    for sample, values in present:
        if odd := describe_odd_kind(values):
            problems.append(Problem(f"sample {sample}", f"{name}: {odd}"))
        if values.dtype != like.dtype:
            message = f"{name}: numbers are {values.dtype}, those of sample {first} {like.dtype}"
            problems.append(Problem(f"sample {sample}", message, "give all samples one kind of numbers"))
        if tuple(values.shape[1:]) != shape:
            message = f"{name}: elements of shape {tuple(values.shape[1:])}, not {shape}"
            problems.append(Problem(f"sample {sample}", message, "all samples share one shape of elements"))
    if problems:
        raise DataError(problems)
    nothing = like.new_empty((0, *shape))
    return Jagged.from_list([nothing if values is None or not len(values) else values for _, values in samples])
