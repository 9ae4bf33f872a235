"""fusionkit: fuse several kinds of signal, and measure whether fusing helps.

The public names below are loaded when they are first used, so `import fusionkit` and ``fusionkit --help`` are quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fusionkit.version import __version__

_HOMES = {
    "AGGREGATORS": "config.registry",
    "BALANCERS": "config.registry",
    "DATASETS": "config.registry",
    "ENCODERS": "config.registry",
    "FOLDS": "config.registry",
    "FUSIONS": "config.registry",
    "LOSS_HEADS": "config.registry",
    "OPTIMIZERS": "config.registry",
    "SCHEDULERS": "config.registry",
    "STRATEGIES": "config.registry",
    "TRANSFORMS": "config.registry",
    "DataError": "errors",
    "FusionKitError": "errors",
    "FusionModel": "models.build",
    "Jagged": "nn.jagged",
    "RecipeError": "errors",
    "RunError": "errors",
    "ShapeError": "errors",
    "Stream": "inference.stream",
    "TrainingError": "errors",
    "allow": "config.trust",
    "build": "models.build",
    "collate": "data.loading.collation",
    "load_recipe": "config.recipe",
}

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604 - names, spelt once

if TYPE_CHECKING:
    from fusionkit.config.recipe import load_recipe
    from fusionkit.config.registry import (
        AGGREGATORS,
        BALANCERS,
        DATASETS,
        ENCODERS,
        FOLDS,
        FUSIONS,
        LOSS_HEADS,
        OPTIMIZERS,
        SCHEDULERS,
        STRATEGIES,
        TRANSFORMS,
    )
    from fusionkit.config.trust import allow
    from fusionkit.data.loading.collation import collate
    from fusionkit.errors import DataError, FusionKitError, RecipeError, RunError, ShapeError, TrainingError
    from fusionkit.inference.stream import Stream
    from fusionkit.models.build import FusionModel, build
    from fusionkit.nn.jagged import Jagged


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'fusionkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fusionkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
