"""Samples as a command line gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def collect_inputs(given: Sequence[str]) -> object:
    """Collects what a command line gives as samples: one path, one sample by modality, or several files.

    Raises:
        FusionKitError: Paths and MODALITY=FILE are mixed, a modality is given twice, or a table or folder is among
            several.
    """
    from fusionkit.data.recordings.table import TABLE_SUFFIXES
    from fusionkit.errors import FusionKitError

    named = [each.partition("=") for each in given if "=" in each and not Path(each).exists()]
    if named and len(named) < len(given):
        raise FusionKitError("INPUT: give either MODALITY=FILE of one sample, or paths, not both")
    if named:
        names = [name for name, _, _ in named]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise FusionKitError(f"INPUT: {', '.join(twice)} given twice; each modality of a sample has one file")
        return {name: file for name, _, file in named}
    if len(given) == 1:
        return given[0]
    several = [each for each in given if Path(each).is_dir() or Path(each).suffix.lower() in TABLE_SUFFIXES]
    if several:
        raise FusionKitError(f"INPUT: {several[0]} holds samples of its own; give one table or folder at a time")
    return list(given)
