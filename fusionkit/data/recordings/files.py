"""Single files and folders of files as recordings, each file given to the modality that it can be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fusionkit.data.readers.arrays import ARRAY_SUFFIXES, read_shape
from fusionkit.data.readers.files import describe_wrapping
from fusionkit.data.readers.images import IMAGE_SUFFIXES
from fusionkit.data.readers.media import SOUND_SUFFIXES, SUFFIXES
from fusionkit.data.readers.sound.audio import FILM_SUFFIXES
from fusionkit.data.recordings.recording import Recording
from fusionkit.data.recordings.values import list_roles, take_sample
from fusionkit.data.recordings.vectors import describe_vector, holds_vector
from fusionkit.errors import DataError, Problem
from fusionkit.interfaces import Clip
from fusionkit.storage.records.inputs import Inputs

_ELEMENT_OF_IMAGE = 3
"""Axes of an image: channels, height, width."""


def take_file(path: Path, inputs: Inputs) -> Recording:
    """Takes a file as a sample of the one modality that it can be; a film has its sound."""
    if path.suffix.lower() not in SUFFIXES:
        return Recording(path.stem, str(path), wrong=_describe_kind(path))
    return _join([path], inputs, path.stem, str(path))


def list_folder(folder: Path, inputs: Inputs) -> list[Recording]:
    """Lists the samples of a folder.

    Folders that are named after modalities (or ``film`` and ``sound``, where these are prepared) hold one file per
    sample and modality, of the same name in each. Else files beside each other whose names differ in their ending only
    are one sample. Files and folders whose names begin with a dot are passed over.

    Raises:
        DataError: It cannot be read, or holds no file that is read.
    """
    roles = list_roles(inputs)
    try:
        own = {role: folder / role for role in roles if (folder / role).is_dir()}
        named = {role: _list_files(of) for role, of in own.items()}
        files = [] if own else _list_files(folder)
    except OSError as error:
        raise DataError([Problem(str(folder), f"cannot be read ({error.strerror})")]) from error
    if own:
        return _join_by_role(named, own, inputs, folder)
    if not files:
        known = ", ".join(sorted(SUFFIXES))
        raise DataError([Problem(str(folder), "is a folder that holds no file that is read", f"known: {known}")])
    recordings: list[Recording] = []
    groups: dict[Path, list[Path]] = {}
    for file in files:
        groups.setdefault(file.with_suffix(""), []).append(file)
    for stem, beside in groups.items():
        name = stem.relative_to(folder).as_posix()
        one = _join(beside, inputs, name, str(stem if len(beside) > 1 else beside[0]))
        # Two sounds of one name are two samples, not one that cannot be understood.
        if one.wrong and len(beside) > 1:
            recordings += [_join([file], inputs, file.relative_to(folder).as_posix(), str(file)) for file in beside]
        else:
            recordings.append(one)
    return recordings


def find_roles(file: Path, inputs: Inputs) -> list[str]:
    """Finds the modalities, or of films the roles, that a file can be."""
    suffix = file.suffix.lower()
    if inputs.films and suffix in SOUND_SUFFIXES:
        return ["film" if suffix in FILM_SUFFIXES else "sound"]
    if suffix in SOUND_SUFFIXES:
        return [name for name, of in inputs.modalities.items() if not of.shape and not of.of_numbers]
    if suffix in IMAGE_SUFFIXES:
        return [name for name, of in inputs.modalities.items() if len(of.shape) == _ELEMENT_OF_IMAGE]
    if suffix not in ARRAY_SUFFIXES:
        return []
    try:
        shapes = {name: (read_shape(file, of.tensor), tuple(of.shape)) for name, of in inputs.modalities.items()}
    except DataError:
        return list(inputs.modalities) if len(inputs.modalities) == 1 else []
    return [
        name
        for name, (found, shape) in shapes.items()
        if (
            holds_vector(found, inputs.modalities[name])
            if inputs.modalities[name].of_numbers
            else shape in (found, found[1:])
        )
    ]


def _list_files(folder: Path) -> list[Path]:
    found = list[Path]()
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]  # caches and trash, which nobody sees
        found += [
            Path(place) / name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _join_by_role(named: dict[str, list[Path]], own: dict[str, Path], inputs: Inputs, folder: Path) -> list[Recording]:
    samples: dict[str, dict[str, Path]] = {}
    for role, files in named.items():
        for file in files:
            name = file.relative_to(own[role]).with_suffix("").as_posix()
            samples.setdefault(name, {})[role] = file
    if not samples:
        raise DataError([Problem(str(folder), f"holds no file in {', '.join(own)}")])
    # A folder of a modality may hold what is prepared, as a path that is given for it may.
    joined = {name: take_sample(of, inputs, name)[0] for name, of in sorted(samples.items())}
    return [replace(sample, place=str(folder / name)) for name, sample in joined.items()]


def _join(files: Sequence[Path], inputs: Inputs, name: str, place: str) -> Recording:
    """Joins files to one sample; what is ambiguous or of no modality is wrong with it."""
    taken: dict[str, Path] = {}
    for file in files:
        roles = find_roles(file, inputs)
        free = [role for role in roles if role not in taken]
        if len(free) != 1:
            wrong = _describe_choice(file, roles, free, inputs)
            return Recording(name, place, wrong=wrong if len(files) == 1 else f"{file.name} {wrong}")
        taken[free[0]] = file
    if inputs.films and {"film", "sound"} & set(taken):
        clip = Clip(taken.pop("film", None), taken.pop("sound", None))
        return Recording(name, place, dict(taken), clip)
    return Recording(name, place, dict(taken))


def _describe_kind(path: Path) -> str:
    """Describes why a file is of no kind that is read, and what would be right."""
    suffix = path.suffix.lower()
    if reason := describe_wrapping(suffix):
        return reason
    known = "a table (.csv, .tsv, .jsonl, .parquet), a film, a sound, an image or an array (.npy, .safetensors)"
    wrong = f"files that end in {suffix!r} are not read" if suffix else "has no ending that says what it is"
    return f"{wrong}; give {known}"


def _describe_choice(file: Path, roles: Sequence[str], free: Sequence[str], inputs: Inputs) -> str:
    if len(free) > 1:
        which = f"{', '.join(free[:-1])} or {free[-1]}"
        return f"may be {which}; say which: {free[0]}={file.name}"
    if roles:
        return f"is a second {roles[0]}; give each sample by itself"
    shapes = "; ".join(
        f"{name} ({describe_vector(of)})" if of.of_numbers else f"{name} {tuple(of.shape)}"
        for name, of in inputs.modalities.items()
    )
    return f"is of no modality of the network, whose elements are: {shapes}"
