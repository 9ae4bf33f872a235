"""Heads and fusion read features after dropout; balancers and comparisons read them whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fusionkit.config.components.registry import BALANCERS
from fusionkit.interfaces import ModelOutput, Step
from fusionkit.models.build import FusionModel, build
from fusionkit.nn.jagged import Jagged
from fusionkit.nn.layers import FeatureNorm

MODALITIES, WIDTH, BATCH = ("audio", "video"), 6, 8
TARGETS = {"mood": torch.arange(BATCH) % 3}
TERMS = {"fused/mood": torch.tensor(1.0, dtype=torch.float64)}


def network(dropout: float, fusion: str = "concat") -> FusionModel:
    """Vectors that are normalised, with given statistics, and fused."""
    torch.manual_seed(0)
    spec: dict[str, Any] = {
        "modalities": {name: {"shape": [WIDTH], "encoder": "identity", "aggregator": "mean"} for name in MODALITIES},
        "targets": {"mood": {"type": "classification", "classes": ["a", "b", "c"]}},
        "fusion": fusion,
        "fused_hidden": None,
        "dropout": dropout,
    }
    model = build(spec).double().train()
    for module in model.modules():
        if isinstance(module, FeatureNorm):
            module.eval()
    return model


def inputs_of(present: Mapping[str, list[int]] | None = None) -> dict[str, Jagged]:
    generator = torch.Generator().manual_seed(1)
    sizes = {name: (present or {}).get(name, [1] * BATCH) for name in MODALITIES}
    return {
        name: Jagged.from_sizes(torch.randn(sum(of), WIDTH, generator=generator, dtype=torch.float64), tuple(of))
        for name, of in sizes.items()
    }


def step_of(model: FusionModel, output: ModelOutput, teacher: ModelOutput | None = None, epoch: int = 0) -> Step:
    return Step(
        epoch,
        0,
        10,
        output,
        TARGETS,
        tuple(map(str, range(BATCH))),
        teacher=teacher,
        fuse=lambda features, present: model.fuse(output, features, present),
        distribution_of=model.distribution_of,
    )


def scores_of(model: FusionModel, read: Mapping[str, Tensor]) -> Tensor:
    """The fused scores of vectors that are there."""
    scores: Tensor = model.head("mood")(model.fusion(read, dict.fromkeys(MODALITIES)))
    return scores


def whole_of(inputs: Mapping[str, Jagged]) -> dict[str, np.ndarray]:
    """The features by NumPy: of the fresh statistics, mean 0 and variance 1."""
    return {name: value.values.numpy() / np.sqrt(1 + 1e-5) for name, value in inputs.items()}


@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.5])
def test_the_umt_term_of_two_equal_networks_is_zero_and_grows_with_the_square_of_their_difference(
    dropout: float,
) -> None:
    model, inputs = network(dropout), inputs_of()
    with torch.no_grad():
        teacher = copy.deepcopy(model).eval()(inputs)
    balancer = BALANCERS.build("umt", MODALITIES, ("mood",)).double()
    for scale in (1.0, 0.5, 1.25):  # least at one: the student's slope
        with torch.no_grad():
            model.branch("audio").norm.weight.fill_(scale)
        weighted = balancer.weigh(TERMS, step_of(model, model(inputs), teacher))
        assert weighted["teacher/video"].item() == 0.0
        expected = (1.0 - scale) ** 2 * np.square(whole_of(inputs)["audio"]).mean()
        assert weighted["teacher/audio"].item() == pytest.approx(expected, abs=1e-12)


def test_lfm_matches_whole_features_so_modalities_that_agree_have_the_cosine_one() -> None:
    model, inputs = network(0.5), inputs_of()
    inputs["video"] = inputs["audio"]
    balancer = BALANCERS.build("lfm", MODALITIES, ("mood",), dict.fromkeys(MODALITIES, WIDTH), temperature=0.5).double()

    found = balancer.weigh(TERMS, step_of(model, model(inputs)))["match"].item() / balancer.share(0)

    whole = whole_of(inputs)["audio"]
    directions = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    likely = np.exp(directions @ directions.T / 0.5)
    assert found == pytest.approx(-np.log(np.diag(likely) / likely.sum(axis=1)).mean(), abs=1e-12)


def test_the_prototypes_of_pmr_are_means_of_whole_features() -> None:
    model, inputs = network(0.5), inputs_of()
    balancer = BALANCERS.build("pmr", MODALITIES, ("mood",), momentum=0.0)
    for epoch in range(2):
        balancer.weigh(TERMS, step_of(model, model(inputs), epoch=epoch))

    classes = TARGETS["mood"].numpy()
    for place, name in enumerate(MODALITIES):
        expected = [whole_of(inputs)[name][classes == each].mean(axis=0) for each in range(3)]
        np.testing.assert_allclose(balancer.get_buffer(f"prototypes_{place}_0")[:3], expected, rtol=0, atol=1e-6)


def test_with_the_features_of_a_step_its_scores_come_out_again_and_mcr_sees_no_influence_in_moving_nothing() -> None:
    model, inputs = network(0.5), inputs_of()
    inputs["audio"] = inputs["audio"].with_values(torch.ones(BATCH, WIDTH, dtype=torch.float64))  # alike in any order
    output = model(inputs)
    step = step_of(model, output)

    assert torch.equal(step.fuse(output.features, output.present)["mood"], output.fused["mood"])
    weighted = BALANCERS.build("mcr", MODALITIES, ("mood",), strategy="independent").weigh(TERMS, step)
    assert weighted["influence/audio"].item() == pytest.approx(0.0, abs=1e-12)
    assert weighted["influence/video"].item() < -1e-6


def test_heads_and_fusion_read_the_features_as_one_dropout_after_the_normalisation_leaves_them() -> None:
    model, inputs = network(0.5), inputs_of({"audio": [1, 0, 1, 1, 0, 1, 1, 1]})
    torch.manual_seed(3)
    output = model(inputs)
    torch.manual_seed(3)
    expected = {}
    for name in MODALITIES:
        rows = output.present[name]
        expected[name] = torch.zeros_like(output.features[name])
        expected[name][rows] = functional.dropout(output.features[name][rows], 0.5)

    for name in MODALITIES:
        assert not (output.features[name][output.present[name]] == 0).any()
        own = model.head("mood", name)(expected[name][output.present[name]])
        assert torch.equal(output.unimodal[name]["mood"][output.present[name]], own)
    assert torch.equal(output.fused["mood"], scores_of(model, expected))
    assert 0 < (expected["audio"] == 0).sum() < expected["audio"].numel()


def test_a_hook_is_given_whole_features_and_dropout_drops_of_what_it_returns_but_not_of_what_it_puts_in_a_gap() -> None:
    model, inputs = network(0.5), inputs_of({"audio": [0] + [1] * (BATCH - 1)})
    given: dict[str, Tensor] = {}

    def hook(features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Any:
        given.update(features)
        stood_in = features["audio"].clone()
        stood_in[0] = 7.0
        everyone = torch.ones(BATCH, dtype=torch.bool)
        return {"audio": 2.0 * stood_in, "video": features["video"]}, {**present, "audio": everyone}

    output = model(inputs, replace=hook)

    read = {name: output.features[name] * output.dropout[name] for name in MODALITIES}
    read["audio"] = 2.0 * read["audio"]
    read["audio"][0] = 14.0
    assert torch.equal(output.fused["mood"], scores_of(model, read))
    assert torch.equal(given["audio"], output.features["audio"])
    assert not (given["video"] == 0).any()


def test_cml_takes_a_modality_away_and_leaves_the_dropout_of_the_others_as_it_was() -> None:
    model, inputs = network(0.5), inputs_of()
    output = model(inputs)
    nobody = torch.zeros(BATCH, dtype=torch.bool)

    found = model.fuse(output, output.features, {**output.present, "audio": nobody})["mood"]

    placeholder = model.placeholders["of_audio"].expand(BATCH, WIDTH)
    kept = output.features["video"] * output.dropout["video"]
    assert torch.equal(found, scores_of(model, {"audio": placeholder, "video": kept}))
