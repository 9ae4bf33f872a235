"""Balancers of the literature against their papers' equations, worked out by hand in NumPy, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from balancer_steps import balancer_of, numbers, softmax, step_of, tensor, terms_of

from fusionkit.errors import RecipeError, TrainingError
from fusionkit.interfaces import Step

approx = pytest.approx
EXACT = {"abs": 1e-12, "rel": 0}
NOTHING = Step(0, 0, 1, None, {}, ())
AUDIO = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.3]])
VIDEO = np.array([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.4], [0.0, 0.0, 0.5]])
MOODS = [0, 1, 0, 2]


# uncertainty: Kendall 2018


def test_uncertainty_divides_classes_by_the_variance_and_numbers_by_twice_it():
    balancer = balancer_of("uncertainty", ("audio",), ("mood", "age"))
    s = {"fused/mood": 0.4, "fused/age": -0.7, "audio/mood": 1.1, "audio/age": 0.2}
    with torch.no_grad():
        balancer.log_variances.copy_(tensor([s[name] for name in balancer.terms]))
    step = step_of({"mood": [0, 1], "age": [1.5, 2.5]})
    losses = {"fused/mood": 2.0, "fused/age": 3.0, "audio/mood": 0.5, "audio/age": 7.0}

    weighted = balancer.weigh(terms_of(**{name.replace("/", "__"): loss for name, loss in losses.items()}), step)

    sigma2 = {name: np.exp(value) for name, value in s.items()}
    expected = {
        name: loss / sigma2[name] / (2 if name.endswith("age") else 1) + np.log(np.sqrt(sigma2[name]))
        for name, loss in losses.items()
    }
    assert numbers(weighted) == approx(expected, **EXACT)
    sum(weighted.values()).backward()
    slopes = [-losses[n] / sigma2[n] / (2 if n.endswith("age") else 1) + 0.5 for n in balancer.terms]
    np.testing.assert_allclose(balancer.log_variances.grad.numpy(), slopes, atol=1e-12)


def test_uncertainty_starts_as_the_plain_sum_of_classes_and_settles_where_every_term_weighs_half():
    balancer = balancer_of("uncertainty", ("audio",), ("mood",))
    step = step_of({"mood": [0, 1]})
    assert numbers(balancer.weigh(terms_of(fused__mood=2.0, audio__mood=0.1), step)) == approx(
        {"fused/mood": 2.0, "audio/mood": 0.1}, **EXACT
    )
    with torch.no_grad():
        balancer.log_variances.copy_(tensor(np.log([2 * 2.0, 2 * 0.1])))
    sum(balancer.weigh(terms_of(fused__mood=2.0, audio__mood=0.1), step).values()).backward()
    np.testing.assert_allclose(balancer.log_variances.grad.numpy(), 0.0, atol=1e-12)


def test_uncertainty_learns_nothing_from_a_term_without_samples():
    balancer = balancer_of("uncertainty", ("audio",), ("mood",))
    sum(balancer.weigh(terms_of(fused__mood=2.0, audio__mood=0.0), step_of({"mood": [0]})).values()).backward()
    np.testing.assert_allclose(balancer.log_variances.grad.numpy(), [-2.0 + 0.5, 0.0], atol=1e-12)


def test_uncertainty_is_told_what_a_target_is_where_it_cannot_see_it():
    balancer = balancer_of("uncertainty", ("audio",), ("labels",), kinds={"labels": "classes"})
    weighted = balancer.weigh(terms_of(fused__labels=3.0), step_of({"labels": [[0.0, 1.0]]}))
    assert numbers(weighted) == approx({"fused/labels": 3.0}, **EXACT)
    with pytest.raises(RecipeError, match=r"kinds.label: no target; did you mean 'labels'"):
        balancer_of("uncertainty", ("audio",), ("labels",), kinds={"label": "classes"})


# ogm_ge: Peng 2022


def probability(scores: np.ndarray, rows: list[int] | None = None) -> float:
    rows = list(range(len(MOODS))) if rows is None else rows
    return float(np.mean([softmax(scores)[row, MOODS[row]] for row in rows]))


def test_ogm_ge_slows_the_dominating_modality_and_leaves_the_dominated_one():
    step = step_of({"mood": MOODS}, unimodal={"audio": {"mood": AUDIO}, "video": {"mood": VIDEO}})
    scales = balancer_of("ogm_ge", ("audio", "video"), ("mood",), alpha=0.3).gradient_scales({}, step)

    rho = probability(AUDIO) / probability(VIDEO)
    assert rho > 1
    assert scales["audio"].scale.item() == approx(1 - np.tanh(0.3 * rho), **EXACT)
    assert scales["video"].scale.item() == 1.0
    assert (scales["audio"].noise, scales["video"].noise) == (1.0, 1.0)


def test_ogm_ge_turns_round_when_the_other_modality_leads_and_is_silent_out_of_its_epochs():
    swapped = {"audio": {"mood": VIDEO}, "video": {"mood": AUDIO}}
    balancer = balancer_of("ogm_ge", ("audio", "video"), ("mood",), noise=False, starts=2, ends=3)
    scales = balancer.gradient_scales({}, step_of({"mood": MOODS}, unimodal=swapped, epoch=2))
    rho = probability(AUDIO) / probability(VIDEO)
    assert scales["video"].scale.item() == approx(1 - np.tanh(0.8 * rho), **EXACT)
    assert (scales["audio"].scale.item(), scales["audio"].noise) == (1.0, 0.0)
    for epoch in (1, 4):
        assert balancer.gradient_scales({}, step_of({"mood": MOODS}, unimodal=swapped, epoch=epoch)) == {}
    assert balancer.gradient_scales({}, step_of({"mood": MOODS}, unimodal=swapped, epoch=3)) != {}


def test_ogm_ge_compares_each_of_three_modalities_with_the_mean_of_the_others_that_are_present():
    text = np.array([[0.0, 1.0, 0.0]] * 4)
    unimodal = {"audio": {"mood": AUDIO}, "video": {"mood": VIDEO}, "text": {"mood": text}}
    balancer = balancer_of("ogm_ge", ("audio", "video", "text"), ("mood",), alpha=0.5)
    present = {"audio": [True, False, True, True]}

    scales = balancer.gradient_scales({}, step_of({"mood": MOODS}, unimodal=unimodal, present=present))

    s = {"audio": probability(AUDIO, [0, 2, 3]), "video": probability(VIDEO), "text": probability(text)}
    for name, score in s.items():
        rho = score / np.mean([other for key, other in s.items() if key != name])
        assert scales[name].scale.item() == approx(1 - np.tanh(0.5 * rho) if rho > 1 else 1.0, **EXACT)
    nobody = {"audio": [False] * 4, "text": [False] * 4}
    assert balancer.gradient_scales({}, step_of({"mood": MOODS}, unimodal=unimodal, present=nobody)) == {}


def test_ogm_ge_reads_numbers_by_their_likelihood_and_averages_targets():
    ages, near, far = [1.0, 2.0, 3.0, 4.0], [[1.1], [2.0], [2.5], [4.0]], [[2.0], [1.0], [2.0], [5.0]]
    unimodal = {"audio": {"mood": AUDIO, "age": far}, "video": {"mood": VIDEO, "age": near}}
    balancer = balancer_of("ogm_ge", ("audio", "video"), ("mood", "age"))

    scales = balancer.gradient_scales({}, step_of({"mood": MOODS, "age": ages}, unimodal=unimodal))

    likely = {
        "audio": (probability(AUDIO) + np.exp(-1.0)) / 2,
        "video": (probability(VIDEO) + np.mean(np.exp([-0.01, 0.0, -0.25, 0.0]))) / 2,
    }
    rho = likely["video"] / likely["audio"]
    assert rho > 1
    assert scales["video"].scale.item() == approx(1 - np.tanh(0.8 * rho), **EXACT)
    assert scales["audio"].scale.item() == 1.0


@pytest.mark.parametrize("name", ["ogm_ge", "opm"])
def test_without_uni_modal_scores_nothing_is_compared_and_the_user_is_told(name):
    features = {m: torch.zeros(4, 2, requires_grad=True) for m in ("audio", "video")}
    balancer = balancer_of(name, ("audio", "video"), ("mood",))
    step = step_of({"mood": MOODS}, features=features)
    with pytest.raises(TrainingError, match=rf"{name}: it compares uni-modal scores; set model.unimodal_heads: true"):
        balancer.weigh({}, step) if name == "opm" else balancer.gradient_scales({}, step)


# modality_dropout: Neverova 2016


def test_modality_dropout_makes_modalities_absent_at_their_rates_but_never_all_of_a_sample():
    balancer = balancer_of("modality_dropout", ("audio", "video"), ("mood",), rate=0.3, rates={"video": 0.6})
    batch = 2000
    present = {"audio": torch.arange(batch) % 4 != 0, "video": torch.arange(batch) % 4 != 1}
    features = {"audio": torch.ones(batch, 2)}

    torch.manual_seed(5)
    same, kept = balancer.replace_features(features, present, NOTHING)

    assert same is features
    torch.manual_seed(5)
    delta = {"audio": torch.rand(batch).numpy() >= 0.3, "video": torch.rand(batch).numpy() >= 0.6}
    had = {name: here.numpy() for name, here in present.items()}
    drawn = {name: had[name] & delta[name] for name in had}
    lost_all = ~(drawn["audio"] | drawn["video"])
    for name, here in had.items():
        np.testing.assert_array_equal(kept[name].numpy(), np.where(lost_all, here, drawn[name]))
    both = had["audio"] & had["video"]
    assert np.mean(~kept["audio"].numpy()[both]) == approx(0.3 * 0.4, abs=0.03)
    assert np.mean(~kept["video"].numpy()[both]) == approx(0.6 * 0.7, abs=0.03)


def test_modality_dropout_at_rate_zero_and_with_one_modality_drops_nothing():
    present = {"audio": torch.tensor([True, False, True]), "video": torch.tensor([True, True, True])}
    balancer = balancer_of("modality_dropout", ("audio", "video"), ("mood",), rate=0.0)
    assert all(torch.equal(kept, present[n]) for n, kept in balancer.replace_features({}, present, NOTHING)[1].items())
    alone = balancer_of("modality_dropout", ("audio",), ("mood",), rate=0.9)
    _, kept = alone.replace_features({}, {"audio": present["audio"]}, NOTHING)
    assert torch.equal(kept["audio"], present["audio"])
    with pytest.raises(RecipeError, match=r"rates.vidoe: no modality; did you mean 'video'"):
        balancer_of("modality_dropout", ("audio", "video"), ("mood",), rates={"vidoe": 0.1})


# g_blend: Wang 2020


def test_g_blend_weighs_branches_by_generalisation_over_squared_overfitting():
    losses = {
        "fused": {"training": [2.0, 0.5], "validation": [2.1, 1.1]},  # dG = 1.0, dO = 0.6 - 0.1 = 0.5
        "audio": {"training": [2.0, 1.0], "validation": [2.2, 1.6]},  # dG = 0.6, dO = 0.6 - 0.2 = 0.4
        "video": {"training": [2.0, 0.2], "validation": [2.2, 2.4]},  # dG = -0.2: it does not generalise
    }
    balancer = balancer_of("g_blend", ("audio", "video"), ("mood", "age"), losses=losses)

    ratios = {"fused": 1.0 / 0.5**2, "audio": 0.6 / 0.4**2, "video": 0.0}
    weights = {name: ratio / sum(ratios.values()) for name, ratio in ratios.items()}
    assert balancer.weights == approx(weights, **EXACT)
    terms = terms_of(fused__mood=1.0, fused__age=2.0, audio__mood=3.0, video__age=5.0)
    assert numbers(balancer.weigh(terms, NOTHING)) == approx(
        {
            "fused/mood": weights["fused"],
            "fused/age": 2 * weights["fused"],
            "audio/mood": 3 * weights["audio"],
            "video/age": 0.0,
        },
        **EXACT,
    )


def test_g_blend_gives_the_branch_with_the_lower_validation_loss_more_weight():
    def weight(validation: float) -> float:
        losses = {
            "fused": {"training": [2.0, 1.0], "validation": [2.2, 1.5]},
            "audio": {"training": [2.0, 1.0], "validation": [2.2, validation]},
        }
        return float(balancer_of("g_blend", ("audio",), ("mood",), losses=losses).weights["audio"])

    assert weight(1.4) > weight(1.5) > weight(1.6) > weight(2.0)
    assert weight(1.5) == approx(0.5, **EXACT)


def test_g_blend_takes_weights_as_they_are_and_refuses_what_it_cannot_estimate():
    ok = {"training": [2.0, 1.0], "validation": [2.2, 1.5]}
    given = balancer_of("g_blend", ("audio",), ("mood",), weights={"fused": 2.0, "audio": 0.5})
    assert given.weights == {"fused": 2.0, "audio": 0.5}
    with pytest.raises(RecipeError, match="give either `losses`"):
        balancer_of("g_blend", ("audio",), ("mood",))
    with pytest.raises(RecipeError, match=r"losses.audio: missing") as caught:
        balancer_of("g_blend", ("audio",), ("mood",), losses={"fused": ok, "adio": ok})
    assert "losses.adio: no branch; did you mean 'audio'" in str(caught.value)
    still = {"training": [2.0, 1.0], "validation": [2.5, 1.5]}
    with pytest.raises(RecipeError, match="the gap between validation and training did not change"):
        balancer_of("g_blend", ("audio",), ("mood",), losses={"fused": ok, "audio": still})
    worse = {"training": [2.0, 1.0], "validation": [2.2, 2.3]}
    with pytest.raises(RecipeError, match="no branch's validation loss fell"):
        balancer_of("g_blend", ("audio",), ("mood",), losses={"fused": worse, "audio": worse})
