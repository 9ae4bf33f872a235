"""Array files (npy, safetensors) to tensors, with sizes checked before anything is read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.readers.files import name_errors
from fusionkit.data.readers.limits import check_size
from fusionkit.errors import DataError, Problem

ARRAY_SUFFIXES = frozenset({".npy", ".safetensors"})

_PLAIN = "save a plain array of numbers with numpy.save"
_REAL = frozenset(
    {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "BOOL", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"}
)
"""Names that safetensors has for real numbers stored one by one."""


def read_shape(path: Path, tensor: str | None) -> tuple[int, ...]:
    """Reads the shape of an array; only the header is read.

    Args:
        path: The file.
        tensor: Which tensor of a safetensors file; None where it holds only one.

    Raises:
        DataError: It is no array of real numbers, damaged, or larger than the limit.
    """
    if path.suffix.lower() == ".npy":
        with name_errors(path, "cannot be read as npy", _PLAIN), path.open("rb") as file:
            return _read_npy_header(path, file)[0]
    with _open_safetensors(path, tensor) as (_, _, shape):
        return shape


def read_array(path: Path, tensor: str | None) -> Tensor:
    """Reads an array: numbers with a point as float32, bytes as uint8, other whole numbers, true and false as int64.

    Args:
        path: The file.
        tensor: Which tensor of a safetensors file; None where it holds only one.

    Raises:
        DataError: It is no array of real numbers, damaged, larger than the limit, or holds whole numbers over 64 bits.
    """
    if path.suffix.lower() == ".npy":
        array = _read_npy(path)
        own = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
        return _convert(path, torch.from_numpy(array.astype(own, copy=False)))
    with _open_safetensors(path, tensor) as (file, name, _):
        read: Tensor = file.get_tensor(name)
    return _convert(path, read)


def _convert(path: Path, values: Tensor) -> Tensor:
    """Converts numbers to the dtypes that networks meet: whole ones stay whole."""
    if values.is_floating_point():
        return values.to(torch.float32)
    if values.dtype == torch.uint64 and (values.view(torch.int64) < 0).any():
        found = values.numpy().max()
        remedy = "save what are names as smaller numbers, and measurements as numbers with a point"
        raise DataError([Problem(str(path), f"holds the whole number {found}, over 64 bits", remedy)])
    return values if values.dtype == torch.uint8 else values.to(torch.int64)


def _read_npy(path: Path) -> np.ndarray[Any, Any]:
    """Reads an array as `numpy.load` does, which would open the file and read its header once more."""
    with name_errors(path, "cannot be read as npy", _PLAIN), path.open("rb") as file:
        shape, is_fortran, dtype = _read_npy_header(path, file)
        numbers = np.fromfile(file, dtype, math.prod(shape))
        return numbers.reshape(shape[::-1]).T if is_fortran else numbers.reshape(shape)


def _read_npy_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads the header of an array: its shape, whether the first axis varies fastest, and the kind of its numbers."""
    (major, minor), size = np.lib.format.read_magic(file), os.fstat(file.fileno()).st_size
    if major not in (1, 2, 3) or minor:
        raise ValueError(f"its version {major}.{minor} is not known")
    width = 2 if major == 1 else 4
    if int.from_bytes(file.read(width), "little") > size:  # NumPy would ask for as much memory
        raise ValueError("its header ends behind the file")
    file.seek(-width, 1)
    header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = header(file)
    if dtype.kind not in "fiub":
        raise DataError([Problem(str(path), f"holds {dtype}, not real numbers", _PLAIN)])
    if any(length < 0 for length in shape):
        raise DataError([Problem(str(path), f"states the shape {shape}", _PLAIN)])
    _check_bytes(path, shape, dtype.itemsize)
    present, stated = size - file.tell(), math.prod(shape) * dtype.itemsize
    if present < stated:
        message = f"is truncated: it holds {present} of {stated} bytes of numbers that its header promises"
        raise DataError([Problem(str(path), message, "copy it again")])
    return tuple(shape), is_fortran, dtype


@contextmanager
def _open_safetensors(path: Path, tensor: str | None) -> Iterator[tuple[Any, str, tuple[int, ...]]]:
    """Opens a file, and yields it with the name and shape of the wanted tensor, whose numbers are not read."""
    from safetensors import safe_open

    with name_errors(path, "cannot be read as safetensors"), safe_open(path, framework="pt") as file:
        names = sorted(file.keys())
        name = tensor if tensor is not None or len(names) != 1 else names[0]
        if name is None or name not in names:
            several = f"holds {len(names)} tensors: say which with `tensor`"
            asked = several if name is None else f"has no tensor {name!r}"
            raise DataError([Problem(str(path), asked, f"it holds {', '.join(names) or 'none'}")])
        stored = file.get_slice(name)
        shape, kind = tuple(stored.get_shape()), stored.get_dtype()
        if kind not in _REAL:
            raise DataError([Problem(str(path), f"holds {kind}, not real numbers", "store it as F32")])
        _check_bytes(path, shape, 8 if "64" in kind else 4)
        yield file, name, shape


def _check_bytes(path: Path, shape: tuple[int, ...], bytes_each: int) -> None:
    """Refuses an array that takes more memory than the limit, as it is stored or as it is given on."""
    check_size("bytes", math.prod(shape) * max(4, bytes_each), str(path))
