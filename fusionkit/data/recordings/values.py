"""One sample as values: arrays, tensors, packed sequences and paths by modality."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.data.readers.arrays import ARRAY_SUFFIXES
from fusionkit.data.readers.files import expand_path
from fusionkit.data.readers.sound.audio import FILM_SUFFIXES
from fusionkit.data.recordings.recording import Given, Recording
from fusionkit.data.recordings.vectors import arrange_vector, name_numbers, take_numbers
from fusionkit.errors import DataError, Problem, suggest_names
from fusionkit.interfaces import Clip
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.records.inputs import InputModality, Inputs


def take_sample(given: Mapping[str, Any], inputs: Inputs, name: str) -> list[Recording]:
    """Takes a sample whose modalities are values or paths; packed sequences are as many samples as they hold.

    Args:
        given: By modality, or ``film`` and ``sound`` where these are prepared, what is given; None is missing.
        inputs: What the network is given.
        name: What the sample is called.

    Raises:
        DataError: An unknown modality, elements of another shape, or packed sequences of different numbers of samples;
            every problem is listed.
    """
    known = list_roles(inputs)
    roles = known[len(inputs.modalities) :]
    unknown = [each for each in given if each not in known]
    if unknown:
        raise DataError(
            [Problem("inputs", f"no modality {each!r}", suggest_names(str(each), known)) for each in unknown]
        )
    packed = {each: value for each, value in given.items() if isinstance(value, Jagged)}
    if packed:
        return _take_packed(given, packed, inputs, name)
    problems: list[Problem] = []
    taken: dict[str, Given] = {}
    files: dict[str, Path] = {}
    for each, value in given.items():
        if value is None:
            continue
        try:
            if isinstance(value, (str, os.PathLike)):
                role = each if each in roles else _find_role(Path(value), each, inputs)
                (files if role else taken)[role or each] = expand_path(value)
            elif each in roles:
                problems.append(Problem(each, f"a path is expected, given {type(value).__name__}"))
            else:
                taken[each] = convert_to_elements(value, each, inputs.modalities[each])
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    clip = Clip(files.get("film"), files.get("sound")) if files else None
    return [Recording(name or "0", f"sample {name}" if name else "inputs", taken, clip)]


def list_roles(inputs: Inputs) -> tuple[str, ...]:
    """Lists the names that a sample is given by: modalities, then film and sound where these are prepared."""
    return (*inputs.modalities, *(("film", "sound") if inputs.films else ()))


def convert_to_elements(value: Any, modality: str, stated: InputModality) -> Tensor:
    """Converts an array, a tensor or nested lists of numbers to the elements of a modality, ``(length, *shape)``.

    A vector of columns of a table is one element, and may be a mapping of its columns' names to numbers.

    Raises:
        DataError: It holds no real numbers, or is neither one element nor a sequence of them.
    """
    if stated.of_numbers and (named := name_numbers(value, stated)) is not None:
        return take_numbers(named, modality, stated)
    try:
        if stated.fill is not None and isinstance(value, (list, tuple)):
            value = np.array(value, np.float64)  # None, as JSON has it, is NaN then
        values = _take_real(value) if isinstance(value, Tensor) else torch.from_numpy(_convert_to_array(value))
    except (TypeError, ValueError, NotImplementedError) as error:  # the last of tensors that hold nothing
        message = f"{type(value).__name__} that is no array of numbers ({error})"
        raise DataError([Problem(modality, message, "give an array, a tensor or a path")]) from None
    if values.is_floating_point():
        values = values.to(torch.float32) if values.dtype != torch.float64 else values.float()
    elif values.dtype not in (torch.uint8, torch.int16):
        values = values.to(torch.int64)
    if stated.pixels:
        values = _convert_pixels(values, modality)
    if stated.of_numbers:
        return arrange_vector(values, modality, stated)
    shape = tuple(stated.shape)
    if tuple(values.shape) == shape:
        return values[None]
    if values.ndim == len(shape) + 1 and tuple(values.shape[1:]) == shape:
        return values
    element = f"({', '.join(map(str, shape))})" if shape else "a number"
    message = f"an array of shape {tuple(values.shape)}; one element is {element}"
    remedy = f"give (time{''.join(f', {size}' for size in shape)})"
    raise DataError([Problem(modality, message, remedy)])


def _convert_pixels(values: Tensor, modality: str) -> Tensor:
    """Converts whole numbers of images to bytes.

    Raises:
        DataError: They are beyond a byte, or numbers with a point beyond 0..1: the network would take them for light.
    """
    if not values.numel() or values.isnan().any():
        return values
    low, high = float(values.min()), float(values.max())
    most = 1.0 if values.is_floating_point() else 255.0
    if low < 0 or high > most:
        message = f"pixels from {low:g} to {high:g}"
        raise DataError([Problem(modality, message, "give whole numbers in 0..255, or numbers with a point in 0..1")])
    return values if values.is_floating_point() else values.to(torch.uint8)


def _take_real(value: Tensor) -> Tensor:
    if value.is_complex():
        raise TypeError(f"of dtype {value.dtype}")
    return value.detach().cpu()


def _convert_to_array(value: Any) -> np.ndarray[Any, Any]:
    if np.ma.is_masked(value):
        value = value.astype(np.float64).filled(np.nan)  # what a mask hides is not known, whatever stands below it
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"of dtype {array.dtype}")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "u" and native.dtype.itemsize > 1:
        native = native.astype(np.int64)
    if native.dtype.kind == "f" and native.dtype.itemsize not in (2, 4, 8):
        native = native.astype(np.float64)
    whole = np.ascontiguousarray(native) if native.ndim else native
    # Arrays of numpy.frombuffer, of tables and of other programs may not be written, which torch warns of.
    return whole if whole.flags.writeable else whole.copy()


def _take_packed(given: Mapping[str, Any], packed: Mapping[str, Jagged], inputs: Inputs, name: str) -> list[Recording]:
    """Takes each sample of packed sequences."""
    counts = {each: len(value) for each, value in packed.items()}
    if len(set(counts.values())) > 1:
        message = f"packed sequences of different numbers of samples: {counts}"
        raise DataError([Problem("inputs", message)])
    others = [each for each, value in given.items() if each not in packed and value is not None]
    if others:
        message = f"{', '.join(others)} beside packed sequences"
        raise DataError([Problem("inputs", message, "give all modalities packed, or one sample at a time")])
    taken: list[Recording] = []
    samples = {each: value.unbind() for each, value in packed.items()}
    for position in range(next(iter(counts.values()))):
        own = f"{name}.{position}" if name else str(position)
        taken += take_sample({each: values[position] for each, values in samples.items()}, inputs, own)
    return taken


def _find_role(path: Path, modality: str, inputs: Inputs) -> str:
    """Finds whether a file that is given for a modality is to be prepared; empty where it is read as it is."""
    if not inputs.films or path.suffix.lower() in ARRAY_SUFFIXES:
        return ""
    return "film" if modality != "audio" and path.suffix.lower() in FILM_SUFFIXES else "sound"
