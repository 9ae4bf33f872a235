"""Networks that are exported and measured: weights are drawn, since neither speed nor rounding depends on training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import fusionkit
from fusionkit.config.components.registry import TRANSFORMS
from fusionkit.inference.export import TrainedNetwork
from fusionkit.interfaces import ModalityInfo

EMOTION = {"emotion": {"type": "classification", "classes": ["neutral", "happy", "sad", "angry"]}}
TYPICAL: Mapping[str, Mapping[str, Any]] = {
    "action units and sound": {
        "model": {
            "modalities": {
                "face": {
                    "shape": [35],
                    "transforms": ["standardize"],
                    "encoder": {"type": "mlp", "out": 64},
                    "aggregator": {"type": "lstm", "hidden": 64},
                },
                "voice": {
                    "shape": [],
                    "encoder": [{"type": "log_mel", "bands": 40}, {"type": "conv1d", "channels": [64, 64]}],
                    "aggregator": {"type": "gru", "hidden": 64},
                },
            },
            "fusion": "mrpn",
            "targets": EMOTION,
        },
        "elements": {"face": (120, 30.0), "voice": (64_000, 16_000.0)},
    },
    "films and sound": {
        "model": {
            "modalities": {
                "video": {
                    "shape": [3, 112, 112],
                    "transforms": [{"type": "subsample", "every": 3}],
                    "encoder": {"type": "timm", "model": "resnet18"},
                    "aggregator": {"type": "lstm", "hidden": 128},
                },
                "audio": {
                    "shape": [],
                    "encoder": [
                        {"type": "spectrogram", "window": 256, "hop": 128, "segment_hop_seconds": 0.4},
                        {"type": "timm", "model": "resnet18", "in_channels": 1},
                    ],
                    "aggregator": {"type": "lstm", "hidden": 128},
                },
            },
            "targets": EMOTION,
        },
        "elements": {"video": (24, 30.0), "audio": (32_000, 16_000.0)},
    },
    "sensors of 200 and 5 Hz, and a vector": {
        "model": {
            "modalities": {
                "acceleration": {
                    "shape": [3],
                    "encoder": {"type": "conv1d", "channels": [32, 64], "kernel": 9, "stride": 4},
                    "aggregator": {"type": "gru", "hidden": 64, "bidirectional": True},
                },
                "climate": {"shape": [2], "encoder": "feature_norm", "aggregator": {"type": "lstm", "hidden": 16}},
                "machine": {"shape": [10], "encoder": "mlp"},
            },
            "fusion": "gated",
            "targets": {"state": {"type": "ordinal", "classes": ["good", "worn", "broken"]}},
        },
        "elements": {"acceleration": (800, 200.0), "climate": (20, 5.0), "machine": (1, None)},
    },
    "two targets, one of them scaled": {
        "model": {
            "modalities": {
                "motion": {"shape": [6], "encoder": "mlp", "aggregator": {"type": "transformer", "width": 32}},
                "posture": {"shape": [8], "encoder": "mlp"},
            },
            "targets": {**EMOTION, "depth": "regression"},
        },
        "elements": {"motion": (60, 20.0), "posture": (1, None)},
    },
}


def build_network(name: str) -> TrainedNetwork:
    """Builds one of them, with statistics of its own and a scale of 50 +- 20."""
    spec = TYPICAL[name]
    torch.manual_seed(0)
    model = fusionkit.build(spec["model"])
    for key, tensor in model.state_dict().items():
        if key.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    if "depth" in model.targets:
        model.fit_targets({"depth": torch.tensor([30.0, 50.0, 70.0])})
    infos = {each: ModalityInfo(model.branch(each).in_shape, rate) for each, (_, rate) in spec["elements"].items()}
    return TrainedNetwork(
        model.eval(),
        infos,
        transforms={each: _build_transforms(of, infos[each]) for each, of in spec["model"]["modalities"].items()},
        unimodal=model.modalities,
        longest={each: length for each, (length, _) in spec["elements"].items()},
    )


def _build_transforms(modality: Mapping[str, Any], info: ModalityInfo) -> list[Any]:
    specs = [{"type": each} if isinstance(each, str) else dict(each) for each in modality.get("transforms", ())]
    return [TRANSFORMS.build(spec.pop("type"), info.shape, info.rate, **spec) for spec in specs]
