"""One loop that resumes exactly where it was stopped.

The names are loaded when they are first used. Whoever reads a recipe needs the balancers and optimizers that it names,
and not the loop: `fusionkit predict` starts in half the time without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusionkit.training.interruption import Interrupted
    from fusionkit.training.loop import fit
    from fusionkit.training.profiling.profile import Profile
    from fusionkit.training.trainer import train

__all__ = ["Interrupted", "Profile", "fit", "train"]

_HOMES = {"Interrupted": "interruption", "Profile": "profiling.profile", "fit": "loop", "train": "trainer"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
