"""The elements of a window to encoded sequences, of which each element is encoded once."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fusionkit.inference.element_checks import (
    NEVER,
    check_numbers,
    check_shape,
    check_state,
    pack_alone,
    read_state,
)
from fusionkit.models.branch import Branch
from fusionkit.nn.jagged import Jagged


class WindowEncoder(ABC):
    """One modality of a network at work on windows."""

    @abstractmethod
    def check(self, elements: Tensor, *, transformed: bool, pushed: bool) -> None:
        """Refuses elements that the network does not take.

        Args:
            elements: Elements as they are pushed, or as transforms leave a window.
            transformed: Whether the modality has transforms.
            pushed: Whether they are pushed.

        Raises:
            ShapeError: They have another shape, or numbers that it does not take.
        """

    @abstractmethod
    def encode(self, first: int, window: Tensor, chosen: Tensor) -> Jagged:
        """Encodes the elements of a window.

        Args:
            first: The place of the window's first element among all that were pushed.
            window: Its elements.
            chosen: What transforms made of them.
        """

    @abstractmethod
    def make_empty(self) -> Jagged:
        """Makes the sequence of a window without elements."""

    @abstractmethod
    def forget(self) -> None:
        """Forgets all elements."""


class EncodedElements(WindowEncoder):
    """Keeps what the first encoders of a branch say of single elements, as long as windows hold these.

    Those are the encoders before the first that sees neighbours; that one and all behind it run over every window.

    Args:
        name: The modality.
        branch: Its branch.
    """

    def __init__(self, name: str, branch: Branch) -> None:
        self._name, self._branch = name, branch
        self.ahead = tuple(branch.encoders)[: branch.element_encoders]
        self.encoded = 0
        self.forget()

    def forget(self) -> None:
        """Forgets all."""
        self._first, self._state = 0, NEVER
        self._kept: Tensor | None = None
        self._done = torch.zeros(0, dtype=torch.bool)

    def check(self, elements: Tensor, *, transformed: bool, pushed: bool) -> None:
        """Refuses elements of another shape, and numbers that the first encoder does not take."""
        check_shape(self._name, elements, self._branch)
        # What transforms are given is their business; what they leave is converted for networks in double precision.
        converted = transformed and (pushed or self._branch.norm.weight.dtype == torch.float64)
        if not converted:
            check_numbers(self._name, elements, self._branch)

    def make_empty(self) -> Jagged:
        """Makes the encoded sequence of a window without elements."""
        return Jagged.empty(1, self._branch.encoded_shape, like=self._branch.norm.weight)

    def encode(self, first: int, window: Tensor, chosen: Tensor) -> Jagged:
        """Encodes the elements of a window.

        Where `chosen` is a part of them, unchanged, each of them is encoded once; numbers that depend on the window are
        encoded anew.
        """
        places = find_places(window, chosen) if self.ahead else None
        weight = self._branch.norm.weight
        if places is None:
            return self._branch.encode(pack_alone(self._fit(chosen, weight)))
        state = read_state(self._branch, self.ahead)
        if self._done.any():
            check_state(self._name, self._state, state)
        self._state = state
        self._move(first, len(window))
        wanted = torch.arange(places.start, places.stop, places.step)
        missing = ~self._done[wanted]
        if missing.any():
            new = chosen if missing.all() else chosen[missing.to(chosen.device)]
            values = self._branch.encode(pack_alone(self._fit(new, weight)), stop=len(self.ahead)).values
            if self._kept is None:
                self._kept = values.new_zeros(len(window), *values.shape[1:])
            self._kept[wanted[missing].to(values.device)] = values
            self._done[wanted[missing]] = True
            self.encoded += len(values)
        assert self._kept is not None
        kept = self._kept[wanted.to(self._kept.device)]
        return self._branch.encode(pack_alone(kept), start=len(self.ahead))

    def _move(self, first: int, length: int) -> None:
        """Moves what is kept to the places of another window."""
        last, end = self._first, self._first + len(self._done)
        begin, stop = max(first, last), min(first + length, end)
        done = torch.zeros(length, dtype=torch.bool)
        kept = None if self._kept is None else self._kept.new_zeros(length, *self._kept.shape[1:])
        if begin < stop:
            done[begin - first : stop - first] = self._done[begin - last : stop - last]
            if kept is not None and self._kept is not None:
                kept[begin - first : stop - first] = self._kept[begin - last : stop - last]
        self._first, self._done, self._kept = first, done, kept

    @staticmethod
    def _fit(values: Tensor, weight: Tensor) -> Tensor:
        """Fits elements to the device, and to a network in double precision."""
        double = weight.dtype == torch.float64 and values.is_floating_point()
        return values.to(weight.device, weight.dtype if double else values.dtype)


def find_places(window: Tensor, chosen: Tensor) -> range | None:
    """Finds which elements of a window were chosen of it; None where they are not these, unchanged.

    Transforms that take a part of the elements, or leave them as they are, return a view: its place in memory says
    which elements they are.

    Example:
        >>> window = torch.arange(12.0).reshape(6, 2)
        >>> find_places(window, window[1::2]), find_places(window, window * 1)
        (range(1, 7, 2), None)
    """
    if chosen.dtype != window.dtype or chosen.shape[1:] != window.shape[1:] or not len(chosen):
        return None
    if chosen.untyped_storage().data_ptr() != window.untyped_storage().data_ptr():
        return None
    size = window.stride(0)
    if not size or chosen.stride()[1:] != window.stride()[1:]:
        return None
    first, within = divmod(int(chosen.storage_offset()) - int(window.storage_offset()), size)
    step, beside = (1, 0) if len(chosen) == 1 else divmod(chosen.stride(0), size)
    if within or beside or step < 1 or first < 0 or first + step * (len(chosen) - 1) >= len(window):
        return None
    return range(first, first + step * len(chosen), step)
