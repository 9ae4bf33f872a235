"""Whatever a user hands to a trained network, as recordings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fusionkit.data.readers.files import describe_what_is_there, expand_path, find_path_hint
from fusionkit.data.recordings.files import list_folder, take_file
from fusionkit.data.recordings.recording import Recording
from fusionkit.data.recordings.table import TABLE_SUFFIXES, list_records, list_table
from fusionkit.data.recordings.values import take_sample
from fusionkit.errors import DataError, FusionKitError, Problem
from fusionkit.storage.records.inputs import Inputs


def find_recordings(given: object, inputs: Inputs, *, root: str | os.PathLike[str] | None = None) -> list[Recording]:
    """Finds the samples in what a user gives.

    Args:
        given: One sample (a mapping of modalities to arrays, tensors, `Jagged` or paths, or the path of a film, sound,
            image or array), the path of a table or of a folder, a pandas or polars table, or a sequence of samples.
        inputs: What the network is given.
        root: The folder that relative paths in tables start from; without it that of the table, or this one.

    Raises:
        DataError: It is none of these, leads nowhere, or holds no sample.
    """
    if isinstance(given, (str, os.PathLike)):
        return _find_at(expand_path(given), inputs, root)
    if isinstance(given, Mapping):
        taken, name = take_sample(given, inputs, ""), _name_files(given)
        return [replace(each, id=name) for each in taken] if name else taken
    if (frame := _read_frame(given)) is not None:
        records, ids = frame
        return list_records(records, inputs, expand_path(root) if root is not None else Path(), ids)
    if isinstance(given, Sequence):
        return [one for position, each in enumerate(given) for one in _take_one(each, inputs, str(position))]
    remedy = "give a mapping of modalities, a list of these, a pandas or polars table, or a path"
    raise DataError([Problem("inputs", f"cannot take {type(given).__name__}", remedy)])


def is_one_sample(given: object) -> bool:
    """Tells whether what a user gives is a single sample, so that what is wrong with it is an error of the call."""
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        return path.suffix.lower() not in TABLE_SUFFIXES and not os.path.isdir(path)
    return isinstance(given, Mapping)


def _name_files(given: Mapping[str, Any]) -> str:
    """Names a sample after its files, such as ``walk`` or ``walk+turn``; empty where it has other values as well."""
    stated = [value for value in given.values() if value is not None]
    if not all(isinstance(value, (str, os.PathLike)) for value in stated):
        return ""
    return "+".join(dict.fromkeys(Path(value).stem for value in stated))


def _take_one(given: object, inputs: Inputs, place: str) -> list[Recording]:
    """Takes one of many samples; what is wrong with it says the sample, and the others go on."""
    try:
        if isinstance(given, Mapping):
            return take_sample(given, inputs, place)
        if isinstance(given, (str, os.PathLike)):
            return [take_file(expand_path(given), inputs)]
    except DataError as error:
        return [Recording(place, f"sample {place}", wrong=describe_error(error))]
    remedy = "a mapping of modalities, or the path of a file"
    return [Recording(place, f"sample {place}", wrong=f"cannot take {type(given).__name__}; give {remedy}")]


def describe_error(error: FusionKitError) -> str:
    """Describes in one line why a sample cannot be used."""
    told = error.problems if isinstance(error, DataError) else [str(error)]
    return "; ".join(" ".join(str(problem).split()) for problem in told)


def _find_at(path: Path, inputs: Inputs, root: str | os.PathLike[str] | None) -> list[Recording]:
    if os.path.isdir(path):
        return list_folder(path, inputs)
    if not os.path.exists(path):
        raise DataError([Problem(str(path), describe_what_is_there(path), find_path_hint(str(path)))])
    if path.suffix.lower() in TABLE_SUFFIXES:
        return list_table(path, inputs, path.parent if root is None else expand_path(root))
    taken = take_file(path, inputs)
    if taken.wrong:
        raise DataError([Problem(taken.place, taken.wrong)])
    return [taken]


def _read_frame(given: Any) -> tuple[list[Mapping[str, Any]], list[str] | None] | None:
    """Reads the rows of a pandas or polars table without importing either, and their ids where it has an index.

    None where it is no table.
    """
    if not hasattr(given, "columns") or not hasattr(given, "shape"):
        return None
    if hasattr(given, "to_dicts"):
        return given.to_dicts(), None
    if hasattr(given, "to_dict"):
        return given.to_dict("records"), _read_index(given.index)
    return None


def _read_index(index: Any) -> list[str] | None:
    """Reads the index of a pandas table as ids; None of one that only counts the rows."""
    counts = (getattr(index, name, None) for name in ("start", "step", "stop"))
    if index.name is None and tuple(counts) == (0, 1, len(index)):
        return None
    return ["/".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in index]
