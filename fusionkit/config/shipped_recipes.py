"""The recipes that come with the library, found by name in a clone and in an installed wheel alike."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fusionkit.config.validation import quote
from fusionkit.config.yaml import read_yaml
from fusionkit.errors import Problem, RecipeError, suggest_names

RECIPE_SCHEMA, EXPERIMENT_SCHEMA = "fusionkit.schema.json", "fusionkit.experiment.schema.json"
COMPARISON_SCHEMA = "fusionkit.comparison.schema.json"
"""Schemas that `fusionkit schema` prints; the first lines of shipped files name them for editors."""


def find_recipes_folder() -> Path:
    """Finds the folder of the shipped recipes: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def list_shipped_recipes() -> Mapping[str, Path]:
    """Lists every shipped recipe, experiment and comparison by name, its path below the folder without the suffix."""
    folder = find_recipes_folder()
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def find_recipe(name: str | Path) -> Path:
    """Finds the file of a recipe or experiment, given by its path or by a shipped recipe's name.

    Raises:
        RecipeError: There is neither.
    """
    if not isinstance(name, str | os.PathLike):
        message = f"a path or the name of a shipped recipe is expected, given {quote(name)}"
        raise RecipeError([Problem("", message, "`fusionkit recipes list` names the shipped recipes")])
    path = Path(os.path.expanduser(name))  # an unknown user in it is left as it stands
    if os.path.isfile(path):
        return path
    shipped = list_shipped_recipes()
    found = shipped.get(str(name).removesuffix(".yaml"))
    if found is None:
        if os.path.isdir(path):
            within = sorted(path.glob("*.yaml"))
            remedy = f"name a file, such as {within[0]}" if within else "it holds no .yaml file"
            raise RecipeError([Problem(str(name), "is a folder, not a recipe", remedy)])
        close = suggest_names(str(name), shipped)
        remedy = "`fusionkit recipes list` names the shipped recipes" if close.startswith("known") else close
        raise RecipeError([Problem(str(name) or "''", "is neither a file nor a shipped recipe", remedy)])
    return found


def locate_recipe(name: str | Path) -> Path:
    """Finds a file as `find_recipe` does; whatever is at the path already is left to who reads it, also a folder.

    Raises:
        RecipeError: There is neither such a path nor such a name.
    """
    there = isinstance(name, str | os.PathLike) and os.path.lexists(name)
    return Path(name) if there else find_recipe(name)


def find_beside(name: str, file: Path) -> Path:
    """Finds the recipe that an experiment names: by a path relative to its file, or by a shipped recipe's name.

    Args:
        name: What the experiment says.
        file: The experiment's file.

    Raises:
        RecipeError: There is neither.
    """
    beside = file.parent / name
    return beside if beside.is_file() else find_recipe(name)


def read_summary(path: Path) -> str:
    """Reads what a recipe's first comment says of it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = (line.lstrip("# ") for line in lines if line.startswith("#") and "yaml-language-server" not in line)
    return next(comments, "")


def copy_recipes(name: str, folder: Path) -> tuple[Path, ...]:
    """Copies a shipped recipe, experiment or comparison, or all of a shipped folder, for the user to change.

    What these name by a relative path is copied too, and lies to them as it does where it is shipped. A recipe that is
    named and was copied before stays as it is.

    Args:
        name: A recipe (``quickstart/recipe``) or a folder of them (``quickstart``).
        folder: Where the copies go; it is made if need be.

    Returns:
        The copies.

    Raises:
        RecipeError: There is no such recipe, another file of that name exists already, or the folder cannot be made or
            written; then nothing is copied.
    """
    shipped, name = list_shipped_recipes(), name.removesuffix(".yaml").rstrip("/")
    of_folder = [path for key, path in shipped.items() if key.startswith(f"{name}/")]
    wanted = [shipped[name], *of_folder] if name in shipped else of_folder
    if not wanted:
        known = {*shipped, *(key.rsplit("/", 1)[0] for key in shipped)}
        raise RecipeError([Problem(name, "is no shipped recipe", suggest_names(name, known))])
    copies = _plan_copies(wanted, find_recipes_folder() / name if of_folder else wanted[0].parent, folder)
    # Everything is refused before the first folder is made.
    _refuse_taken(copies, wanted)
    new = {path: copy for path, copy in copies.items() if not os.path.lexists(copy)}
    made = list[Path]()
    for home in dict.fromkeys(copy.parent for copy in new.values()):
        _make_folder(home)
    try:
        for path, copy in new.items():
            made.append(copy)
            shutil.copyfile(path, copy)
    except OSError as error:
        for copy in made:
            with suppress(OSError):
                copy.unlink()
        raise RecipeError([Problem(str(folder), f"cannot be written ({error.strerror})", _ELSEWHERE)]) from None
    return tuple(new.values())


_ELSEWHERE = "choose another folder"


def _plan_copies(wanted: Sequence[Path], home: Path, folder: Path) -> dict[Path, Path]:
    """Plans where shipped files and all that they name are copied to: they keep their places to each other."""
    found = dict.fromkeys(wanted)
    waiting = list(wanted)
    while waiting:
        new = [path for path in _list_named(waiting.pop()) if path not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    top = Path(os.path.commonpath([home, *(path.parent for path in found)]))
    return {path: folder / path.relative_to(top) for path in found}


def _list_named(path: Path) -> list[Path]:
    """Lists the files that an experiment or comparison names by a relative path; a recipe names none."""
    document = read_yaml(path.read_text(encoding="utf-8"), str(path)).value
    named = [document.get("recipe"), *document.get("pretraining", {}).values()]
    beside = [Path(os.path.normpath(path.parent / name)) for name in named if name is not None]
    return [file for file in beside if file.is_file()]


def _refuse_taken(copies: Mapping[Path, Path], wanted: Sequence[Path]) -> None:
    """Refuses to overwrite; what was asked for must be new, what it names may be there unchanged.

    Raises:
        RecipeError: Files of these names exist already; all of them are listed.
    """
    problems = []
    for path, copy in copies.items():
        if os.path.lexists(copy) and path in wanted:
            problems.append(Problem(str(copy), "exists already", _ELSEWHERE))
        elif os.path.lexists(copy) and not (copy.is_file() and filecmp.cmp(path, copy, shallow=False)):
            message = f"exists already and is not the shipped one, which {wanted[0].name} needs"
            problems.append(Problem(str(copy), message, _ELSEWHERE))
    if problems:
        raise RecipeError(problems)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError([Problem(str(folder), f"cannot be made a folder ({error.strerror})")]) from None
