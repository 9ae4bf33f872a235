"""The one data type: a batch of sequences of any lengths, stored without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from fusionkit.errors import ShapeError
from fusionkit.nn.tensor_checks import refuse_odd_kind


class Jagged:
    r"""A batch of ragged sequences: all elements of all samples, one sample after another.

    .. math::
        \mathrm{sample}_i = \mathrm{values}[o_i : o_i + n_i], \qquad o_i = \sum_{j<i} n_j

    A film is a sequence of frames, a wave a sequence of numbers, a static vector a sequence of length 1 and a
    missing modality a sequence of length 0; so variable length, static features and absence are one case, and no
    padding is stored or computed.

    Args:
        values: Elements, ``(total, *element)``.
        lengths: Elements of each sample, ``(batch,)``, any integer dtype; kept as ``int64`` on the device of
            `values`. Zero means that the sample lacks the modality.

    Raises:
        ShapeError: `values` are complex, sparse, quantized or nested; `lengths` is not one-dimensional, not integer,
            negative, on another device than `values`, or does not sum to the number of elements.

    Example:
        >>> films = Jagged(torch.arange(5.0), torch.tensor([2, 0, 3]))
        >>> [film.tolist() for film in films.unbind()]
        [[0.0, 1.0], [], [2.0, 3.0, 4.0]]
        >>> films.present
        tensor([ True, False,  True])
    """

    __slots__ = ("_lengths", "_offsets", "_sizes", "_values")

    _values: Tensor
    _lengths: Tensor | None
    _sizes: tuple[int, ...]
    _offsets: Tensor | None

    def __init__(self, values: Tensor, lengths: Tensor) -> None:
        _check_kinds(values, lengths)
        sizes = tuple(int(size) for size in lengths.tolist())
        _check_sizes(values, sizes)
        self._set(values, lengths.to(torch.int64), sizes)

    def _set(self, values: Tensor, lengths: Tensor | None, sizes: tuple[int, ...]) -> None:
        self._values, self._lengths, self._sizes, self._offsets = values, lengths, sizes, None

    @classmethod
    def _trust(cls, values: Tensor, lengths: Tensor | None, sizes: tuple[int, ...]) -> Jagged:
        """Skips the checks and, on a GPU, the wait for the lengths that they would cost; None for lengths as sizes."""
        jagged = cls.__new__(cls)
        jagged._set(values, lengths, sizes)
        return jagged

    @classmethod
    def from_sizes(cls, values: Tensor, sizes: Sequence[int]) -> Jagged:
        """Builds a batch from lengths that are known on the host, without waiting for a device.

        Raises:
            ShapeError: A size is negative, the sizes do not sum to the number of elements, or these are no dense ones.
        """
        sizes = tuple(sizes)
        if not isinstance(values, Tensor) or values.ndim == 0:
            raise ShapeError("values: a Jagged holds a tensor of at least one dimension, (total, *element)")
        refuse_odd_kind("values", values)
        _check_sizes(values, sizes)
        return cls._trust(values, None, sizes)

    @classmethod
    def from_list(cls, samples: Sequence[Tensor]) -> Jagged:
        """Packs samples ``(length_i, *element)`` of one element shape, dtype and device.

        A sample without elements takes the dtype of the others.

        Raises:
            ShapeError: The list is empty, or a sample differs from the first in element shape, dtype or device.
        """
        if not samples:
            raise ShapeError("from_list: the list is empty, so the shape of an element is not known")
        # A sample without elements says nothing of the dtype, so the first one with elements does.
        place, first = next(((i, sample) for i, sample in enumerate(samples) if sample.numel()), (0, samples[0]))
        for index, sample in enumerate(samples):
            if sample.ndim == 0:
                raise ShapeError(f"from_list: sample {index} is a scalar; a sample is (length, *element)")
            refuse_odd_kind(f"from_list: sample {index}", sample)
            for what in ("dtype", "device") if len(sample) else ("device",):
                if getattr(sample, what) != getattr(first, what):
                    raise ShapeError(
                        f"from_list: sample {index} has {what} {getattr(sample, what)}, "
                        f"sample {place} has {getattr(first, what)}; convert them to one {what}"
                    )
            if sample.shape[1:] != first.shape[1:]:
                raise ShapeError(
                    f"from_list: sample {index} has elements of shape {tuple(sample.shape[1:])}, "
                    f"sample {place} of {tuple(first.shape[1:])}"
                )
        alike = [sample if sample.dtype == first.dtype else sample.to(first.dtype) for sample in samples]
        return cls.from_sizes(torch.cat(alike), [len(sample) for sample in samples])

    @classmethod
    def from_padded(cls, padded: Tensor, lengths: Tensor) -> Jagged:
        """Drops the padding of ``(batch, time, *element)``; sample i keeps its first ``lengths[i]`` elements.

        Raises:
            ShapeError: `padded` has fewer than two dimensions, or `lengths` does not fit it.
        """
        if padded.ndim < 2:
            raise ShapeError(f"from_padded: {tuple(padded.shape)} is not (batch, time, *element)")
        batch, time = padded.shape[:2]
        _check_kinds(padded, lengths)
        if len(lengths) != batch:
            raise ShapeError(f"from_padded: {len(lengths)} lengths for a batch of {batch}")
        sizes = tuple(int(size) for size in lengths.tolist())
        for index, size in enumerate(sizes):
            if not 0 <= size <= time:
                raise ShapeError(f"from_padded: lengths[{index}] = {size} is outside 0..{time}")
        valid = torch.arange(time, device=padded.device) < lengths[:, None]
        return cls._trust(padded[valid], lengths.to(torch.int64), sizes)

    @classmethod
    def empty(cls, batch_size: int, element_shape: tuple[int, ...], *, like: Tensor) -> Jagged:
        """Makes a batch in which every sample lacks the modality, on the device and in the dtype of `like`."""
        return cls.from_sizes(like.new_empty((0, *element_shape)), (0,) * batch_size)

    @property
    def values(self) -> Tensor:
        """All elements, ``(total, *element)``."""
        return self._values

    @property
    def lengths(self) -> Tensor:
        """Elements of each sample, ``(batch,)``, int64, on the device of the values."""
        if self._lengths is None:  # many batches are never asked
            with torch.inference_mode(False):  # what is kept may be trained on later
                self._lengths = make_indices(self._sizes, self.device)
        return self._lengths

    @property
    def sizes(self) -> tuple[int, ...]:
        """The lengths as numbers on the host: reading them never waits for a device."""
        return self._sizes

    @property
    def offsets(self) -> Tensor:
        """The places at which each sample starts and the last one ends, ``(batch + 1,)``."""
        if self._offsets is None:
            with torch.inference_mode(False):
                self._offsets = torch.nn.functional.pad(self.lengths.cumsum(0), (1, 0))
        return self._offsets

    @property
    def present(self) -> Tensor:
        """The mask of samples that have at least one element, ``(batch,)`` bool."""
        if all(self._sizes):
            return torch.ones(len(self), dtype=torch.bool, device=self.device)
        return self.lengths > 0

    @property
    def element_shape(self) -> tuple[int, ...]:
        """The shape of one element."""
        return tuple(self._values.shape[1:])

    @property
    def total(self) -> int:
        """The number of elements of all samples together."""
        return len(self._values)

    @property
    def device(self) -> torch.device:
        """The device of values and lengths."""
        return self._values.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the values."""
        return self._values.dtype

    @property
    def sample_index(self) -> Tensor:
        """The sample that each element belongs to, ``(total,)``."""
        index = torch.arange(len(self), device=self.device)
        return index.repeat_interleave(self.lengths, output_size=self.total)

    def with_values(self, values: Tensor) -> Jagged:
        """Returns other elements for the same samples, one for one, as an element-wise encoder does.

        Raises:
            ShapeError: The number of elements differs.
        """
        if len(values) != self.total:
            raise ShapeError(f"with_values: {len(values)} elements for samples that hold {self.total}")
        return Jagged._trust(values, self._lengths, self._sizes)

    def to(self, target: torch.device | str | torch.dtype, *, non_blocking: bool = False) -> Jagged:
        """Moves to a device, or converts the values (never the lengths) to a dtype."""
        values = self._values.to(target, non_blocking=non_blocking)
        if values.device == self.device:
            return Jagged._trust(values, self._lengths, self._sizes)
        return Jagged._trust(values, self.lengths.to(values.device, non_blocking=non_blocking), self._sizes)

    def pin_memory(self) -> Jagged:
        """Copies to page-locked memory, from which transfers to a GPU run beside computation."""
        return Jagged._trust(self._values.pin_memory(), self.lengths.pin_memory(), self._sizes)

    def unbind(self) -> tuple[Tensor, ...]:
        """Returns the samples, each ``(length_i, *element)``, as views."""
        return torch.split(self._values, list(self._sizes)) if self._sizes else ()

    def to_padded(self, length: int | None = None, *, fill: float = 0.0) -> Tensor:
        """Pads every sample to one length, for code that cannot do without: ``(batch, length, *element)``.

        Args:
            length: The common length; the longest sample's when left out.
            fill: What stands where a sample has no element.

        Raises:
            ShapeError: A sample is longer than `length`.
        """
        longest = max(self._sizes, default=0)
        length = longest if length is None else length
        if length < longest:
            raise ShapeError(f"to_padded: length {length}, but the longest sample has {longest} elements")
        padded = self._values.new_full((len(self), length, *self.element_shape), fill)
        index = self.sample_index
        position = torch.arange(self.total, device=self.device) - self.offsets[index]
        return padded.index_put((index, position), self._values)

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> Jagged: ...

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Tensor | Jagged:
        """Returns one sample's elements for an integer, a batch of the chosen samples for a slice, a list or a tensor.

        Raises:
            IndexError: A sample is outside the batch, or a boolean mask has another length than the batch.
        """
        samples = self.unbind()
        if isinstance(index, int):
            return samples[index]
        chosen = self._find_places(index)
        values = torch.cat([samples[i] for i in chosen]) if chosen else self._values[:0]
        return Jagged.from_sizes(values, [self._sizes[i] for i in chosen])

    def _find_places(self, index: slice | Sequence[int] | Tensor) -> list[int]:
        if isinstance(index, slice):
            return list(range(len(self))[index])
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            if index.shape != (len(self),):
                raise IndexError(f"a mask of shape {tuple(index.shape)} for a batch of {len(self)}")
            return [int(i) for i in index.nonzero().flatten().tolist()]
        whole = range(len(self))
        return [whole[int(i)] for i in index]

    def __repr__(self) -> str:
        return f"Jagged(batch={len(self)}, total={self.total}, element={self.element_shape}, dtype={self.dtype})"


def make_indices(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Makes an int64 tensor of numbers; a GPU takes them from pinned memory, so that nobody waits for it."""
    made = torch.tensor(numbers, dtype=torch.int64, pin_memory=device.type == "cuda")
    return made.to(device, non_blocking=True)


def _check_kinds(values: Tensor, lengths: Tensor) -> None:
    for name, tensor in (("values", values), ("lengths", lengths)):
        if not isinstance(tensor, Tensor):
            raise ShapeError(f"{name}: a Jagged holds tensors, given {type(tensor).__name__}")
    refuse_odd_kind("values", values)
    if values.ndim == 0:
        raise ShapeError("values: a scalar has no elements; values are (total, *element)")
    if lengths.ndim != 1:
        raise ShapeError(f"lengths: shape {tuple(lengths.shape)} is not (batch,)")
    if lengths.dtype == torch.bool or lengths.is_floating_point() or lengths.is_complex():
        raise ShapeError(f"lengths: dtype {lengths.dtype} is not an integer dtype")
    if lengths.device != values.device:
        raise ShapeError(f"lengths are on {lengths.device}, values on {values.device}; move them to one device")


def _check_sizes(values: Tensor, sizes: tuple[int, ...]) -> None:
    for index, size in enumerate(sizes):
        if size < 0:
            raise ShapeError(f"lengths[{index}] = {size} is negative")
    if sum(sizes) != len(values):
        raise ShapeError(f"lengths sum to {sum(sizes)}, but values hold {len(values)} elements")
