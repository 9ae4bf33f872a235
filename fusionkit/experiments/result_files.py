"""The files of an experiment's results: data, table and figures, of each target its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionkit.config.differences import find_differences
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError, RunError
from fusionkit.report.figures.folds import draw_figures
from fusionkit.report.text.tables import markdown
from fusionkit.storage.experiment_folder import find_further_results
from fusionkit.storage.files import as_json, folder_name, read_json, replace_file
from fusionkit.storage.records.results import Results


def write_results(results: Results, out: Path) -> Results:
    """Writes the results, the table and the figures, and returns the results.

    The first target of a folder has ``results.json``, ``table.md`` and ``figures``, any other
    ``results.<target>.json``, ``table.<target>.md`` and ``figures/<target>``: none overwrites another.

    Raises:
        RunError: They cannot be written.
    """
    suffix = _suffix_of(results, out)
    try:
        replace_file(out / f"results{suffix}.json", as_json(results.plain()))
        replace_file(out / f"table{suffix}.md", markdown(results).encode())
        draw_figures(results, out / "figures" / suffix.removeprefix("."))
    except OSError as error:
        remedy = "every run is kept; start it again to write them"
        raise RunError(f"{out}: the results cannot be written ({error.strerror or error}); {remedy}") from error
    return results


def _suffix_of(results: Results, out: Path) -> str:
    """Returns what the files of a target have in their names; of the first target of these recipes nothing."""
    try:
        first = read_json(out / "results.json")
    except RunError:
        return ""  # there is none, or it is damaged
    given, there = results.recipes, first.get("recipes", {})
    if not isinstance(there, dict):
        return ""  # it is damaged
    if not there or not all(_same_results(there[variant], given[variant]) for variant in given.keys() & there.keys()):
        for part, stale in find_further_results(out).items():  # of other recipes
            stale.unlink()
            (out / f"table.{part}.md").unlink(missing_ok=True)
        return ""
    return "" if first.get("target") == results.target else f".{folder_name(results.target)}"


def _same_results(there: object, given: Mapping[str, Any]) -> bool:
    """Tells whether runs of two recipes have the same results, as if they differ in ``data.workers`` alone."""
    if not isinstance(there, dict):
        return False
    if json.dumps(there) == json.dumps(given):
        return True
    try:
        recipe = load_recipe(given)
        return not find_differences(load_recipe(there, plugins=recipe.plugins), recipe)
    except RecipeError:  # it is damaged, or of an earlier version
        return False
