"""Balancers that look at scores of subsets, prototypes, teachers and leads, against their equations in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from balancer_steps import balancer_of, exact, numbers, softmax, step_of, tensor, terms_of

from fusionkit.errors import TrainingError

MOODS = [0, 1, 0]
F = {  # fused scores of three samples by what is present
    ("audio",): np.array([[2.0, 0.0], [0.0, 1.5], [1.0, 0.2]]),
    ("video",): np.array([[0.3, 0.0], [0.4, 0.1], [0.0, 0.5]]),
    ("audio", "video"): np.array([[3.0, -0.5], [0.1, 2.0], [0.9, 0.1]]),
}


def fused_scores(table: dict[tuple[str, ...], np.ndarray], target: str = "mood") -> Any:
    def scores_of(modalities: Sequence[str]) -> dict[str, torch.Tensor]:
        return {target: tensor(table[tuple(modalities)])}

    return scores_of


def log_likelihood(share: np.ndarray, rows: Sequence[int] = (0, 1, 2)) -> float:
    return float(np.mean([np.log(softmax(share)[row, MOODS[row]]) for row in rows]))


# agm: Li 2023


def test_agm_slows_the_modality_that_is_further_ahead_than_it_usually_is():
    balancer = balancer_of("agm", ("audio", "video"), ("mood",), alpha=0.7)
    step = step_of(
        {"mood": MOODS},
        fused={"mood": F["audio", "video"]},
        present={"audio": [True] * 3, "video": [True] * 3},
        scores_of=fused_scores(F),
    )
    phi = {
        "audio": 0.5 * (F["audio", "video"] - F[("video",)]) + 0.5 * F[("audio",)],
        "video": 0.5 * (F["audio", "video"] - F[("audio",)]) + 0.5 * F[("video",)],
    }
    exact(phi["audio"] + phi["video"], F["audio", "video"])
    s = {name: log_likelihood(share) for name, share in phi.items()}
    r = {"audio": np.exp(s["audio"] - s["video"]), "video": np.exp(s["video"] - s["audio"])}
    assert r["audio"] > 1 > r["video"]

    first = balancer.gradient_scales({}, step)
    exact(first["audio"].scale, np.exp(-0.7 * (r["audio"] - 1.0)))  # nothing is usual yet: tau = 1
    exact(first["video"].scale, np.exp(-0.7 * (r["video"] - 1.0)))
    assert first["audio"].scale < 1 < first["video"].scale

    second = balancer.gradient_scales({}, step)  # as usual
    exact([second["audio"].scale, second["video"].scale], [1.0, 1.0])

    swapped = {("audio",): F[("video",)], ("video",): F[("audio",)], ("audio", "video"): F["audio", "video"]}
    other = step_of(
        {"mood": MOODS},
        fused={"mood": F["audio", "video"]},
        present={"audio": [True] * 3, "video": [True] * 3},
        scores_of=fused_scores(swapped),
    )
    third = balancer.gradient_scales({}, other)
    exact(third["audio"].scale, np.exp(-0.7 * (r["video"] - r["audio"])))  # tau is that of two equal steps
    fourth = balancer.gradient_scales({}, other)
    mean = {"audio": (2 * s["audio"] + s["video"]) / 3, "video": (2 * s["video"] + s["audio"]) / 3}
    exact(fourth["audio"].scale, np.exp(-0.7 * (r["video"] - np.exp(mean["audio"] - mean["video"]))))


def test_agm_shares_the_scores_of_three_modalities_by_shapley_and_compares_with_the_mean_of_the_others():
    rng = np.random.default_rng(3)
    names = ("a", "b", "c")
    table = {
        subset: rng.normal(size=(3, 2))
        for subset in [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), names]
    }
    balancer = balancer_of("agm", names, ("mood",), alpha=0.5)
    present = {"a": [True, True, False], "b": [True] * 3, "c": [True] * 3}
    step = step_of({"mood": MOODS}, fused={"mood": table[names]}, present=present, scores_of=fused_scores(table))

    found = balancer.gradient_scales({}, step)

    def value(*subset: str) -> np.ndarray:
        return table[tuple(sorted(subset))] if subset else np.zeros((3, 2))

    s = {}
    for m in names:
        x, y = (other for other in names if other != m)
        phi = (value(m) - value()) / 3 + (value(x, m) - value(x) + value(y, m) - value(y)) / 6
        phi = phi + (value(*names) - value(x, y)) / 3
        s[m] = log_likelihood(phi, (0, 1) if m == "a" else (0, 1, 2))
    for m in names:
        x, y = (s[other] for other in names if other != m)
        exact(found[m].scale, np.exp(-0.5 * (np.exp(((s[m] - x) + (s[m] - y)) / 2) - 1)))


def test_agm_reads_numbers_leaves_an_absent_modality_alone_and_bounds_the_exponent():
    ages = [1.0, 2.0, 3.0]
    table = {
        ("audio",): np.array([[1.0], [2.0], [3.0]]),
        ("video",): np.zeros((3, 1)),
        ("audio", "video"): np.array([[1.0], [2.5], [3.0]]),
    }
    options = {"fused": {"age": table["audio", "video"]}, "scores_of": fused_scores(table, "age")}
    both = {"audio": [True] * 3, "video": [True] * 3}
    balancer = balancer_of("agm", ("audio", "video"), ("age",), alpha=0.1)
    found = balancer.gradient_scales({}, step_of({"age": ages}, present=both, **options))
    audio = -np.mean((np.array([1.0, 2.25, 3.0]) - ages) ** 2)  # phi = (F(av) - F(v) + F(a)) / 2
    video = -np.mean((np.array([0.0, 0.25, 0.0]) - ages) ** 2)
    exact(found["audio"].scale, np.exp(-0.1 * (np.exp(audio - video) - 1)))

    before = balancer.mean.clone()
    one = {"audio": [False] * 3, "video": [True] * 3}
    alone = balancer.gradient_scales({}, step_of({"age": ages}, present=one, **options))
    exact([alone["audio"].scale, balancer.mean[0]], [1.0, before[0]])
    balancer.mean.copy_(tensor([50.0, 0.0]))  # usually far ahead
    behind = balancer.gradient_scales({}, step_of({"age": ages}, present=both, **options))
    exact(behind["audio"].scale, np.exp(0.1 * 10))
    single = balancer_of("agm", ("audio",), ("age",))
    assert single.gradient_scales({}, step_of({"age": ages}, **options)) == {}


# pmr: Fan 2023

A0 = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])  # features of the first epoch
V0 = np.array([[1.0], [0.2], [0.4]])
A1 = np.array([[0.2, 0.1], [2.0, 3.0], [0.5, 0.3]])
V1 = np.array([[0.4], [0.6], [0.9]])


def prototypes(features: np.ndarray) -> np.ndarray:
    return np.stack([features[[0, 2]].mean(axis=0), features[1]])


def guesses(features: np.ndarray, centres: np.ndarray) -> tuple[float, float, float]:
    distance = np.linalg.norm(features[:, None] - centres[None], axis=2)
    p = softmax(-distance)
    truth = p[np.arange(3), MOODS]
    return truth.mean(), -np.log(truth).mean(), -(p * np.log(p)).sum(axis=1).mean()


def pmr_step(audio: Any, video: Any, epoch: int, **options: Any) -> Any:
    fused = {"mood": np.zeros((3, 2))}
    return step_of({"mood": MOODS}, fused=fused, features={"audio": audio, "video": video}, epoch=epoch, **options)


def test_pmr_draws_the_lagging_modality_to_its_prototypes_and_raises_the_entropy_of_the_leading_one():
    balancer = balancer_of("pmr", ("audio", "video"), ("mood",), alpha=0.8, mu=0.3, momentum=0.25, entropy_epochs=2)
    terms = terms_of(fused__mood=2.0, audio__mood=5.0)
    assert numbers(balancer.weigh(terms, pmr_step(A0, V0, 0))) == {"fused/mood": 2.0}  # no prototypes yet

    features = tensor(V1).requires_grad_()
    weighted = balancer.weigh(terms, pmr_step(A1, features, 1))

    likely_a, loss_a, entropy_a = guesses(A1, prototypes(A0))
    likely_v, loss_v, _ = guesses(V1, prototypes(V0))
    assert likely_a > likely_v
    beta = min(1.0, likely_a / likely_v - 1)
    assert 0 < beta < 1
    expected = {"fused/mood": 2.0, "prototype/audio": -0.3 * beta * entropy_a, "prototype/video": 0.8 * beta * loss_v}
    assert numbers(weighted) == pytest.approx(expected, abs=1e-12)
    weighted["prototype/video"].backward()
    assert features.grad.abs().max() > 0

    late = balancer.weigh(terms, pmr_step(A1, V1, 2))  # the entropy's epochs are over, the prototypes moved on
    moved_a = 0.75 * prototypes(A1) + 0.25 * prototypes(A0)
    moved_v = 0.75 * prototypes(V1) + 0.25 * prototypes(V0)
    lags = [guesses(A1, moved_a)[0], guesses(V1, moved_v)[0]]
    beta = [min(1.0, max(lags) / lag - 1) for lag in lags]
    expected = {
        "fused/mood": 2.0,
        "prototype/audio": 0.8 * beta[0] * guesses(A1, moved_a)[1],
        "prototype/video": 0.8 * beta[1] * guesses(V1, moved_v)[1],
    }
    assert numbers(late) == pytest.approx(expected, abs=1e-12)
    assert loss_a > 0


def test_pmr_turns_round_counts_what_is_present_and_does_not_know_a_class_it_never_saw():
    balancer = balancer_of("pmr", ("audio", "video"), ("mood",), alpha=1.0, mu=0.0, unimodal_weight=0.5)
    here = {"audio": [True, True, False], "video": [True, True, True]}
    balancer.weigh(terms_of(fused__mood=1.0), pmr_step(V0 * [1.0, 2.0], A0[:, :1], 0, present=here))
    terms = terms_of(fused__mood=1.0, video__mood=4.0)
    weighted = balancer.weigh(terms, pmr_step(V1 * [1.0, 2.0], A1[:, :1], 1, present=here))

    audio, seen = V1 * [1.0, 2.0], (V0 * [1.0, 2.0])[[0, 1]]  # sample 2 lacks audio
    p = softmax(-np.linalg.norm(audio[:2, None] - seen[None], axis=2))[[0, 1], [0, 1]]
    likely_v = guesses(A1[:, :1], prototypes(A0[:, :1]))[0]
    assert p.mean() < likely_v
    beta = min(1.0, likely_v / p.mean() - 1)
    expected = {"prototype/audio": beta * -np.log(p).mean(), "prototype/video": 0.0, "video/mood": 2.0}
    assert numbers(weighted) == pytest.approx({"fused/mood": 1.0, **expected}, abs=1e-12)

    fresh = balancer_of("pmr", ("audio", "video"), ("mood",))
    only_first = step_of({"mood": [0, 0, 0]}, fused={"mood": np.zeros((3, 2))}, features={"audio": A0, "video": V0})
    fresh.weigh(terms, only_first)
    one_class = fresh.weigh(terms, pmr_step(A1, V1, 1))  # sample 1 has a class without a prototype: it does not count
    assert numbers(one_class) == pytest.approx(
        {"fused/mood": 1.0, "prototype/audio": 0.0, "prototype/video": 0.0}, abs=1e-12
    )


def test_pmr_needs_classes_leaves_uni_modal_stages_alone_and_carries_its_prototypes_in_its_state():
    balancer = balancer_of("pmr", ("audio", "video"), ("mood",), mu=0.0)
    terms = terms_of(audio__mood=5.0)
    assert balancer.weigh(terms, pmr_step(A0, V0, 0)) == terms
    balancer.weigh(terms_of(fused__mood=2.0), pmr_step(A0, V0, 0))
    resumed = balancer_of("pmr", ("audio", "video"), ("mood",), mu=0.0)
    resumed.load_state_dict(balancer.state_dict())
    both = [b.weigh(terms_of(fused__mood=2.0), pmr_step(A1, V1, 1)) for b in (balancer, resumed)]
    assert numbers(both[0]) == numbers(both[1])
    assert len(both[0]) == 3
    ages = step_of({"mood": [1.0, 2.0]}, fused={"mood": np.zeros((2, 1))}, features={"audio": A0[:2], "video": V0[:2]})
    with pytest.raises(TrainingError, match="pmr: prototypes belong to classes"):
        balancer.weigh(terms_of(fused__mood=2.0), ages)


# umt: Du 2023


def test_umt_draws_the_features_of_present_samples_to_the_teachers():
    features = {"audio": tensor(A1).requires_grad_(), "video": tensor(V1).requires_grad_()}
    present = {"audio": [True, False, True], "video": [True] * 3}
    step = step_of({"mood": MOODS}, features=features, present=present, teacher={"audio": A0, "video": V0})
    terms = terms_of(fused__mood=2.0, audio__mood=5.0)
    balancer = balancer_of("umt", ("audio", "video"), ("mood",), weight=0.7)

    weighted = balancer.weigh(terms, step)

    expected = {
        "fused/mood": 2.0,
        "teacher/audio": 0.7 * np.mean(((A1 - A0) ** 2)[[0, 2]]),
        "teacher/video": 0.7 * np.mean((V1 - V0) ** 2),
    }
    assert balancer.teachers == ("audio", "video")
    assert numbers(weighted) == pytest.approx(expected, abs=1e-12)
    weighted["teacher/audio"].backward()
    exact(features["audio"].grad, 0.7 * 2 * (A1 - A0) * [[1], [0], [1]] / 4)


def test_umt_keeps_uni_modal_losses_where_it_is_asked_to_or_nothing_else_is_there():
    step = step_of({"mood": MOODS}, features={"audio": A1, "video": V1}, teacher={"audio": A0, "video": V0})
    terms = terms_of(fused__mood=2.0, audio__mood=5.0)
    balancer = balancer_of("umt", ("audio", "video"), ("mood",), unimodal_weight=0.1)
    assert numbers(balancer.weigh(terms, step)) == pytest.approx({"fused/mood": 2.0, "audio/mood": 0.5}, abs=1e-12)
    alone = balancer_of("umt", ("audio", "video"), ("mood",)).weigh(terms_of(audio__mood=5.0), step)
    assert numbers(alone) == {"audio/mood": 5.0}


# opm: Wei 2024


def test_opm_drops_the_leading_modality_at_a_rate_that_grows_with_its_lead():
    rows = {"audio": 0.8, "video": 0.5, "text": 0.2}
    balancer = balancer_of("opm", tuple(rows), ("mood",))
    rho = {name: score / np.mean([o for k, o in rows.items() if k != name]) for name, score in rows.items()}
    expected = [0.5 * (1 + 0.5 * np.tanh(r - 1)) if r > 1 else 0.0 for r in rho.values()]
    assert rho["audio"] > 1 >= rho["video"] > rho["text"]
    exact(balancer.rates(tensor(list(rows.values()))), expected)
    exact(balancer.rates(tensor([np.nan, 0.6, 0.4])), [0.0, 0.5 * (1 + 0.5 * np.tanh(0.5)), 0.0])
    exact(balancer.rates(tensor([np.nan, 0.6, np.nan])), [0.0, 0.0, 0.0])
    sure = balancer_of("opm", ("audio", "video"), ("mood",), base=0.9, strength=3.0)
    exact(sure.rates(tensor([0.9, 0.1])), [1.0, 0.0])


def test_opm_drops_by_the_scores_of_the_last_step_and_rescales_what_is_left():
    strong, weak = [[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]], [[0.1, 0.0], [0.0, 0.1], [0.1, 0.0]]
    unimodal = {"audio": {"mood": strong}, "video": {"mood": weak}}
    features = {"audio": torch.ones(400, 3), "video": torch.ones(400, 1)}
    present = {"audio": torch.arange(400) >= 0, "video": torch.arange(400) % 2 == 0}
    balancer = balancer_of("opm", ("audio", "video"), ("mood",), execute=1.0, starts=2)

    nothing_known = balancer.replace_features(features, present, step_of({"mood": MOODS}, epoch=2))
    assert all(torch.equal(nothing_known[1][name], present[name]) for name in present)
    balancer.weigh({}, step_of({"mood": MOODS}, unimodal=unimodal))
    early = balancer.replace_features(features, present, step_of({"mood": MOODS}, epoch=1))
    assert early[0] is features

    torch.manual_seed(1)
    scaled, kept = balancer.replace_features(features, present, step_of({"mood": MOODS}, epoch=2))
    torch.manual_seed(1)
    torch.rand(())
    p = softmax(strong)[0, 0] / softmax(weak)[0, 0]
    q = 0.5 * (1 + 0.5 * np.tanh(p - 1))
    drawn = torch.rand(400).numpy() >= q
    only = ~present["video"].numpy()
    np.testing.assert_array_equal(kept["audio"].numpy(), drawn | only)
    assert torch.equal(kept["video"], present["video"])
    theta = 3 * q / 4
    for name in features:
        np.testing.assert_allclose(scaled[name].numpy(), 1 / (1 - theta), rtol=1e-6)


def test_opm_acts_in_its_share_of_the_steps():
    balancer = balancer_of("opm", ("audio", "video"), ("mood",), execute=0.7, starts=0)
    balancer.scores.copy_(tensor([0.9, 0.1]))
    features = {"audio": torch.ones(2, 1), "video": torch.ones(2, 1)}
    present = {name: torch.ones(2, dtype=torch.bool) for name in features}
    acted = [
        balancer.replace_features(features, present, step_of({"mood": MOODS}))[0] is not features for _ in range(500)
    ]
    assert np.mean(acted) == pytest.approx(0.7, abs=0.06)
