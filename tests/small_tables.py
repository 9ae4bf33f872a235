"""A table of arrays, sounds and numbers with missing parts, and a network that is trained on it in a second."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from fusionkit.evaluation import evaluate
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

RATE = 800
"""Samples per second of the sounds."""


def write_table(folder: Path, samples: int = 16, *, seed: int = 0) -> Path:
    """Writes a table whose samples lack one of their parts now and then, with a class and a number in large units."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(samples):
        kind = number % 2
        row: dict[str, Any] = {"name": f"clip {number}", "person": f"p{number % 8}", "state": "ab"[kind]}
        row["load"] = 5000.0 + 3000 * kind + draw.normal(0, 50)
        if number % 5 != 1:
            np.save(folder / f"m{number}.npy", draw.normal(kind, 1, (int(draw.integers(3, 9)), 2)).astype("float32"))
            row["motion"] = f"m{number}.npy"
        if number % 5 != 2:
            wave = draw.normal(0, 0.1 + 0.2 * kind, int(draw.integers(400, 900))).clip(-0.99, 0.99)
            soundfile.write(folder / f"s{number}.wav", wave, RATE, subtype="FLOAT")
            row["sound"] = f"s{number}.wav"
        if number % 5 != 3:
            row |= {"warmth": 20 + number, "damp": 0.5 * kind}
        rows.append(row)
    file = folder / "samples.csv"
    with file.open("w", newline="") as stream:
        columns = ["name", "person", "motion", "sound", "warmth", "damp", "state", "load"]
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return file


def recipe_of(table: Path, **changes: Any) -> dict[str, Any]:
    """The recipe of a network on such a table."""
    return {
        "schema": 1,
        "data": {
            "dataset": {
                "type": "manifest",
                "path": str(table),
                "id": "name",
                "group": "person",
                "modalities": {
                    "motion": {"column": "motion", "rate": 10.0},
                    "sound": "sound",
                    "room": ["warmth", "damp"],
                },
                "targets": ["state", "load"],
            },
            "batch_size": 3,
        },
        "model": {
            "modalities": {
                "motion": {"transforms": ["standardize"], "encoder": "conv1d", "aggregator": "gru"},
                "sound": {
                    "encoder": [
                        {"type": "log_mel", "sample_rate": RATE, "window": 64, "hop": 32, "bands": 8, "low": 0.0},
                        {"type": "conv1d"},
                    ],
                },
                "room": {"encoder": "mlp"},
            },
            "targets": {"state": "classification", "load": "regression"},
        },
        "train": {"epochs": 2, **changes},
    }


def finished_run(folder: Path, table: Path, **changes: Any) -> RunFolder:
    """A run on such a table, trained and evaluated."""
    run = train(recipe_of(table, **changes), folder, accelerator="cpu")
    evaluate(run, device="cpu", resamples=10)
    return run


def stored_distribution(run: RunFolder, target: str, branch: str) -> torch.Tensor:
    """What the evaluation of a run said, ``(samples, ...)``; NaN where the branch says nothing."""
    return run.read_predictions()[0][f"distribution/{target}/{branch}"].double()
