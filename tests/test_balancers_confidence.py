"""Balancers that fuse again in the same step, against their equations in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from balancer_steps import balancer_of, numbers, softmax, step_of, tensor, terms_of
from torch import Tensor

from fusionkit.errors import TrainingError

MOODS = [0, 1, 0]
AUDIO = np.array([[2.0, -1.0], [0.5, -0.2], [0.3, 0.4]])
VIDEO = np.array([[-0.7, 0.8], [0.9, 0.1], [1.0, -1.5]])
TEXT = np.array([[0.2, 0.1], [-0.4, 1.1], [-0.6, 0.9]])


def exact(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=1e-12)


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
