"""Checks of elements before a stream keeps them, and of what it keeps before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from fusionkit.errors import FusionKitError, ShapeError
from fusionkit.models.branch import Branch
from fusionkit.models.inputs import refuse_other_numbers
from fusionkit.nn.jagged import Jagged

State = tuple[str, tuple[tuple[int, int], ...]]
"""State of encoders: precision and device, then address and number of changes of each weight."""

NEVER: State = ("", ())


def check_shape(name: str, elements: object, branch: Branch) -> None:
    """Refuses what is no tensor of a modality's elements.

    Raises:
        ShapeError: It is not.
    """
    shape = branch.in_shape
    if not isinstance(elements, Tensor):
        raise ShapeError(f"{name}: a tensor is expected, given {type(elements).__name__}")
    if elements.ndim != len(shape) + 1 or tuple(elements.shape[1:]) != shape:
        expected = f"(new, {', '.join(map(str, shape))})" if shape else "(new,)"
        one = "; a single element is given as element[None]" if tuple(elements.shape) == shape else ""
        raise ShapeError(f"{name}: elements of shape {tuple(elements.shape)} are not {expected}{one}")


def check_numbers(name: str, elements: Tensor, branch: Branch) -> None:
    """Refuses numbers that the modality's first encoder does not take.

    Raises:
        ShapeError: It does not take them.
    """
    refuse_other_numbers(name, elements.dtype, branch.whole_numbers, branch.norm.weight)


def check_dtype(name: str, elements: Tensor, before: torch.dtype | None) -> None:
    """Refuses elements of another dtype than those before.

    Raises:
        ShapeError: They are of another one.
    """
    if before not in (None, elements.dtype):
        remedy = "push elements of one dtype, or reset the stream first"
        raise ShapeError(f"{name}: elements are {elements.dtype}, those before {before}; {remedy}")


def read_state(branch: Branch, encoders: Sequence[nn.Module]) -> State:
    """Reads what a branch encodes elements by, at this moment."""
    weight = branch.norm.weight
    home = f"{weight.dtype} on {weight.device}"
    if encoders and torch.is_autocast_enabled(weight.device.type):
        home += f" under autocast to {torch.get_autocast_dtype(weight.device.type)}"
    tensors = chain.from_iterable(chain(encoder.parameters(), encoder.buffers()) for encoder in encoders)
    return home, tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in tensors)


def check_state(name: str, before: State, now: State) -> None:
    """Refuses what was encoded by other weights, or in another precision or place.

    Raises:
        FusionKitError: It was.
    """
    remedy = "reset the stream and push anew"
    if now[0] != before[0]:
        was = f"the network was {before[0]} when elements were pushed, now it is {now[0]}"
        raise FusionKitError(f"{name}: {was}; {remedy}")
    if now[1] != before[1]:
        was = "the weights of its encoders changed since elements were encoded by them"
        raise FusionKitError(f"{name}: {was}; {remedy}")


def refuse_training(model: nn.Module, running: Iterable[nn.Module]) -> None:
    """Refuses a network in training mode.

    Raises:
        FusionKitError: It, or a part that would run, is in training mode.
    """
    parts = chain.from_iterable(module.modules() for module in running)
    if model.training or any(part.training for part in parts):
        where = next(name for name, part in model.named_modules() if part.training)
        part = f"{where} of the network is" if where else "the network is"
        raise FusionKitError(f"{part} in training mode; call its eval() before you use it in a stream")


def pack_alone(elements: Tensor) -> Jagged:
    """Packs the elements of one sample."""
    return Jagged.from_sizes(elements, (len(elements),))
