"""The runs that a path names: one, or those of an experiment's variant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fusionkit.errors import RunError
from fusionkit.storage.run_folder import RunFolder


def find_runs(paths: Sequence[Path]) -> tuple[RunFolder, ...]:
    """Finds run folders, and those below folders that are none, such as ``runs/<variant>`` of an experiment.

    Raises:
        RunError: There is no such folder, or no run in it.
    """
    found: dict[Path, RunFolder] = {}
    for path in paths:
        if not os.path.isdir(path):
            raise RunError(f"{path}: is no folder; name a run, which is what `fusionkit train --out` leaves")
        folders = [path] if RunFolder(path).begun else sorted(each for each in path.rglob("*") if each.is_dir())
        runs = [run for folder in folders if (run := RunFolder(folder)).begun]
        if not runs:
            raise RunError(f"{path}: is no run and holds none; name what `fusionkit train --out` left")
        found |= {run.path: run for run in runs}
    return tuple(found.values())
