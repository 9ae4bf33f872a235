"""Modules of a user's own components: those that a recipe lists, and those of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from fusionkit.config.trust import ENTRY_POINT_GROUP
from fusionkit.errors import Problem, RecipeError


def import_plugins(modules: Sequence[Any]) -> list[Problem]:
    """Imports the modules that a user listed under ``plugins:``; what cannot be imported is reported.

    A plugin is a user's own program, so whatever it raises is the user's to mend and listed with the other problems.
    """
    problems = []
    for index, module in enumerate(modules):
        if not isinstance(module, str):
            continue  # the spec reports what is no name
        place = f"plugins[{index}]"
        if not all(part.isidentifier() for part in module.split(".")):
            problems.append(Problem(place, f"{module!r} is no module name", "write it as in an import statement"))
            continue
        try:
            importlib.import_module(module)
        except ImportError as error:
            remedy = "a plugin is a module that Python can import from here (installed, or on PYTHONPATH)"
            problems.append(Problem(place, f"cannot import {module!r} ({error})", remedy))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            problems.append(Problem(place, f"{module!r} fails while it is imported ({reason})", "mend the module"))
    return problems


@cache
def load_entry_points() -> None:
    """Imports installed plugins, those of the entry-point group ``fusionkit.plugins``, once.

    Raises:
        RecipeError: Some cannot be imported; all of them are listed.
    """
    problems = []
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry_point.load()
        except Exception as error:
            place = f"installed plugin {entry_point.name!r} ({entry_point.value})"
            reason = f"fails while it is imported ({type(error).__name__}: {error})"
            problems.append(Problem(place, reason, "update or uninstall its package"))
    if problems:
        raise RecipeError(problems)
