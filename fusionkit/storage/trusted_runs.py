"""A list of the runs that this user trained: their recipes may import what they list, those of strangers may not."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Collection
from pathlib import Path

from fusionkit.errors import FusionKitWarning, RunError
from fusionkit.storage.files import read_json, replace_file

STATE = "XDG_STATE_HOME"
"""The environment variable that says where programs keep what they remember, where that is not ``~/.local/state``."""


def note_run(folder: Path, recipe: Path) -> None:
    """Notes that this user trained the run of a folder.

    Args:
        folder: The run folder.
        recipe: The file of its recipe.

    Raises:
        OSError: The list cannot be written.
    """
    entry = _entry(folder)
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(entry, (json.dumps(_record(folder, recipe)) + "\n").encode())


def note_own_run(folder: Path, recipe: Path, plugins: Collection[str]) -> None:
    """Notes a run as `note_run` does; where the list cannot be written, a warning says so, and the training goes on."""
    try:
        note_run(folder, recipe)
    except OSError as error:
        named = " ".join(f"--plugin {module}" for module in plugins)
        message = f"{folder}: cannot be noted as your own run ({error}); later commands on it need {named}"
        warnings.warn(message, FusionKitWarning, stacklevel=4)


def is_noted(folder: Path, recipe: Path) -> bool:
    """Says whether this user trained the run of a folder, and its recipe is the one that was trained."""
    try:
        return read_json(_entry(folder)) == _record(folder, recipe)
    except (OSError, RunError):
        return False


def _entry(folder: Path) -> Path:
    """Returns the file that notes a run: one each, so that any number of trainings may write at a time."""
    given = os.environ.get(STATE, "")
    if not os.path.isabs(given):  # as the XDG specification has it, a relative path counts as none
        try:
            given = str(Path.home() / ".local" / "state")
        except RuntimeError as error:  # a user without a home
            raise OSError(None, str(error)) from None
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    return Path(given) / "fusionkit" / "own_runs" / f"{digest[:32]}.json"


def _record(folder: Path, recipe: Path) -> dict[str, str]:
    return {"run": os.path.realpath(folder), "recipe_sha256": hashlib.sha256(recipe.read_bytes()).hexdigest()}
