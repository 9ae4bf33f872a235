"""The gradients of uni-modal and fused losses: compared while training, and kept apart by heads that only watch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from balancer_steps import balancer_of, terms_of
from lightning_fabric import Fabric
from small_runs import recipe, run_of, same_bits, steps_of, weights_of
from test_balancer_hooks import JOINT, MODALITIES, Case, Sum, of

from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.interfaces import Stage, Step
from fusionkit.models.build import build
from fusionkit.training.step.learner import Learner, Moment
from fusionkit.training.step.parts import Parts

NOTHING = Step(0, 0, 1, None, {}, ())


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def encoder(gradients: dict[str, torch.Tensor], modality: str) -> np.ndarray:
    """A modality's gradient of encoders and aggregator."""
    names = [name for name in gradients if of(modality, name) and ".heads." not in name and ".norm." not in name]
    assert names
    return np.concatenate([gradients[name].numpy().ravel() for name in names])


def test_the_log_is_told_the_cosine_and_the_norms_of_the_encoders_gradients(case: Case) -> None:
    learner, *_ = case.learner(Sum(MODALITIES, ("label",)), gradient_cosines=1)
    outcome = learner([case.batch], Moment(0, 0, 1, 1.0), 0)

    assert set(outcome.gradients) == set(MODALITIES)
    for modality in MODALITIES:
        own = encoder(case.gradients(lambda terms, _, m=modality: terms[f"{m}/label"]), modality)
        fused = encoder(case.gradients(lambda terms, _: terms["fused/label"]), modality)
        told = outcome.gradients[modality]
        assert told["own_norm"] == pytest.approx(np.linalg.norm(own), abs=1e-12)
        assert told["fused_norm"] == pytest.approx(np.linalg.norm(fused), abs=1e-12)
        expected = own @ fused / np.linalg.norm(own) / np.linalg.norm(fused)
        assert told["cosine"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("balancer", ["multi_term", "ogm_ge", "pcgrad", "fused_only"])
def test_a_training_is_bit_for_bit_the_same_whether_gradients_are_compared(tmp_path: Path, balancer: str) -> None:
    options: dict[str, Any] = {"balancer": balancer, "data": {"batch_size": 2}, "accumulate": 2, "epochs": 2}
    plain = run_of(tmp_path / "plain", **options)
    watched = run_of(tmp_path / "watched", **options, gradient_cosines=1)

    assert same_bits(weights_of(plain), weights_of(watched))
    assert all(set(step["gradients"]) == set(MODALITIES) for step in steps_of(watched))
    assert not any("gradients" in step for step in steps_of(plain))
    assert [step["terms"] for step in steps_of(plain)] == [step["terms"] for step in steps_of(watched)]


def test_gradients_are_compared_every_so_many_steps(tmp_path: Path) -> None:
    steps = steps_of(run_of(tmp_path, data={"batch_size": 2}, gradient_cosines=3))

    assert len(steps) > 6
    assert ["gradients" in step for step in steps] == [place % 3 == 0 for place in range(len(steps))]


@pytest.mark.parametrize("changes", [{"model": {"unimodal_heads": False}}, {"strategy": "late_fusion"}])
def test_there_is_nothing_to_compare_where_no_encoder_serves_two_losses(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert not any("gradients" in step for step in steps_of(run_of(tmp_path, **changes, gradient_cosines=1)))


def test_fused_only_gives_encoders_the_fused_gradient_and_heads_their_own(case: Case) -> None:
    found, _, _ = case.step(balancer_of("fused_only", MODALITIES, ("label",)))

    fused = case.gradients(lambda terms, _: terms["fused/label"])
    own = case.gradients(lambda terms, _: terms["motion/label"] + terms["posture/label"])
    for name in found:
        expected = own[name] if ".heads." in name and name.startswith("branches.") else fused[name]
        np.testing.assert_allclose(found[name].numpy(), expected.numpy(), rtol=0, atol=1e-12, err_msg=name)


def test_fused_only_sums_targets_and_leaves_a_stage_without_fused_loss_its_own() -> None:
    balancer = balancer_of("fused_only", ("audio",), ("mood", "age"))
    weighted = balancer.weigh(terms_of(fused__mood=1.0, fused__age=2.0, audio__mood=4.0, audio__age=8.0), NOTHING)
    assert {name: value.item() for name, value in weighted.items()} == {"fused": 3.0, "unimodal": 12.0}
    alone = balancer.weigh(terms_of(audio__mood=4.0, audio__age=8.0), NOTHING)
    assert {name: value.item() for name, value in alone.items()} == {"unimodal": 12.0}
    (kept,) = balancer.combine({"unimodal": [torch.tensor([3.0])]}, NOTHING)
    assert kept is not None
    assert kept.tolist() == [3.0]


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_with_heads_that_watch_everything_else_is_trained_bit_for_bit_as_without_heads(
    clip_norm: float | None,
) -> None:
    """N0 and N0 with heads that watch, from the same weights, with dropout, over several steps."""
    assembly = assemble(load_recipe(recipe()))
    bare = build(load_recipe(recipe(model={"unimodal_heads": False})), assembly.dataset)
    watched = build(assembly.recipe)
    watched.load_state_dict(bare.state_dict(), strict=False)
    start = copy.deepcopy(watched.state_dict())
    batch = next(assembly.loader(assembly.train_ids, training=False))
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    for model, balancer, branches in (
        (bare, Sum(MODALITIES, ("label",)), ("fused",)),
        (watched, balancer_of("fused_only", MODALITIES, ("label",)).float(), JOINT.branches),
    ):
        parts = Parts(model)
        learner = Learner(
            fabric,
            model,
            Stage("joint", JOINT.trains, branches),
            assembly.recipe.train.model_copy(update={"clip_norm": clip_norm}),
            balancer=balancer,
            parts=parts,
            optimizer=torch.optim.AdamW(parts.parameters(JOINT.trains), lr=0.01),
            initial=parts.snapshot(JOINT.trains),
            teacher=None,
        )
        for step in range(4):
            torch.manual_seed(step)
            learner([batch], Moment(0, step, 1, 0.01), 0)

    trained, reference = watched.state_dict(), bare.state_dict()
    assert same_bits({name: trained[name] for name in reference}, reference)
    heads = set(trained) - set(reference)
    assert heads
    assert not any(torch.equal(trained[name], start[name]) for name in heads)
