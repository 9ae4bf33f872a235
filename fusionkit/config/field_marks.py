"""Marks on the fields of a recipe and on options of components: how what they hold bears on results.

A field carries them in its type, ``workers: Annotated[int, NO_RESULT] = 0``.
`fusionkit.config.differences.find_differences` reads them, to tell a stopped training from one of another recipe.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A statement of a field's type beyond what may be written there.

    Args:
        name: What it is called.
    """

    name: str


NO_RESULT = Mark("no result")
"""No number of a training or an evaluation depends on the field, not in its last bit."""

ANY_ORDER = Mark("any order")
"""The field is a mapping, and nothing depends on the order of its keys; that of every other mapping counts."""
