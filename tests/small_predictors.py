"""Predictors that nothing was trained for: networks of drawn weights, with all that a run would state of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import fusionkit
from fusionkit.config.recipe import load_recipe
from fusionkit.inference.backend import TrainedBackend
from fusionkit.inference.branches import TrainedBranches
from fusionkit.inference.input_steps import describe_steps
from fusionkit.storage.records.inputs import InputModality, Inputs

CLASSES = ["calm", "happy", "sad"]
FILM_MODALITIES: Mapping[str, Any] = {
    "video": {
        "shape": [1, 16, 16],
        "transforms": [{"type": "subsample", "every": 2}],
        "encoder": [{"type": "conv2d", "channels": [3, 4]}],
        "aggregator": {"type": "gru", "hidden": 5},
    },
    "audio": {
        "shape": [],
        "encoder": [{"type": "log_mel", "bands": 6, "window": 256, "hop": 160}, {"type": "mlp", "out": 5}],
        "aggregator": {"type": "gru", "hidden": 5},
    },
}
FILM_RATES = {"video": 10.0, "audio": 16000.0}


def make_predictor(
    modalities: Mapping[str, Any],
    rates: Mapping[str, float | None],
    *,
    targets: Mapping[str, Any] | None = None,
    prepare: Mapping[str, Any] | None = None,
    networks: int = 1,
    unimodal: bool = True,
    double: bool = False,
    vectors: Mapping[str, Mapping[str, Any]] | None = None,
) -> fusionkit.Predictor:
    """A predictor of small networks, in double precision if asked to; films where it is said how they are prepared.

    `vectors` says of modalities which columns of a table they are of.
    """
    recipe = load_recipe(
        {
            "schema": 1,
            "data": {"dataset": {"type": "synthetic"}, **({"prepare": prepare} if prepare else {})},
            "model": {
                "modalities": modalities,
                "targets": targets or {"mood": {"type": "classification", "classes": CLASSES}},
                "unimodal_heads": unimodal,
            },
        }
    )
    made = []
    for seed in range(networks):
        torch.manual_seed(seed)
        model = fusionkit.build(recipe)
        with torch.no_grad():
            for name, tensor in sorted(model.state_dict().items()):
                if tensor.is_floating_point() and "running" not in name:
                    tensor.copy_(torch.randn(tensor.shape) / 2)
        made.append(model.double() if double else model)
    branches = TrainedBranches(True, dict.fromkeys(modalities, "jointly") if unimodal else {}, False)
    stated: Mapping[str, Any] = {name: (vectors or {}).get(name, {}) for name in modalities}
    inputs = Inputs(
        format=Inputs.formats[-1],
        modalities={
            name: InputModality(shape=of["shape"], rate=rates[name], **stated[name]) for name, of in modalities.items()
        },
        films=prepare is not None,
    )
    return fusionkit.Predictor(TrainedBackend(made, branches, recipe, device="cpu"), describe_steps(recipe, inputs))


def make_film_predictor(target: str = "mood") -> fusionkit.Predictor:
    """A predictor of films: grey crops of 16 pixels, and sound."""
    prepare = {"frame_rate": 10.0, "sample_rate": 16000, "face": {"size": 16, "grey": True, "detector": "center"}}
    targets = {target: {"type": "classification", "classes": CLASSES}}
    return make_predictor(FILM_MODALITIES, FILM_RATES, targets=targets, prepare=prepare)


def make_vector_predictor() -> fusionkit.Predictor:
    """A predictor of rows of sensors, and of a vector of three columns of a table, two of which had empty cells."""
    modalities = {
        "motion": {"shape": [3], "encoder": {"type": "mlp", "out": 6}, "aggregator": "mean"},
        "numbers": {"shape": [6], "encoder": {"type": "mlp", "out": 6}, "aggregator": "mean"},
    }
    numbers = {
        "columns": ["mass_kg", "height_cm", "speed"],
        "of_numbers": True,
        "fill": [70.0, 170.0, 1.5],
        "marked": ["height_cm", "speed"],
    }
    return make_predictor(modalities, {"motion": 10.0, "numbers": None}, vectors={"numbers": numbers})
