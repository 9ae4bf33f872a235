"""The samples that a command line gives: one path, one sample by modality, or several files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusionkit.errors import Problem
    from fusionkit.storage.records.inputs import Inputs


def collect_inputs(given: Sequence[str], inputs: Inputs) -> object:
    """Collects what a command line gives as samples: one path, one sample by modality, or several files.

    Args:
        given: The arguments.
        inputs: What the network is given.

    Raises:
        DataError: Arguments MODALITY=FILE are wrong in any way, all of which are listed; or a table or folder is among
            several files.
    """
    from fusionkit.data.recordings.table import TABLE_SUFFIXES
    from fusionkit.errors import DataError, Problem

    if any("=" in each and not os.path.exists(each) for each in given):
        return _collect_one(given, inputs)
    if len(given) == 1:
        return given[0]
    several = [each for each in given if os.path.isdir(each) or Path(each).suffix.lower() in TABLE_SUFFIXES]
    if several:
        raise DataError(
            [Problem(each, "holds samples of its own", "give one table or folder at a time") for each in several]
        )
    return list(given)


def _collect_one(given: Sequence[str], inputs: Inputs) -> dict[str, str]:
    """Collects one sample that is given as MODALITY=FILE.

    Raises:
        DataError: Every argument that is wrong.
    """
    from fusionkit.data.recordings.values import list_roles
    from fusionkit.errors import DataError, Problem, suggest_names

    taken: dict[str, str] = {}
    problems: list[Problem] = []
    known = list_roles(inputs)
    for each in given:
        name, equals, file = each.partition("=")
        if not equals:
            problems.append(Problem(each, "is no MODALITY=FILE", "give one sample by modality, or paths, not both"))
            continue
        if not name:
            problems.append(Problem(each, "names no modality", f"write MODALITY=FILE; known: {', '.join(known)}"))
        elif name not in known:
            problems.append(Problem(each, f"no modality {name!r}", suggest_names(name, known)))
        elif name in taken:
            problems.append(Problem(each, f"{name} given twice", "each modality of a sample has one file"))
        else:
            taken[name] = file
        problems += _check_file(each, name or "MODALITY", file)
    if problems:
        raise DataError(problems)
    return taken


def _check_file(argument: str, name: str, file: str) -> list[Problem]:
    from fusionkit.data.readers.files import describe_what_is_there, expand_path, is_file
    from fusionkit.errors import DataError, Problem

    if not file:
        return [Problem(argument, "names no file", f"write {name}=FILE, or leave it out where the sample lacks it")]
    try:
        path = expand_path(file)
        if is_file(path):
            return []
        doubled = f"write {name}={file.lstrip('=')}" if file.startswith("=") else ""
        return [Problem(argument, describe_what_is_there(path), doubled)]
    except DataError as error:
        return [Problem(argument, each.message, each.remedy) for each in error.problems]
