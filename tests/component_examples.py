"""An example of every component of a network: its options, and what it is given."""

from __future__ import annotations

import math
from typing import Any

import torch

WAVE = {"window": 32, "hop": 8, "sample_rate": 800}
WAVE_LENGTHS = (201, 17, 0, 100)

ENCODER_EXAMPLES: list[tuple[str, tuple[int, ...], dict[str, Any], tuple[int, ...] | None]] = [
    ("identity", (2, 3), {}, None),
    ("feature_norm", (8,), {}, None),
    ("scale", (8,), {}, None),
    ("scale", (2, 3), {"by": "quartiles"}, None),
    ("mlp", (2, 3), {"hidden": [5, 4], "out": 3, "norm": "batch", "dropout": 0.1}, None),
    ("mlp", (), {"hidden": [], "out": 2}, None),
    ("mlp", (4,), {"norm": "layer", "activation": "gelu"}, None),
    ("conv1d", (3,), {"channels": [4, 5], "kernel": 5, "stride": 2}, (9, 1, 0, 4)),
    ("conv1d", (), {"channels": [4], "kernel": 4, "stride": 3, "norm": "layer", "dropout": 0.2}, (9, 1, 0, 4)),
    ("conv1d", (3,), {"channels": [4], "kernel": 1, "stride": 1, "norm": "none"}, None),
    ("timm", (2, 32, 32), {"model": "test_resnet", "in_channels": 2}, (2, 1, 0)),
    ("timm", (3, 64, 32), {"model": "test_vit"}, (2, 1, 0)),
    ("conv2d", (1, 9, 8), {"channels": [4, 6], "mean": [0.1], "std": [2.0], "dropout": 0.1}, (2, 1, 0)),
    ("conv2d", (3, 5, 8), {"channels": [8, 4], "kernel": 5, "pooling": "stride", "norm": "group"}, (2, 1, 0)),
    ("conv2d", (2, 6, 6), {"channels": [4], "pooling": "mean", "norm": "none"}, (2, 1, 0)),
    ("spectrogram", (), {**WAVE, "segment_seconds": 0.1, "segment_hop_seconds": 0.02}, WAVE_LENGTHS),
    ("spectrogram", (1,), {**WAVE, "segment_seconds": 0.1, "mode": "per_segment", "scale": "power"}, WAVE_LENGTHS),
    ("spectrogram", (), {**WAVE, "segment_seconds": None, "scale": "magnitude"}, WAVE_LENGTHS),
    ("log_mel", (), {**WAVE, "bands": 4, "segment_seconds": 0.1}, WAVE_LENGTHS),
    ("log_mel", (1,), {**WAVE, "bands": 4, "standardize": False}, WAVE_LENGTHS),
]
AGGREGATOR_EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("lstm", {"hidden": 4}),
    ("lstm", {"hidden": 4, "layers": 2, "dropout": 0.2}),
    ("bilstm", {"hidden": 4}),
    ("bilstm", {"hidden": 4, "layers": 2, "dropout": 0.2}),
    ("gru", {"hidden": 4}),
    ("gru", {"hidden": 4, "layers": 3, "bidirectional": True}),
    ("transformer", {"width": 8, "heads": 2, "layers": 2}),
    ("transformer", {"width": 6, "heads": 3, "summary": "class_token", "feedforward": 7}),
    ("mean", {}),
    ("max", {}),
    ("attention", {"hidden": 3}),
    ("last", {}),
]
FUSION_EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("concat", {}),
    ("sum", {}),
    ("weighted_sum", {"features": 6}),
    ("gated", {}),
    ("film", {}),
    ("film", {"modulated": "video"}),
    ("tensor", {}),
    ("tensor", {"features": 2}),
    ("low_rank", {"rank": 3, "features": 2}),
    ("bilinear", {}),
    ("mixture", {}),
    ("mixture", {"largest": 2, "features": 3}),
    ("attention", {"heads": 2}),
    ("attention", {"heads": 2, "width": 4, "layers": 2}),
    ("cross_attention", {"width": 4, "heads": 2}),
    ("cross_attention", {"width": 4, "heads": 2, "layers": 2}),
    ("bottleneck", {"width": 8, "heads": 2}),
    ("mrpn", {}),
    ("mrpn", {"of": {"type": "cross_attention", "width": 4, "heads": 2}}),
    ("mrpn", {"of": {"type": "low_rank", "rank": 2}}),
    ("mrpn", {"of": "gated"}),
]
LOSS_HEAD_EXAMPLES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("classification", ["a", "b", "c", "a"], {"classes": ["a", "b", "c"]}),
    ("classification", [1, "2", 1.0], {"classes": ["1", "2"], "class_weights": {"1": 2.0}, "label_smoothing": 0.1}),
    ("mmcosine", ["a", "b", "c"], {"classes": ["a", "b", "c"], "scale": 4.0}),
    ("multilabel", [("a", "b"), (), "b", (1.0, math.nan)], {"labels": ["a", "b"]}),
    ("ordinal", ["low", "high", "middle"], {"classes": ["low", "middle", "high"]}),
    ("ordinal", ["no", "yes"], {"classes": ["no", "yes"]}),
    ("regression", [1.5, 2, "3.5"], {}),
    ("regression", [(1.0, math.nan), (2.0, 3.0), (0.5, 1.0)], {"outputs": 2, "loss": "huber"}),
    ("regression", [1.5, 2.0], {"loss": "l1"}),
    ("concordance", [1.5, 2.0, 4.0], {}),
    ("concordance", [(1.0, math.nan), (2.0, 3.0), (0.5, 1.0)], {"outputs": 2}),
]
TRANSFORM_EXAMPLES: list[tuple[str, tuple[int, ...], dict[str, Any], torch.dtype]] = [
    ("gaussian_noise", (8,), {}, torch.float32),
    ("spatial", (3, 9, 12), {}, torch.uint8),
    ("spatial", (1, 8, 8), {"per_frame": True}, torch.float32),
    ("standardize", (8,), {}, torch.float32),
    ("subsample", (8,), {"every": 4}, torch.float32),
    ("time_mask", (8,), {}, torch.float32),
    ("time_slice", (8,), {}, torch.float32),
    ("time_slice", (3, 4, 4), {"together": True}, torch.uint8),
]
