"""Balancers that fuse again in the same step, against their equations in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from balancer_steps import balancer_of, exact, numbers, softmax, step_of, tensor, terms_of
from small_runs import run_of, steps_of
from torch import Tensor

from fusionkit.errors import TrainingError

MOODS = [0, 1, 0]
AUDIO = np.array([[2.0, -1.0], [0.5, -0.2], [0.3, 0.4]])
VIDEO = np.array([[-0.7, 0.8], [0.9, 0.1], [1.0, -1.5]])
TEXT = np.array([[0.2, 0.1], [-0.4, 1.1], [-0.6, 0.1]])


def adding(target: str = "mood") -> Any:
    """A fusion whose scores are the sum of the features that are present; where none is, it is sure of class 0."""

    def fuse(features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        total = torch.stack([features[name] * present[name][:, None] for name in features]).sum(dim=0)
        nothing = ~torch.stack(list(present.values())).any(dim=0)
        return {target: torch.where(nothing[:, None], tensor([9.0, 0.0]), total)}

    return fuse


def added(features: Mapping[str, np.ndarray], row: int, names: Any) -> np.ndarray:
    return np.sum([features[name][row] for name in names], axis=0) if names else np.array([9.0, 0.0])


def removals(present: np.ndarray, seed: int) -> list[list[int]]:
    """Sample by sample, in which order its modalities go."""
    torch.manual_seed(seed)
    draws = torch.rand(present.shape).numpy()
    return [
        sorted(np.flatnonzero(here), key=lambda place, of=draw: of[place])
        for here, draw in zip(present, draws, strict=True)
    ]


def step_with(features: Mapping[str, Any], present: Mapping[str, Any], targets: Any = None, **more: Any) -> Any:
    given = {name: value if isinstance(value, Tensor) else tensor(value) for name, value in features.items()}
    here = {name: tensor(values) for name, values in present.items()}
    fused = adding()(given, here)
    return step_of(targets or {"mood": MOODS}, fused=fused, features=given, present=present, fuse=adding(), **more)


# cml: Ma 2023


def cml_by_hand(features: Mapping[str, np.ndarray], present: np.ndarray, moods: list[int], seed: int) -> Any:
    """The mean loss along the chain, and by how much the confidence rises along it."""
    names, orders = list(features), removals(present, seed)
    losses, rises = [], []
    for row, order in enumerate(orders):
        if moods[row] < 0:
            continue
        sets = [order[gone:] for gone in range(max(1, len(order)))]
        p = [softmax(added(features, row, [names[place] for place in kept])) for kept in sets]
        losses.append(np.mean([-np.log(one[moods[row]]) for one in p]))
        rises.append(sum(max(0.0, later.max() - earlier.max()) for earlier, later in pairwise(p)))
    return np.mean(losses), np.mean(rises)


@pytest.mark.parametrize("seed", range(4))
def test_cml_punishes_confidence_that_rises_when_modalities_are_taken_away(seed: int) -> None:
    features = {"audio": AUDIO, "video": VIDEO, "text": TEXT}
    present = {name: [True] * 3 for name in features}
    balancer = balancer_of("cml", tuple(features), ("mood",), weight=0.7)

    torch.manual_seed(seed)
    weighted = balancer.weigh(terms_of(fused__mood=9.0, audio__mood=5.0), step_with(features, present))

    loss, rise = cml_by_hand(features, np.ones((3, 3), dtype=bool), MOODS, seed)
    assert rise > 0
    assert numbers(weighted) == pytest.approx({"fused/mood": loss, "confidence/mood": 0.7 * rise}, abs=1e-12)


def test_cml_counts_no_further_than_the_last_modality_of_a_sample_and_no_unknown_target() -> None:
    features = {"audio": AUDIO, "video": VIDEO, "text": TEXT}
    present = {"audio": [True, False, True], "video": [True, False, True], "text": [False, True, True]}
    balancer = balancer_of("cml", tuple(features), ("mood",), weight=2.0, unimodal_weight=0.5)
    for seed, moods in ((0, [0, 1, 0]), (1, [0, 1, -1])):
        torch.manual_seed(seed)
        weighted = balancer.weigh(
            terms_of(fused__mood=9.0, text__mood=4.0), step_with(features, present, {"mood": moods})
        )
        here = np.stack([present[name] for name in features], axis=1)
        loss, rise = cml_by_hand(features, here, moods, seed)
        expected = {"fused/mood": loss, "confidence/mood": 2.0 * rise, "text/mood": 2.0}
        assert numbers(weighted) == pytest.approx(expected, abs=1e-12)
    nobody = {name: [False] * 3 for name in features}
    alone = numbers(balancer.weigh(terms_of(fused__mood=9.0), step_with(features, nobody)))
    assert alone == pytest.approx(
        {"fused/mood": -np.log(softmax([9.0, 0.0])[MOODS]).mean(), "confidence/mood": 0.0}, abs=1e-12
    )


def test_cml_lowers_the_confidence_without_a_modality_and_raises_the_one_with_it() -> None:
    rows = [[True], [True]], [[2.0, 0.0]], [[-1.5, 0.0]]  # surer (0.88) without video than with it (0.62)
    features = {"audio": tensor(rows[1]).requires_grad_(), "video": tensor(rows[2]).requires_grad_()}
    present = {"audio": [True], "video": [True]}
    balancer = balancer_of("cml", ("audio", "video"), ("mood",))
    moved: set[str] = set()
    for seed in range(8):
        torch.manual_seed(seed)
        step = step_with(features, present, {"mood": [0]})
        rise = balancer.weigh(terms_of(fused__mood=1.0), step)["confidence/mood"]
        gone = ("audio", "video")[removals(np.ones((1, 2), dtype=bool), seed)[0][0]]
        audio, video = torch.autograd.grad(rise, list(features.values()))
        full, kept = softmax([0.5, 0.0])[0], softmax([2.0, 0.0])[0] if gone == "video" else softmax([-1.5, 0.0])[1]
        exact(rise.item(), kept - full)
        slope_of = {True: kept * (1 - kept), False: full * (1 - full)}
        with_sign = slope_of[True] if gone == "video" else -slope_of[True]
        own, other = (audio, video) if gone == "video" else (video, audio)
        exact(own[0, 0], with_sign - slope_of[False])
        exact(other[0, 0], -slope_of[False])
        moved.add(gone)
    assert moved == {"audio", "video"}


def test_cml_needs_classes_leaves_numbers_their_losses_and_uni_modal_stages_alone() -> None:
    features = {"audio": AUDIO, "video": VIDEO}
    present = {name: [True] * 3 for name in features}
    balancer = balancer_of("cml", ("audio", "video"), ("mood", "age"))
    terms = terms_of(audio__mood=5.0)
    assert balancer.weigh(terms, step_with(features, present)) == terms
    one = balancer_of("cml", ("audio",), ("mood",)).weigh(terms_of(fused__mood=2.0), step_of({"mood": MOODS}))
    assert numbers(one) == {"fused/mood": 2.0}

    def fuse(given: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**adding()(given, here), **adding("age")(given, here)}

    ages = np.array([1.0, np.nan, 3.0])
    given, here = {n: tensor(v) for n, v in features.items()}, {n: tensor(v) for n, v in present.items()}
    options: dict[str, Any] = {"features": given, "present": present, "fuse": fuse, "fused": fuse(given, here)}
    torch.manual_seed(5)
    both = balancer.weigh(terms_of(fused__mood=1.0, fused__age=1.0), step_of({"mood": MOODS, "age": ages}, **options))
    orders = removals(np.ones((3, 2), dtype=bool), 5)
    whole = (AUDIO + VIDEO)[:, 0]
    kept = [(AUDIO if order[1] == 0 else VIDEO)[row, 0] for row, order in enumerate(orders)]
    squares = [((whole[row] - ages[row]) ** 2 + (kept[row] - ages[row]) ** 2) / 2 for row in (0, 2)]
    assert set(both) == {"fused/mood", "fused/age", "confidence/mood"}
    exact(both["fused/age"].item(), np.mean(squares))
    with pytest.raises(TrainingError, match="cml: confidence belongs to classes, and no target of this model has any"):
        balancer.weigh(terms_of(fused__age=1.0), step_of({"age": ages}, **options))


# mcr: Kontras 2025

K = {"greedy": -1.0, "independent": 0.0, "collaborative": 1.0}


def divergence_by_hand(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Jensen-Shannon divergence of each row, and its slope by the scores whose softmax is q."""
    middle = (p + q) / 2
    value = ((p * np.log(p / middle)).sum(axis=1) + (q * np.log(q / middle)).sum(axis=1)) / 2
    surprise = np.log(q / middle)
    return value, q * (surprise - (q * surprise).sum(axis=1, keepdims=True)) / 2


def permuted(here: list[bool]) -> np.ndarray:
    """The next order that is drawn: samples that have the modality change places."""
    rows = np.flatnonzero(here)
    order = np.arange(len(here))
    order[rows] = rows[torch.randperm(len(rows)).numpy()]
    return order


def draws_of(present: Mapping[str, list[bool]], seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    return {name: permuted(here) for name, here in present.items()}


@pytest.mark.parametrize("strategy", list(K))
def test_mcr_raises_each_modality_s_influence_and_treats_that_of_the_others_as_its_strategy_says(strategy: str) -> None:
    values = {"audio": AUDIO, "video": VIDEO, "text": TEXT}
    present = {"audio": [True] * 3, "video": [True, False, True], "text": [True] * 3}
    features = {name: tensor(value).requires_grad_() for name, value in values.items()}
    balancer = balancer_of("mcr", tuple(values), ("mood",), weight=0.3, strategy=strategy, unimodal_weight=0.5)
    seed = next(s for s in range(50) if all((o != np.arange(3)).any() for o in draws_of(present, s).values()))

    torch.manual_seed(seed)
    weighted = balancer.weigh(terms_of(fused__mood=2.0, audio__mood=4.0), step_with(features, present))

    masked = {name: value * np.array(present[name])[:, None] for name, value in values.items()}
    usual, found = softmax(sum(masked.values())), draws_of(present, seed)
    slopes = {name: np.zeros((3, 2)) for name in values}
    influence = {}
    for name, order in found.items():
        counted = np.array(present[name])
        moved = sum(masked[n] if n != name else values[n][order] * counted[:, None] for n in values)
        jsd, slope = divergence_by_hand(usual, softmax(moved))
        influence[name] = jsd[counted].mean()
        slope = -0.3 * slope * counted[:, None] / counted.sum()
        for other in values:
            reached = slope * np.array(present[other])[:, None] * (1.0 if other == name else K[strategy])
            np.add.at(slopes[other], order if other == name else np.arange(3), reached)
    assert min(influence.values()) > 1e-4
    sign = 0.0 if strategy == "greedy" else -0.3
    expected = {f"influence/{name}": sign * value for name, value in influence.items()}
    assert numbers(weighted) == pytest.approx({"fused/mood": 2.0, "audio/mood": 2.0, **expected}, abs=1e-12)
    torch.stack([weighted[name] for name in expected]).sum().backward()
    for name, slope in slopes.items():
        exact(features[name].grad, slope)


def test_mcr_averages_permutations_adds_targets_and_gives_a_greedy_fusion_no_gradient() -> None:
    values, here = {"audio": AUDIO, "video": VIDEO}, {"audio": [True] * 3, "video": [True] * 3}
    factor = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)  # a weight of the fusion

    def fuse(given: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scores = factor * adding()(given, present)["mood"]
        return {"mood": scores, "tone": -2.0 * scores}

    given = {name: tensor(value) for name, value in values.items()}
    scores = {target: of.detach() for target, of in fuse(given, {n: tensor(v) for n, v in here.items()}).items()}
    targets = {"mood": MOODS, "tone": MOODS}
    step = step_of(targets, fused=scores, features=given, present=here, fuse=fuse)
    options: dict[str, Any] = {"weight": 1.0, "permutations": 2}
    balancer = balancer_of("mcr", ("audio", "video"), ("mood", "tone"), strategy="independent", **options)
    torch.manual_seed(3)
    weighted = balancer.weigh(terms_of(fused__mood=1.0, fused__tone=1.0), step)
    torch.manual_seed(3)
    for name in values:
        found = []
        for order in (permuted(here[name]), permuted(here[name])):
            moved = sum(values[n][order] if n == name else values[n] for n in values)
            pairs = [(scale * (AUDIO + VIDEO), scale * moved) for scale in (1.5, -3.0)]
            found.append(sum(divergence_by_hand(softmax(a), softmax(b))[0].mean() for a, b in pairs))
        exact(weighted[f"influence/{name}"].item(), -np.mean(found))
    (slope,) = torch.autograd.grad(sum(weighted[f"influence/{n}"] for n in values), factor)
    assert slope.abs() > 1e-3
    greedy = balancer_of("mcr", ("audio", "video"), ("mood", "tone"), **options)
    weighted = greedy.weigh(terms_of(fused__mood=1.0, fused__tone=1.0), step)
    (slope,) = torch.autograd.grad(sum(weighted[f"influence/{n}"] for n in values), factor)
    exact(slope, 0.0)


def test_mcr_needs_classes_and_leaves_uni_modal_stages_a_single_modality_and_a_zero_weight_alone() -> None:
    features, present = {"audio": AUDIO, "video": VIDEO}, {"audio": [True] * 3, "video": [True] * 3}
    step = step_with(features, present)
    terms = terms_of(audio__mood=5.0)
    assert balancer_of("mcr", ("audio", "video"), ("mood",)).weigh(terms, step) == terms
    both = terms_of(fused__mood=2.0, audio__mood=5.0)
    for balancer in (
        balancer_of("mcr", ("audio",), ("mood",), unimodal_weight=0.0),
        balancer_of("mcr", ("audio", "video"), ("mood",), unimodal_weight=0.0, weight=0.0),
    ):
        assert numbers(balancer.weigh(both, step)) == {"fused/mood": 2.0}
    ages = step_of({"age": [1.0, 2.0, 3.0]}, fused={"age": np.zeros((3, 1))}, features=features, present=present)
    with pytest.raises(TrainingError, match="mcr: influence is on probabilities of classes"):
        balancer_of("mcr", ("audio", "video"), ("age",)).weigh(terms_of(fused__age=1.0), ages)


@pytest.mark.parametrize("fusion", ["bottleneck", {"type": "mrpn", "of": "bottleneck"}])
def test_a_fusion_that_reads_sequences_is_refused_where_features_are_replaced_and_welcome_where_they_are_not(
    tmp_path: Path, fusion: Any
) -> None:
    small = {"type": "bottleneck", "width": 4, "layers": 1, "heads": 1}
    given = small if fusion == "bottleneck" else {"type": "mrpn", "of": small}
    with pytest.raises(TrainingError, match="the fusion reads sequences, and other features cannot replace them"):
        run_of(tmp_path / "mcr", model={"fusion": given}, balancer="mcr", epochs=1)
    run = run_of(tmp_path / "cml", model={"fusion": given}, balancer="cml", epochs=1)
    assert all(np.isfinite(record["loss"]) for record in steps_of(run))
