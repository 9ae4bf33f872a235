"""The recipes that come with the library, found by name in a clone and in an installed wheel alike."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fusionkit.errors import Problem, RecipeError, did_you_mean

RECIPE_SCHEMA, EXPERIMENT_SCHEMA = "fusionkit.schema.json", "fusionkit.experiment.schema.json"
COMPARISON_SCHEMA = "fusionkit.comparison.schema.json"
"""What the first lines of shipped files name for editors: the schemas that `fusionkit schema` prints."""


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_recipes() -> Mapping[str, Path]:
    """Every shipped recipe, experiment and comparison by name, its path below the folder without the suffix."""
    folder = recipes_folder()
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe or experiment, given by its path or by a shipped recipe's name.

    Raises:
        RecipeError: There is neither.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = shipped_recipes()
    found = shipped.get(str(name).removesuffix(".yaml"))
    if found is None:
        close = did_you_mean(str(name), shipped)
        remedy = "`fusionkit recipes list` names the shipped recipes" if close.startswith("known") else close
        raise RecipeError([Problem(str(name), "is neither a file nor a shipped recipe", remedy)])
    return found


def summary_of(path: Path) -> str:
    """What a recipe's first comment says of it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = (line.lstrip("# ") for line in lines if line.startswith("#") and "yaml-language-server" not in line)
    return next(comments, "")


def copy_recipes(name: str, folder: Path) -> tuple[Path, ...]:
    """Copies a shipped recipe, or all of a shipped folder, for the user to change.

    Args:
        name: A recipe (``quickstart/recipe``) or a folder of them (``quickstart``).
        folder: Where the copies go; it is made if need be.

    Returns:
        The copies.

    Raises:
        RecipeError: There is no such recipe, a file of that name exists already, or the folder cannot be made or
            written; then nothing is copied.
    """
    shipped = shipped_recipes()
    wanted = [path for key, path in shipped.items() if key == name or key.startswith(f"{name.rstrip('/')}/")]
    if not wanted:
        known = {*shipped, *(key.rsplit("/", 1)[0] for key in shipped)}
        raise RecipeError([Problem(name, "is no shipped recipe", did_you_mean(name, known))])
    copies = {path: folder / path.name for path in wanted}
    remedy = "choose another folder"
    taken = [Problem(str(copy), "exists already", remedy) for copy in copies.values() if os.path.lexists(copy)]
    if taken:
        raise RecipeError(taken)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError([Problem(str(folder), f"cannot be made a folder ({error.strerror})")]) from None
    try:
        for path, copy in copies.items():
            shutil.copyfile(path, copy)
    except OSError as error:
        for copy in copies.values():
            with suppress(OSError):
                copy.unlink()
        raise RecipeError([Problem(str(folder), f"cannot be written ({error.strerror})", remedy)]) from None
    return tuple(copies.values())
