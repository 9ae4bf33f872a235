"""Whose plugins are imported: importing a module runs it, so a run that somebody else trained must not name one.

A recipe that is given to be trained or checked is the user's own and imports what it lists. A run may be anybody's. So
`train` notes every run whose recipe lists plugins in a list of the user's: its path, and the hash of its recipe. A run
that was copied, moved or downloaded is not in that list, nor is one whose recipe was changed: for them the user allows
modules by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from fusionkit.errors import Problem, RunError
from fusionkit.whole_files import read_json, replace_file

ENTRY_POINT_GROUP = "fusionkit.plugins"
"""The entry points by which an installed package offers components; they are always imported."""

STATE = "XDG_STATE_HOME"
"""The environment variable that says where programs keep what they remember, where that is not ``~/.local/state``."""

_ALLOWED = set[str]()


def allow(*modules: str) -> None:
    """Lets runs that somebody else trained import these modules, for the rest of the process.

    A recipe that you train, and a run that you trained with it, import what the recipe lists under ``plugins:``. Any
    other run, such as a downloaded one, imports only modules that you name here: importing a module runs it.

    Args:
        modules: Their names, as in an import statement.

    Example:
        >>> allow("custom_encoder")
    """
    _ALLOWED.update(modules)


def refused_plugins(modules: Sequence[Any], allowed: Collection[str]) -> list[Problem]:
    """Says which modules must not be imported of those that a run lists under ``plugins:``.

    Args:
        modules: What is listed.
        allowed: Modules that may be imported, beside those of installed packages and of `allow`.
    """
    trusted = {*allowed, *_ALLOWED}
    if set(map(str, modules)) - trusted:
        trusted |= {entry_point.module for entry_point in entry_points(group=ENTRY_POINT_GROUP)}
    return [
        Problem(
            f"plugins[{index}]",
            f"the module {module!r} is not imported: that would run it, and this run is not one that you trained here",
            f"if you trust the module, add --plugin {module} to the command, or call fusionkit.allow({module!r}) first",
        )
        for index, module in enumerate(modules)
        if isinstance(module, str) and module not in trusted
    ]


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


def is_noted(folder: Path, recipe: Path) -> bool:
    """Whether this user trained the run of a folder, and its recipe is the one that was trained."""
    try:
        return read_json(_entry(folder)) == _record(folder, recipe)
    except (OSError, RunError):
        return False


def _entry(folder: Path) -> Path:
    """The file that notes a run: one each, so that any number of trainings may write at a time."""
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
