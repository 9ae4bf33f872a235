"""Every registered balancer trains, resumes exactly, and stands for plain training where nothing is to balance."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import recipe, same_bits, steps_of, train_until, weights_of

from fusionkit.config.components.registry import BALANCERS
from fusionkit.evaluation import evaluate
from fusionkit.training import train

OPTIONS: dict[str, dict[str, Any]] = {
    "g_blend": {"weights": {"fused": 0.5, "motion": 0.2, "posture": 0.3}},
    "g_blend_online": {"every": 2},
    "opm": {"starts": 1},
    "pmr": {"mu": 0.1},
    "relearning": {"every": 1, "times": 2},
    "sample_valuation": {"warmup": 1},
}
LONG: dict[str, dict[str, Any]] = OPTIONS | {
    "g_blend_online": {"every": 5},
    "relearning": {"every": 5, "times": 1},
    "sample_valuation": {"warmup": 5},
}
#: By package, what no balancer can be built without.
NEEDED = {"jacobian_descent": "torchjd"}
BUILDABLE = [
    pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{NEEDED.get(name)} is not installed"))
    for name in BALANCERS.names()
    for missing in (name in NEEDED and find_spec(NEEDED[name]) is None,)
]
# What makes the method the plain sum where its own options can.
NEUTRAL: dict[str, dict[str, Any]] = {
    "g_blend": {"weights": {"fused": 1.0, "posture": 1.0}},
    "relearning": {"strength": 0.0},
    "umt": {"weight": 0.0},
}
ALONE = {"modalities": {"posture": {"encoder": "mlp"}}}


def selection(name: str) -> dict[str, Any]:
    """How a training with this balancer must select its epoch."""
    return {"select": "inner"} if BALANCERS.get(name).cls.held_out else {}


def given(name: str, **more: Any) -> Any:
    """A recipe with a balancer, and a checkpoint after every step."""
    return recipe(
        balancer={"type": name, **OPTIONS.get(name, {})},
        data={"batch_size": 3},
        checkpoint_seconds=0.0,
        **selection(name),
        **more,
    )


@pytest.mark.parametrize("name", BUILDABLE)
def test_a_balancer_trains_and_resumes_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    options = given(name, optimizer={"type": "adamw", "lr": 0.01})
    whole = train(options, tmp_path / "whole", accelerator="cpu")
    begun = next(of["step"] for of in steps_of(whole) if of["stage"] == "joint" and of["epoch"] == 1)
    train_until(monkeypatch, begun, options, tmp_path / "again")
    resumed = train(options, tmp_path / "again", accelerator="cpu")

    steps = steps_of(whole)
    assert {record["epoch"] for record in steps} == {0, 1, 2}
    assert all(math.isfinite(record["loss"]) for record in steps)
    assert steps == steps_of(resumed)
    assert same_bits(weights_of(whole), weights_of(resumed))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", BUILDABLE)
def test_a_balancer_trains_classes_and_numbers_together(tmp_path: Path, name: str, precision: str) -> None:
    options = given(name, precision=precision)
    options["data"]["dataset"]["regression"] = True
    options["model"]["targets"] = {"label": "classification", "strength": "regression"}

    steps = steps_of(train(options, tmp_path / "run", accelerator="cpu"))

    joint = [record for record in steps if record["stage"] == "joint"]
    assert {"fused/label", "fused/strength"} <= set(joint[-1]["terms"])
    assert all(math.isfinite(record["loss"]) for record in joint)


@pytest.mark.parametrize("name", [name for name in BUILDABLE if name.values[0] not in ("uncertainty", "umt")])
def test_with_one_modality_and_one_loss_there_is_nothing_to_balance(tmp_path: Path, name: str) -> None:
    runs = []
    for balancer in ({"type": name, **OPTIONS.get(name, {}), **NEUTRAL.get(name, {})}, "multi_term"):
        options = recipe(
            model={**ALONE, "unimodal_heads": False}, balancer=balancer, precision="64-true", **selection(name)
        )
        runs.append(train(options, tmp_path / str(len(runs)), accelerator="cpu"))

    balanced, plain = (weights_of(run) for run in runs)
    assert balanced.keys() == plain.keys()
    for key, weight in plain.items():
        torch.testing.assert_close(balanced[key], weight, rtol=0, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", ["agm", "mcr", "modality_dropout", "ogm_ge", "opm", "g_blend", "umt"])
def test_with_one_modality_its_own_loss_stays_where_the_method_has_nothing_to_compare(
    tmp_path: Path, name: str
) -> None:
    weights = {"weights": {"posture": 0.0}} if name == "umt" else {}  # the paper's loss has no uni-modal terms
    losses = []
    for balancer in (
        {"type": name, **OPTIONS.get(name, {}), **NEUTRAL.get(name, {})},
        {"type": "multi_term", **weights},
    ):
        run = train(
            recipe(model=ALONE, balancer=balancer, precision="64-true"), tmp_path / str(len(losses)), accelerator="cpu"
        )
        losses.append([record["terms"]["fused/label"] for record in steps_of(run) if record["stage"] == "joint"])

    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_uncertainty_takes_its_first_step_as_plain_training_does(tmp_path: Path) -> None:
    runs = [
        train(recipe(balancer=name, epochs=1), tmp_path / name, accelerator="cpu")
        for name in ("uncertainty", "multi_term")
    ]
    first, plain = (steps_of(run)[0] for run in runs)
    assert first["loss"] == pytest.approx(plain["loss"], abs=1e-6)
    assert first["terms"] == plain["terms"]


def balanced(balancer: Any, **more: Any) -> Any:
    """Two modalities that tell as much as each other: nothing is to balance."""
    look = {"features": 6, "noise": 1.5, "min_length": 1, "max_length": 1}
    options = recipe(
        data={"batch_size": 32, "folds": {"type": "group_kfold", "folds": 2}},
        model={"dropout": 0.0},
        balancer=balancer,
        epochs=15,
        optimizer={"type": "adamw", "lr": 0.01},
        **more,
    )
    modalities = {"motion": look, "posture": look}
    options["data"]["dataset"] |= {"modalities": modalities, "groups": 8, "samples": 8, "group_offset": 0.0}
    return options


def accuracy(balancer: Any, out: Path, **more: Any) -> float:
    card = evaluate(train(balanced(balancer, **more), out, accelerator="cpu"), device="cpu", resamples=2).plain()
    return float(card["targets"]["label"]["branches"]["fused"]["metrics"]["accuracy"]["value"])


@pytest.fixture(scope="module")
def plain_accuracy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    known: dict[str, float] = {}

    def plain(select: str = "last") -> float:
        if select not in known:
            known[select] = accuracy("multi_term", tmp_path_factory.mktemp("plain") / select, select=select)
        return known[select]

    return plain


@pytest.mark.parametrize("name", BUILDABLE)
def test_a_network_without_imbalance_is_not_made_worse(
    tmp_path: Path, plain_accuracy: Callable[..., float], name: str
) -> None:
    plain = plain_accuracy(**selection(name))
    found = accuracy({"type": name, **LONG.get(name, {})}, tmp_path / "run", **selection(name))
    assert plain > 0.6  # of four classes
    assert found >= plain - 0.04  # a standard error of the 128 test samples
