"""Bodies of requests to recordings: JSON of arrays, or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from fusionkit.data.recordings import Recording
from fusionkit.data.recordings.files import find_roles, take_file
from fusionkit.data.recordings.values import list_roles, take_sample
from fusionkit.errors import DataError, Problem, shorten, suggest_names
from fusionkit.interfaces import Clip
from fusionkit.serving.http.refusals import Refusal
from fusionkit.serving.http.uploads import Upload
from fusionkit.storage.records.inputs import InputModality, Inputs

_MOST_UNKNOWN = 8
_LONGEST_NAME = 100
"""Keys beside those of the network, and characters of one: each is told, and a body may hold a million."""

ANY_FILE = "file"
"""The name of a part whose modality is found by its ending and shape."""


def read_samples(body: bytes, inputs: Inputs, most: int) -> tuple[list[Recording], bool]:
    """Reads samples from JSON: an object of arrays by modality, or a list of such objects.

    Args:
        body: The JSON.
        inputs: What the network is given.
        most: So many samples are taken.

    Returns:
        The samples, and whether the body is one sample.

    Raises:
        Refusal: It is no JSON, with NaN or infinity in it, or no sample.
        DataError: The only sample is wrong; of several, each that is wrong says so itself.
    """
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(422, f"the body is no JSON that can be read ({error})") from None
    except RecursionError:
        raise Refusal(422, "the body is nested too deeply") from None
    if isinstance(given, Mapping):
        return [_take(given, inputs, "")], True
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise Refusal(422, "the body is neither an object of arrays by modality nor a list of such objects")
    if len(given) > most:
        raise Refusal(413, f"the body holds {len(given):,} samples, more than the limit of {most:,}")
    return [_take_one(each, inputs, str(place)) for place, each in enumerate(given)], False


def _take_one(given: Any, inputs: Inputs, name: str) -> Recording:
    try:
        if isinstance(given, Mapping):
            return _take(given, inputs, name)
        text = "is no object of arrays by modality"
    except DataError as error:
        text = "; ".join(map(str, error.problems))
    return Recording(name, f"sample {name}", wrong=text)


def _take(given: Mapping[str, Any], inputs: Inputs, name: str) -> Recording:
    # Text would be taken for a path of this machine, and what it leads to would be read.
    if len(given) > len(inputs.modalities) + _MOST_UNKNOWN:
        raise DataError([Problem("inputs", f"{len(given):,} keys", f"known: {', '.join(inputs.modalities)}")])
    if long := [key for key in given if len(key) > _LONGEST_NAME and key not in inputs.modalities]:
        raise DataError([Problem("inputs", f"no modality {shorten(long[0], _LONGEST_NAME)!r}")])
    problems = [
        Problem(str(key), "no array", "send numbers, or the file itself as multipart/form-data")
        for key, value in given.items()
        if value is not None and not _holds_numbers(value, inputs.modalities.get(key))
    ]
    if problems:
        raise DataError(problems)
    return take_sample(given, inputs, name)[0]


def _holds_numbers(value: Any, stated: InputModality | None) -> bool:
    """Tells whether a value of JSON may be of numbers: an array, a number, or those of a vector by their names."""
    if isinstance(value, Mapping):
        return stated is not None and stated.of_numbers
    return isinstance(value, (list, int, float)) and not isinstance(value, bool)


def join_uploads(uploads: Sequence[Upload], inputs: Inputs) -> Recording:
    """Joins files to one sample.

    Raises:
        DataError: A file is of no modality, or of one that another is of.
    """
    known = (*list_roles(inputs), ANY_FILE)
    problems = [
        Problem("body", f"no modality {each.name[:64]!r}", suggest_names(each.name, known))
        for each in uploads
        if each.name not in known
    ]
    if not uploads:
        problems.append(Problem("body", "holds no file"))
    if problems:
        raise DataError(problems)
    joined = Recording("0", "upload")
    for upload in uploads:
        if upload.name == ANY_FILE:
            if len(roles := find_roles(upload.path, inputs)) > 1:
                message = f"may be {', '.join(roles[:-1])} or {roles[-1]}"
                raise DataError([Problem(str(upload.path), message, f"say which: its part is named {ANY_FILE!r}")])
            taken = take_file(upload.path, inputs)
        else:
            taken = take_sample({upload.name: upload.path}, inputs, "")[0]
        if taken.wrong:
            raise DataError([Problem(taken.place, taken.wrong)])
        joined = _join(joined, taken)
    return joined


def _join(first: Recording, second: Recording) -> Recording:
    clips = [clip for clip in (first.clip, second.clip) if clip is not None]
    films = [clip.film for clip in clips if clip.film is not None]
    sounds = [clip.sound for clip in clips if clip.sound is not None]
    twice = [*(first.given.keys() & second.given.keys()), *["film"] * (len(films) > 1), *["sound"] * (len(sounds) > 1)]
    if twice:
        raise DataError([Problem("body", f"holds two files for {', '.join(twice)}", "send each sample by itself")])
    clip = Clip(next(iter(films), None), next(iter(sounds), None)) if clips else None
    return replace(first, given={**first.given, **second.given}, clip=clip)
