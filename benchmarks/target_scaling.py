"""Does the unit of a target of numbers matter? One of 0 to 80 mm beside classes, learned in its own unit and scaled.

Usage: python benchmarks/target_scaling.py benchmarks/results/target_scaling.json

The samples are synthetic: sequences and vectors that show a class, and a depth by their strength. Both variants have
the same samples, folds, seed and first weights. The constant is the answer that looks at no sample. Needs no data.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from fusionkit.config.components.registry import DATASETS
from fusionkit.data.datasets.synthetic import Synthetic, SyntheticModality
from fusionkit.evaluation import evaluate
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file
from fusionkit.training import train

MODALITIES = {
    "motion": SyntheticModality(features=6, min_length=10, max_length=20, noise=1.0, confuses=(("rest", "walk"),)),
    "posture": SyntheticModality(features=8, min_length=1, max_length=1, noise=0.7, confuses=(("run", "jump"),)),
}
FOLDS = 3
RECIPE: Mapping[str, Any] = {
    "schema": 1,
    "data": {"dataset": "depths", "folds": {"type": "group_kfold", "folds": FOLDS}, "cache": True},
    "model": {
        "modalities": {"motion": {"encoder": "conv1d"}, "posture": {"encoder": "mlp"}},
        "targets": {"label": "classification", "depth": "regression"},
    },
    "train": {"epochs": 20},
}
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "in its own unit": ("model.targets.depth.scale_targets=false",),
    "scaled": (),
}
FIGURES: Mapping[str, str] = {"label": "accuracy", "depth": "mae"}


@DATASETS.register("depths")
class Depths(Synthetic):
    """The synthetic samples, whose strength of 0.5 to 1.5 is called a depth of 0 to 80 mm."""

    def __init__(self) -> None:
        super().__init__(modalities=MODALITIES, groups=12, regression=True)
        self.rows = [
            replace(row, targets={"label": row.targets["label"], "depth": 80.0 * (float(strength) - 0.5)})
            for row in self.rows
            if isinstance(strength := row.targets["strength"], float)
        ]


def figures_of(card: Mapping[str, Any], branch: str) -> dict[str, float]:
    """The accuracy of the classes and the error of the depth, of a branch."""
    return {
        name: card["targets"][target]["branches"][branch]["metrics"][name]["value"] for target, name in FIGURES.items()
    }


def summarise(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Figures by fold, and their means over folds."""
    means = {name: fmean(each[name] for each in figures.values()) for name in FIGURES.values()}
    return {**means, "by_fold": figures}


def measure(folder: Path) -> dict[str, Any]:
    """Everything that the result file says."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    folds: dict[str, str] = {}
    for variant, overrides in VARIANTS.items():
        for fold in range(FOLDS):
            out = folder / variant.replace(" ", "_") / str(fold)
            card = evaluate(
                train(RECIPE, out, (*overrides, f"data.fold={fold}"), accelerator="cpu"), device="cpu"
            ).plain()
            name = card["protocol"]["fold"]
            folds[name] = card["protocol"]["split_hash"]
            found.setdefault(variant, {})[name] = figures_of(card, "fused")
            found.setdefault("constant", {})[name] = figures_of(card, "constant")
    environment = describe_environment("cpu")
    return {
        "format": 1,
        "kind": "scaling",
        "command": "python benchmarks/target_scaling.py benchmarks/results/target_scaling.json",
        **{name: environment[name] for name in ("commit", "device", "platform")},
        "versions": card["versions"],
        "time": card["time"],
        "recipe": RECIPE,
        "overrides": VARIANTS,
        "folds": [{"name": name, "split_hash": value} for name, value in folds.items()],
        "seeds": [0],
        "variants": {name: summarise(of) for name, of in found.items()},
        "failures": [],
    }


def main() -> None:
    """Parses, trains, evaluates, and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    result = parser.parse_args().result
    with tempfile.TemporaryDirectory() as folder:
        write_file(result, as_json(measure(Path(folder))))


if __name__ == "__main__":
    main()
