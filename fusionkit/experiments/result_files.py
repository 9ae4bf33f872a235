"""The files of an experiment's results: data, table and figures, of each target its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionkit.config.differences import find_differences
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError, RunError
from fusionkit.report.figures.folds import draw_figures
from fusionkit.report.text.tables import markdown
from fusionkit.storage.experiment_folder import find_further_results
from fusionkit.storage.files import as_json, folder_name, replace_file
from fusionkit.storage.records.document import load_document, refuse_newer
from fusionkit.storage.records.results import Results


def write_results(results: Results, out: Path) -> Results:
    """Writes the results, the table and the figures, and returns the results.

    The first target of a folder has ``results.json``, ``table.md`` and ``figures``, any other
    ``results.<target>.json``, ``table.<target>.md`` and ``figures/<target>``: none overwrites another.

    Raises:
        RunError: They cannot be written, or a later version wrote those that are there.
    """
    refuse_newer_results(out, [results.target])
    suffix = _suffix_of(results, out)
    try:
        replace_file(out / f"results{suffix}.json", as_json(results.plain()))
        replace_file(out / f"table{suffix}.md", markdown(results).encode())
        draw_figures(results, out / "figures" / suffix.removeprefix("."))
    except OSError as error:
        remedy = "every run is kept; start it again to write them"
        raise RunError(f"{out}: the results cannot be written ({error.strerror or error}); {remedy}") from error
    return results


def refuse_newer_results(out: Path, targets: Sequence[str]) -> None:
    """Refuses to overwrite what a later version wrote of an experiment of these targets.

    Raises:
        RunError: There are such results.
    """
    for suffix in ("", *(f".{folder_name(target)}" for target in targets)):
        refuse_newer(Results, out / f"results{suffix}.json")


def _suffix_of(results: Results, out: Path) -> str:
    """Returns what the files of a target have in their names; of the first target of these recipes nothing."""
    try:
        first = load_document(Results, out / "results.json")
    except RunError:
        return ""  # there is none, or it is damaged
    given, there = results.recipes, first.recipes
    if not there or not all(_same_results(there[variant], given[variant]) for variant in given.keys() & there.keys()):
        _remove_further_results(out, first)
        return ""
    return "" if first.target == results.target else f".{folder_name(results.target)}"


def _remove_further_results(out: Path, first: Results) -> None:
    """Removes results of further targets, which are of other recipes. What cannot be read may be a user's own file."""
    for part, file in find_further_results(out, first).items():
        try:
            load_document(Results, file)
        except RunError:
            continue
        file.unlink()
        (out / f"table.{part}.md").unlink(missing_ok=True)


def _same_results(there: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Tells whether runs of two recipes have the same results, as if they differ in ``data.workers`` alone."""
    if json.dumps(there) == json.dumps(given):
        return True
    try:
        recipe = load_recipe(given)
        return not find_differences(load_recipe(there, plugins=recipe.plugins), recipe)
    except RecipeError:  # it is damaged, or of an earlier version
        return False
