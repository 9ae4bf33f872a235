"""Inputs of a network, as its users give them: packed, complete, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from einops import rearrange
from torch import Tensor

from fusionkit.errors import ShapeError, suggest_names
from fusionkit.models.branch import Branch
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.tensor_checks import refuse_odd_kind

Inputs = Mapping[str, Jagged | Tensor]
"""By modality a `Jagged`, or a tensor of one element each or of sequences of one length."""


def pack_inputs(inputs: Inputs, branches: Mapping[str, Branch], weight: Tensor) -> dict[str, Jagged]:
    """Packs the inputs of a batch, every modality among them: one that is not given is missing in every sample.

    Args:
        inputs: What was given.
        branches: The network's branches, by modality.
        weight: One of the network's, for its precision and device.

    Raises:
        ShapeError: No or an unknown modality, elements of another shape or dtype, or batches of different sizes.
    """
    if not isinstance(inputs, Mapping):
        wanted = f"a mapping from modality to tensor is expected, with keys of {', '.join(branches)}"
        raise ShapeError(f"inputs: {wanted}; given {type(inputs).__name__}")
    refuse_unknown("inputs", inputs, branches)
    if not inputs:
        raise ShapeError(f"inputs: no modality is given; known: {', '.join(branches)}")
    batch = {name: as_jagged(name, value, branches[name].in_shape) for name, value in inputs.items()}
    sizes = {name: len(value) for name, value in batch.items()}
    if len(set(sizes.values())) > 1:
        raise ShapeError(f"inputs: batches differ in size: {sizes}")
    for name, value in batch.items():
        if value.total:  # what has no elements enters no encoder
            refuse_other_numbers(name, value.dtype, branches[name].whole_numbers, weight)
    like = next(iter(batch.values()))
    for name, branch in branches.items():
        if name not in batch:
            batch[name] = Jagged.empty(len(like), branch.in_shape, like=like.values)
    return batch


def refuse_unknown(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a name that is no modality of the network.

    Raises:
        ShapeError: One of the names is unknown.
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            raise ShapeError(f"{where}: unknown modality {name!r}; {suggest_names(str(name), known)}")


def as_jagged(name: str, value: Jagged | Tensor, shape: tuple[int, ...]) -> Jagged:
    """Returns a modality's input as a `Jagged` whose elements have `shape`.

    Raises:
        ShapeError: Neither ``(batch, *shape)`` nor ``(batch, time, *shape)``, or complex, sparse, quantized or nested.
    """
    if isinstance(value, Jagged):
        if value.element_shape != shape:
            raise ShapeError(f"{name}: elements of shape {value.element_shape}, the model was built for {shape}")
        return value
    if not isinstance(value, Tensor):
        raise ShapeError(f"{name}: a Jagged or a tensor is expected, given {type(value).__name__}")
    refuse_odd_kind(name, value)
    if value.ndim == len(shape) + 1 and tuple(value.shape[1:]) == shape:
        return Jagged.from_sizes(value, (1,) * len(value))
    if value.ndim == len(shape) + 2 and tuple(value.shape[2:]) == shape:
        elements = rearrange(value, "batch time ... -> (batch time) ...")
        return Jagged.from_sizes(elements, (value.shape[1],) * len(value))
    raise ShapeError(
        f"{name}: a tensor of shape {tuple(value.shape)} is neither (batch, *{shape}) nor (batch, time, *{shape})"
    )


def refuse_other_numbers(
    name: str, given: torch.dtype, whole_numbers: tuple[torch.dtype, ...] | None, weight: Tensor
) -> None:
    """Refuses numbers of a modality that its first encoder does not take.

    Numbers in double precision and networks in single precision never meet, nor the other way round. Of others the
    encoder says what it takes: floating-point numbers of the network's precision (under autocast of any but double),
    and some whole numbers; one that does not say is given them.

    Args:
        name: The modality.
        given: The dtype of its elements.
        whole_numbers: The dtypes of whole numbers that its first encoder takes; None where it does not say.
        weight: One of the network's, for its precision and device.

    Raises:
        ShapeError: It does not take them.
    """
    own = weight.dtype
    if given.is_floating_point:
        double = torch.float64 in (given, own)
        mixes = not double and (whole_numbers is None or torch.is_autocast_enabled(weight.device.type))
        if given != own and not mixes:
            raise ShapeError(f"{name}: numbers are {given}, those of the network {own}; convert them with .to({own})")
    elif whole_numbers is not None and given not in whole_numbers:
        takes = " or ".join(str(dtype) for dtype in (*whole_numbers, own))
        remedy = "convert them as for the training"
        if given == torch.int16:
            remedy = "divide 16-bit sound by 32768, and convert other numbers as for the training"
        raise ShapeError(f"{name}: numbers are {given}, its first encoder takes {takes}; {remedy}")
