"""A folder of files as a table: levels of folders are classes, modalities, groups or parts; a stem is a sample."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from fusionkit.data.recordings.table import TABLE_SUFFIXES
from fusionkit.errors import DataError, Problem
from fusionkit.experiments.drafts.columns import make_name, split_name
from fusionkit.experiments.drafts.contents import find_kind
from fusionkit.experiments.drafts.vocabulary import GROUPS, MODALITIES

Level = Literal["modality", "class", "group", "part"]

_TRAIN = frozenset({"train", "training", "val", "valid", "validation", "dev"})
_TEST = frozenset({"test", "testing"})


@dataclass(frozen=True)
class FolderTable:
    """A folder as a table.

    Args:
        table: The table that lies in the folder, if one does.
        text: The CSV of its files, if none does.
        remarks: What was assumed, in sentences.
    """

    table: Path | None
    text: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    path: PurePath
    kind: str

    @property
    def folders(self) -> tuple[str, ...]:
        return self.path.parts[:-1]


def list_folder(folder: Path) -> FolderTable:
    """Lists the files of a folder as a table.

    A table that lies in the folder is taken as it is. Else files of one stem are one sample, folders of one level are
    its class, group, part or modality, and endings tell modalities apart where folders do not.

    Raises:
        DataError: There is no file that can be read, several tables, folders of several depths, or two files for one
            modality of a sample.
    """
    tables = sorted(file for file in folder.iterdir() if file.suffix.lower() in TABLE_SUFFIXES and file.is_file())
    if len(tables) == 1:
        return FolderTable(tables[0], "", ())
    if tables:
        named = ", ".join(file.name for file in tables)
        raise DataError([Problem(str(folder), f"holds several tables: {named}", "name one of them instead")])
    files = _list_files(folder)
    levels = _find_levels(folder, files)
    rows, modalities = _make_rows(folder, files, levels)
    columns = [
        "id",
        *modalities,
        *(column for column in ("group", "part", "label") if any(column in row for row in rows)),
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return FolderTable(None, text.getvalue(), _say_levels(files, levels, rows))


def _list_files(folder: Path) -> list[_File]:
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    files = [_File(path, kind) for path in paths if (kind := find_kind(path.name)) is not None]
    if not files:
        remedy = "give a table, or a folder of sounds, films, images or arrays (npy, safetensors)"
        raise DataError([Problem(str(folder), "holds no table, and no file that can be read", remedy)])
    depths = Counter(len(file.folders) for file in files)
    if len(depths) > 1:
        usual = depths.most_common(1)[0][0]
        other = next(file for file in files if len(file.folders) != usual)
        message = f"its files lie in folders of several depths, such as {files[0].path} and {other.path}"
        raise DataError([Problem(str(folder), message, "sort them alike, or write a table of them")])
    return files


def _find_levels(folder: Path, files: Sequence[_File]) -> list[Level]:
    """Finds what the folders of each level stand for."""
    depth = len(files[0].folders)
    levels: list[Level] = []
    for level in range(depth):
        names = {file.folders[level] for file in files}
        if {name.lower() for name in names} <= _TRAIN | _TEST:
            levels.append("part")
        elif "modality" not in levels and _are_modalities(files, level):
            levels.append("modality")
        elif len(names) > 1 and all(_is_group(name) for name in names):
            levels.append("group")
        else:
            levels.append("class")
    # The innermost folder is the class; what stands around it is a group.
    classes = [level for level, kind in enumerate(levels) if kind == "class"]
    for level in classes[:-1]:
        levels[level] = "group"
    if not classes and "group" in levels:
        levels[len(levels) - 1 - levels[::-1].index("group")] = "class"
    if "class" not in levels:
        remedy = "put the files of each class into a folder of its own, or write a table with a column for the target"
        raise DataError([Problem(str(folder), "its folders name no classes", remedy)])
    return levels


def _are_modalities(files: Sequence[_File], level: int) -> bool:
    """Tells whether folders of a level hold the same samples, each in another way."""
    samples: dict[tuple[str, ...], set[str]] = {}
    kinds: dict[str, set[str]] = {}
    for file in files:
        name = file.folders[level]
        rest = (*file.folders[:level], *file.folders[level + 1 :], file.path.stem)
        samples.setdefault(rest, set()).add(name)
        kinds.setdefault(name, set()).add(file.kind)
    if len(kinds) < 2:
        return False
    shared = sum(len(names) > 1 for names in samples.values()) / len(samples)
    told_apart = len({tuple(sorted(found)) for found in kinds.values()}) > 1
    known = all(MODALITIES & set(split_name(name)) for name in kinds)
    # Arrays of the same names in folders of one level alone may as well be numbered within each class.
    arrays = all(found == {"array"} for found in kinds.values()) and len(files[0].folders) > 1
    return shared >= 0.5 and (told_apart or known or arrays)


def _is_group(name: str) -> bool:
    words = split_name(name)
    return bool(set(GROUPS) & set(words[:1])) or bool(re.fullmatch(r"[A-Za-z]{1,2}[-_]?[0-9]+", name))


def _make_rows(folder: Path, files: Sequence[_File], levels: Sequence[Level]) -> tuple[list[dict[str, str]], list[str]]:
    """Makes a row of every sample; returns the rows and the columns of modalities."""
    columns: dict[str, str] = {}
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    problems = []
    for file in files:
        own = [(name, kind) for name, kind in zip(file.folders, levels, strict=True) if kind != "modality"]
        said = next((name for name, kind in zip(file.folders, levels, strict=True) if kind == "modality"), file.kind)
        if said not in columns:
            columns[said] = make_name(said, {*columns.values(), "id", "group", "part", "label"}, file.kind)
        key = (*(name for name, _ in own), file.path.stem)
        row = rows.setdefault(key, {"id": "/".join(key), **_read_levels(own)})
        if columns[said] in row:
            message = f"is a second {said} of one sample, beside {row[columns[said]]}"
            problems.append(Problem(str(folder / file.path), message, "keep one of them, or write a table"))
        row[columns[said]] = file.path.as_posix()
    if problems:
        raise DataError(problems)
    return list(rows.values()), list(columns.values())


def _read_levels(levels: Sequence[tuple[str, Level]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, kind in levels:
        if kind == "part":
            found["part"] = "test" if name.lower() in _TEST else "train"
        elif kind == "group":
            found["group"] = f"{found['group']}/{name}" if "group" in found else name
        else:
            found["label"] = name
    return found


def _say_levels(files: Sequence[_File], levels: Sequence[Level], rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    meaning = {"modality": "modalities", "class": "classes", "group": "groups", "part": "parts"}
    said = [f"{len(files)} files are {len(rows)} samples: files of one stem in one place are one."]
    for level, kind in enumerate(levels):
        names = sorted({file.folders[level] for file in files})
        shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        said.append(f"Folders such as {shown} are {meaning[kind]}.")
    return tuple(said)
