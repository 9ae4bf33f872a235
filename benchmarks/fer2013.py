"""Accuracy of a finished FER2013 training on PublicTest and PrivateTest, as a result file.

Usage: python benchmarks/fer2013.py runs/pretrain_fer2013 benchmarks/results/pretrain_fer2013.json
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.data.datasets.fer2013_files import find_faces
from fusionkit.storage.files import as_json, write_file
from fusionkit.storage.run_folder import RunFolder

LEVEL = 0.95
_QUANTILE = 1.959963984540054


def wilson(right: int, samples: int) -> dict[str, float]:
    r"""A share with its interval after Wilson 1927.

    .. math::
        \frac{p + z^2 / 2n \pm z \sqrt{p (1 - p) / n + z^2 / 4n^2}}{1 + z^2 / n}
    """
    share, z = right / samples, _QUANTILE
    middle = (share + z * z / (2 * samples)) / (1 + z * z / samples)
    half = z * math.sqrt(share * (1 - share) / samples + (z / (2 * samples)) ** 2) / (1 + z * z / samples)
    return {"value": share, "low": middle - half, "high": middle + half}


def figures(predicted: Tensor, targets: Tensor, classes: int) -> dict[str, Any]:
    """Accuracy, mean recall and the confusion of some faces, rows by true class."""
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    confusion.index_put_((targets, predicted), torch.ones_like(targets), accumulate=True)
    right = int(confusion.diagonal().sum())
    return {
        "samples": len(targets),
        "accuracy": wilson(right, len(targets)),
        "uar": float((confusion.diagonal() / confusion.sum(1)).mean()),
        "confusion": confusion.tolist(),
    }


def result_of(run: RunFolder) -> dict[str, Any]:
    """Everything that the result file says."""
    card, recipe = run.read_card().plain(), run.recipe
    tensors, about = run.read_predictions()
    predicted = tensors["distribution/emotion/fused"].argmax(dim=1)
    targets = tensors["target/emotion"].long()
    names: list[str] = json.loads(about["samples"])
    classes = card["targets"]["emotion"]["classes"]
    faces = find_faces(recipe.data.dataset.options["root"])
    trained = {face.fingerprint for face in faces if face.usage == "Training"}
    twins = {face.id for face in faces if face.usage != "Training" and face.fingerprint in trained}
    tests = {}
    for usage in ("PublicTest", "PrivateTest"):
        of_usage = torch.tensor([name.rsplit("/", 1)[-1].startswith(usage) for name in names])
        tests[usage] = figures(predicted[of_usage], targets[of_usage], len(classes))
        alone = of_usage & torch.tensor([name not in twins for name in names])
        tests[usage]["without_twins"] = figures(predicted[alone], targets[alone], len(classes))
    training = card["training"]
    return {
        "format": 1,
        "kind": "training",
        "command": training["command"],
        "made_by": "python benchmarks/fer2013.py runs/pretrain_fer2013 benchmarks/results/pretrain_fer2013.json",
        "device": training["device"],
        "platform": training["platform"],
        "commit": training["commit"],
        "versions": card["versions"],
        "time": card["time"],
        "wall_seconds": wall_seconds(run),
        "folds": [{"name": card["protocol"]["fold"], "split_hash": card["protocol"]["split_hash"]}],
        "selection": card["selection"],
        "intervals": {"method": "Wilson", "level": LEVEL},
        "twins": "faces that are, byte for byte, also in the training part",
        "classes": classes,
        "tests": tests,
        "epochs": [
            {"epoch": record["epoch"] + 1, "training": record["training"]}
            for record in run.log.read()
            if "terms" not in record
        ],
        "recipe": recipe.plain(),
        "weights_sha256": card["weights_sha256"],
        "failures": [],
    }


def wall_seconds(run: RunFolder) -> float:
    """Seconds from the beginning of a training that was not stopped to its last weights, by the times of its files."""
    begin, end = (run.path / name for name in ("environment.json", "weights.safetensors"))
    return round(end.stat().st_mtime - begin.stat().st_mtime, 1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write_file(Path(sys.argv[2]), as_json(result_of(RunFolder.open(sys.argv[1]))))
