"""Runs of made signals whose weights are drawn, not trained."""

from __future__ import annotations

import torch

from fusionkit import build, load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.storage.run_folder import RunFolder


def document(*, strategy="late_fusion", missing=0.3, batch_size=5, rate=10.0, **data):
    modalities = {
        "motion": {"features": 3, "min_length": 4, "max_length": 9, "missing": missing, "rate": rate},
        "posture": {"features": 4, "min_length": 1, "max_length": 1, "missing": missing},
    }
    if rate is None:
        del modalities["motion"]["rate"]
    dataset = {"type": "synthetic", "modalities": modalities, "groups": 6, "samples": 1, "regression": True}
    return {
        "schema": 1,
        "data": {
            "dataset": dataset,
            "folds": {"type": "group_kfold", "folds": 2},
            "batch_size": batch_size,
            **data,
        },
        "model": {
            "modalities": {"motion": {}, "posture": {}},
            "fusion": "concat",
            "targets": {"label": "classification", "strength": "regression"},
            "fused_hidden": 4,
        },
        "train": {"strategy": strategy},
    }


def drawn_run(folder, **options):
    """A run whose weights are drawn, not trained."""
    recipe = load_recipe(document(**options))
    run = RunFolder.create(folder, recipe)
    torch.manual_seed(0)
    run.save_weights(build(assemble(recipe).recipe).state_dict(), {})
    return run
