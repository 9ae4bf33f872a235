"""Balancers that match modalities to each other, against their equations in NumPy."""

from __future__ import annotations

import copy
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from balancer_steps import numbers, step_of, tensor, terms_of
from small_runs import run_of

from fusionkit.config.components.registry import BALANCERS
from fusionkit.errors import RecipeError
from fusionkit.training import loop
from fusionkit.training.stages import make_balancer

MOODS = [0, 1, 0, 1]
RNG = np.random.default_rng(4)
FEATURES = {name: RNG.normal(size=(4, 3)) for name in ("audio", "video", "text")}
WIDE = {"audio": RNG.normal(size=(4, 2)), "video": RNG.normal(size=(4, 5))}


def matching(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """The mean over samples and both directions of the cross-entropy of finding one's own other half."""
    lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None]
    likely = np.exp(first @ second.T / lengths / temperature)
    there = -np.log(np.diag(likely) / likely.sum(axis=1))
    back = -np.log(np.diag(likely) / likely.sum(axis=0))
    return float(np.concatenate([there, back]).mean())


def lfm(widths: dict[str, int], **options: Any) -> Any:
    return BALANCERS.build("lfm", tuple(widths), ("mood",), widths, **options).double()


def learning(features: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: tensor(values).requires_grad_() for name, values in features.items()}


# lfm: Yang 2024


def test_lfm_hands_over_from_matching_modalities_to_fitting_labels() -> None:
    balancer = lfm(dict.fromkeys(FEATURES, 3), temperature=0.4)
    expected = np.mean([matching(FEATURES[a], FEATURES[b], 0.4) for a, b in combinations(FEATURES, 2)])
    assert expected > np.log(4) / 2  # nothing is matched yet
    seen = []
    for epoch in (0, 1, 9):
        alpha = 1.0 - np.exp(-1.0 / (epoch + 1))
        step = step_of({"mood": MOODS}, features=learning(FEATURES), epoch=epoch)
        weighted = balancer.weigh(terms_of(fused__mood=2.0, audio__mood=5.0), step)
        wanted = {"fused/mood": (1.0 - alpha) * 2.0, "match": alpha * expected}
        assert numbers(weighted) == pytest.approx(wanted, abs=1e-12)
        seen.append(alpha)
    assert seen[0] > seen[1] > seen[2] > 0


def test_lfm_counts_for_a_pair_the_samples_that_have_both() -> None:
    present = {"audio": [True, True, False, True], "video": [True, True, True, True], "text": [False] * 4}
    features = learning(FEATURES)
    balancer = lfm(dict.fromkeys(FEATURES, 3), unimodal_weight=0.5)
    step = step_of({"mood": MOODS}, features=features, present=present)
    weighted = balancer.weigh(terms_of(fused__mood=2.0, audio__mood=4.0), step)
    alpha, here = 1.0 - np.exp(-1.0), [0, 1, 3]
    pair = matching(FEATURES["audio"][here], FEATURES["video"][here], 0.07)
    wanted = {"fused/mood": (1 - alpha) * 2, "audio/mood": (1 - alpha) * 2, "match": alpha * (pair + 0.0 + 0.0) / 3}
    assert numbers(weighted) == pytest.approx(wanted, abs=1e-12)
    weighted["match"].backward()
    assert not features["audio"].grad[2].any()
    assert not features["text"].grad.any()
    assert features["video"].grad[here].any(dim=1).all()


def test_lfm_projects_features_of_several_widths_and_refuses_them_without() -> None:
    torch.manual_seed(0)
    balancer = lfm({"audio": 2, "video": 5}, features=3, temperature=1.0)
    step = step_of({"mood": MOODS}, features=learning(WIDE), epoch=4)
    weighted = balancer.weigh(terms_of(fused__mood=1.0), step)
    audio, video = (of.weight.detach().numpy() for of in balancer.projections)
    expected = (1 - np.exp(-0.2)) * matching(WIDE["audio"] @ audio.T, WIDE["video"] @ video.T, 1.0)
    assert weighted["match"].item() == pytest.approx(expected, abs=1e-12)
    weighted["match"].backward()
    assert all(of.weight.grad.any() for of in balancer.projections)
    assert not list(lfm({"audio": 3, "video": 3}).parameters())
    with pytest.raises(RecipeError) as caught:
        lfm({"audio": 2, "video": 5})
    assert "lfm: features: vectors of several widths (audio 2, video 5) cannot be compared" in str(caught.value)
    assert "set one width for all modalities, such as 2" in str(caught.value)


def test_lfm_leaves_uni_modal_stages_frozen_encoders_and_a_single_modality_alone() -> None:
    balancer = lfm(dict.fromkeys(FEATURES, 3))
    terms = terms_of(audio__mood=5.0)
    assert balancer.weigh(terms, step_of({"mood": MOODS}, features=learning(FEATURES))) == terms
    both = terms_of(fused__mood=2.0, audio__mood=5.0)
    assert numbers(balancer.weigh(both, step_of({"mood": MOODS}, features=FEATURES))) == {"fused/mood": 2.0}
    one = lfm({"audio": 3}, features=2)
    step = step_of({"mood": MOODS}, features=learning({"audio": FEATURES["audio"]}))
    assert numbers(one.weigh(both, step)) == {"fused/mood": 2.0}
    assert not list(one.parameters())


def test_a_balancer_that_reads_widths_is_wired_with_those_of_the_branches_and_its_own_weights_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = {"motion": {"encoder": {"type": "mlp", "out": 6}}, "posture": {"encoder": "mlp"}}
    with pytest.raises(RecipeError, match=r"widths \(motion 6, posture 64\)"):
        run_of(tmp_path / "refused", model={"modalities": narrow}, balancer="lfm")
    kept: list[Any] = []

    def remembered(*given: Any) -> Any:
        kept.append(make_balancer(*given))
        kept.append(copy.deepcopy(kept[0]))
        return kept[0]

    monkeypatch.setattr(loop, "make_balancer", remembered)
    run_of(tmp_path / "run", model={"modalities": narrow}, balancer={"type": "lfm", "features": 5}, epochs=2)
    assert [tuple(of.weight.shape) for of in kept[0].projections] == [(5, 6), (5, 64)]
    assert all(not torch.equal(a, b) for a, b in zip(kept[0].parameters(), kept[1].parameters(), strict=True))
