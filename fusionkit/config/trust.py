"""Trust in plugins: importing a module runs it, so a run that somebody else trained must not name one.

A recipe that is given to be trained or checked is the user's own and imports what it lists. A run may be anybody's. So
`train` notes every run whose recipe lists plugins in a list of the user's: its path, and the hash of its recipe. A run
that was copied, moved or downloaded is not in that list, nor is one whose recipe was changed: for them the user allows
modules by name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import entry_points
from typing import Any

from fusionkit.errors import Problem

ENTRY_POINT_GROUP = "fusionkit.plugins"
"""The entry points by which an installed package offers components; they are always imported."""

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


def refuse_plugins(modules: Sequence[Any], allowed: Collection[str]) -> list[Problem]:
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
