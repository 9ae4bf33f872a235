"""Balancers that merge gradients, against their papers' equations in NumPy and through one step of training."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from balancer_steps import balancer_of, exact, step_of, tensor, terms_of
from scipy.optimize import minimize
from test_balancer_hooks import MODALITIES, Case, of

from fusionkit.errors import RecipeError
from fusionkit.interfaces import Step

NOTHING = Step(0, 0, 1, None, {}, ())
FUSED, OWN = np.array([1.0, 2.0, -0.5]), np.array([-2.0, 0.25, 1.0])  # they conflict
FRIEND = np.array([2.0, 0.0, -1.0])  # agrees with FUSED


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def merged(name: str, columns: dict[str, list[Any]], **options: Any) -> list[np.ndarray | None]:
    """What a balancer makes of gradients, given per term and parameter."""
    balancer = balancer_of(name, ("audio", "video"), ("mood",), **options)
    assert balancer.plan(NOTHING).separate_gradients
    given = {term: [None if g is None else tensor(g) for g in column] for term, column in columns.items()}
    return [None if g is None else g.numpy() for g in balancer.combine(given, NOTHING)]


def blocks(case: Case, gradients: dict[str, torch.Tensor], modality: str) -> tuple[list[str], np.ndarray]:
    """A modality's encoder: the parameters that its own and the fused loss share, as one vector."""
    names = [name for name in gradients if of(modality, name) and ".heads." not in name]
    return names, np.concatenate([gradients[name].numpy().ravel() for name in names])


# mmpareto: Wei 2024


def mmpareto(fused: np.ndarray, own: np.ndarray, gamma: float) -> np.ndarray:
    """The paper's rule, with the minimum norm found on a fine grid and refined, not by the closed form."""
    if fused @ own > 0:
        return gamma * (fused + own)
    weights = minimize(lambda a: np.sum((a[0] * fused + (1 - a[0]) * own) ** 2), [0.5], bounds=[(0, 1)], tol=1e-16).x[0]
    direction = 2 * weights * fused + 2 * (1 - weights) * own
    return gamma * max(1.0, np.linalg.norm(fused + own) / np.linalg.norm(direction)) * direction


def test_mmpareto_sums_what_agrees_and_takes_the_shortest_vector_of_what_conflicts():
    assert FUSED @ OWN < 0 < FUSED @ FRIEND
    found = merged("mmpareto", {"fused": [FUSED, FUSED], "audio": [OWN, None], "video": [None, FRIEND]})

    exact(found[1], 1.5 * (FUSED + FRIEND))
    np.testing.assert_allclose(found[0], mmpareto(FUSED, OWN, 1.5), atol=1e-6)
    # by hand: dot = -2, |f|^2 = 5.25, |u|^2 = 5.0625, a = (5.0625 + 2) / (5.25 + 5.0625 + 4)
    share = 7.0625 / 14.3125
    direction = 2 * share * FUSED + 2 * (1 - share) * OWN
    exact(found[0], 1.5 * max(1.0, np.linalg.norm(FUSED + OWN) / np.linalg.norm(direction)) * direction)
    exact(FUSED @ direction, OWN @ direction)  # the shortest vector serves both alike
    assert FUSED @ found[0] > 0 < OWN @ found[0]


def test_mmpareto_lengthens_the_shortest_vector_to_the_length_of_the_sum():
    long, short = np.array([10.0, 0.0]), np.array([-0.1, 0.2])
    found = merged("mmpareto", {"fused": [long], "audio": [short]}, gamma=1.0)[0]
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(long + short), abs=1e-12)
    assert np.linalg.norm(long + short) > 5 * np.linalg.norm(2 * short)  # else nothing was to lengthen
    np.testing.assert_allclose(found, mmpareto(long, short, 1.0), atol=1e-5)


def test_mmpareto_counts_a_right_angle_as_conflict_rests_between_opposites_and_keeps_other_gradients():
    right = merged("mmpareto", {"fused": [np.array([2.0, 0.0])], "audio": [np.array([0.0, 1.0])]}, gamma=1.0)[0]
    direction = 2 * 0.2 * np.array([2.0, 0.0]) + 2 * 0.8 * np.array([0.0, 1.0])
    exact(right, direction * max(1.0, np.sqrt(5) / np.linalg.norm(direction)))
    exact(merged("mmpareto", {"fused": [FUSED], "audio": [-3 * FUSED]})[0], np.zeros(3))
    head, fusion, nothing = merged("mmpareto", {"fused": [None, FUSED, None], "audio": [OWN, None, None]})
    exact(head, OWN)
    exact(fusion, FUSED)
    assert nothing is None


def test_mmpareto_takes_a_zero_gradient_for_no_information():
    exact(merged("mmpareto", {"fused": [FUSED], "audio": [np.zeros(3)]}, gamma=1.0)[0], np.zeros(3))


def test_mmpareto_treats_the_encoder_as_one_vector_and_sums_targets(case: Case):
    found, _, _ = case.step(balancer_of("mmpareto", MODALITIES, ("label",)))

    fused, plain = (case.gradients(lambda t, _, n=name: t[n]) for name in ("fused/label", "posture/label"))
    _, vector = blocks(case, fused, "posture")
    _, own = blocks(case, plain, "posture")
    _, moved = blocks(case, found, "posture")
    np.testing.assert_allclose(moved, mmpareto(vector, own, 1.5), atol=1e-5 * np.linalg.norm(moved))
    for name in found:
        if name.startswith("branches.posture.heads"):
            exact(found[name], plain[name])
        if not name.startswith("branches."):
            exact(found[name], fused[name])


# pcgrad: Yu 2020


def pcgrad(gradients: list[np.ndarray], orders: list[list[int]]) -> np.ndarray:
    total = np.zeros_like(gradients[0])
    for place, order in enumerate(orders):
        own = gradients[place].copy()
        for other in order:
            if other != place and own @ gradients[other] < 0:
                own -= own @ gradients[other] / (gradients[other] @ gradients[other]) * gradients[other]
        total += own
    return total


def test_pcgrad_projects_two_conflicting_gradients_and_sums_agreeing_ones():
    found = merged("pcgrad", {"fused/mood": [FUSED, FUSED], "audio/mood": [OWN, None], "video/mood": [None, FRIEND]})

    by_hand = FUSED - (-2.0 / 5.0625) * OWN + OWN - (-2.0 / 5.25) * FUSED
    exact(found[0], by_hand)
    exact(found[1], FUSED + FRIEND)


def test_pcgrad_visits_three_gradients_in_the_order_of_the_steps_seed():
    given = [FUSED, OWN, np.array([0.5, -2.0, 0.1])]
    results = []
    for seed in range(6):
        torch.manual_seed(seed)
        orders = [torch.randperm(3).tolist() for _ in given]
        torch.manual_seed(seed)
        found = merged("pcgrad", {f"{n}/mood": [g] for n, g in zip(("fused", "audio", "video"), given, strict=True)})
        exact(found[0], pcgrad(given, orders))
        results.append(found[0])
    assert any(not np.allclose(one, other) for one, other in itertools.pairwise(results))


def test_pcgrad_changes_only_the_encoders(case: Case):
    found, _, _ = case.step(balancer_of("pcgrad", MODALITIES, ("label",)))

    fused, own = (case.gradients(lambda t, _, n=name: t[n]) for name in ("fused/label", "posture/label"))
    _, vector = blocks(case, fused, "posture")
    _, other = blocks(case, own, "posture")
    exact(blocks(case, found, "posture")[1], pcgrad([vector, other], [[1], [0]]))
    for name in (name for name in found if ".heads." in name or not name.startswith("branches.")):
        if not of("motion", name):
            exact(found[name], fused[name] + own[name])


# cagrad: Liu 2021


def cagrad(gradients: list[np.ndarray], c: float) -> np.ndarray:
    """The paper's dual by a general solver."""
    stack, count = np.stack(gradients), len(gradients)
    mean = stack.mean(axis=0)
    radius = c * np.linalg.norm(mean)
    solved = minimize(
        lambda w: w @ stack @ mean + radius * np.sqrt((w @ stack) @ (w @ stack) + 1e-300),
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    worst = solved.x @ stack
    return count * (mean + radius * worst / np.linalg.norm(worst))


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
def test_cagrad_turns_the_mean_towards_the_term_that_gains_least(c: float):
    for given in ([FUSED, OWN], [FUSED, 0.1 * OWN], [FUSED, FRIEND], [FUSED, OWN, np.array([0.5, -2.0, 0.1])]):
        columns = {f"{n}/mood": [g] for n, g in zip(("fused", "audio", "video"), given, strict=False)}
        found = merged("cagrad", columns, c=c)[0]
        np.testing.assert_allclose(found, cagrad(given, c), atol=2e-5)
        mean = np.mean(given, axis=0)
        # the primal: within c |g0| of g0 no direction has a larger smallest gain
        direction = found / len(given)
        assert np.linalg.norm(direction - mean) == pytest.approx(c * np.linalg.norm(mean), abs=1e-12)
        random = np.random.default_rng(0).normal(size=(5000, 3))
        others = mean + c * np.linalg.norm(mean) * random / np.linalg.norm(random, axis=1, keepdims=True)
        assert np.min(np.stack(given) @ direction) >= np.max(np.min(others @ np.stack(given).T, axis=1)) - 1e-9


def test_cagrad_of_two_unit_vectors_at_a_right_angle_is_known_in_closed_form():
    # by symmetry w = (1/2, 1/2) and g_w = g_0, so the direction is (1 + c) g_0, taken twice
    found = merged("cagrad", {"fused/mood": [np.array([1.0, 0.0])], "audio/mood": [np.array([0.0, 1.0])]}, c=0.4)[0]
    exact(found, 2 * 1.4 * np.array([0.5, 0.5]))


def test_cagrad_leaves_what_one_term_reaches_alone():
    head, fusion = merged("cagrad", {"fused/mood": [None, FUSED], "audio/mood": [OWN, None]}, c=0.4)
    exact(head, OWN)
    exact(fusion, FUSED)


def test_cagrad_without_radius_is_the_plain_sum(case: Case):
    found, _, _ = case.step(balancer_of("cagrad", MODALITIES, ("label",), c=0.0))
    plain = case.gradients(lambda terms, _: sum(terms.values()))
    for name in found:
        exact(found[name], plain[name])


# gradnorm: Chen 2018


def gradnorm(weights: Any, norms: Any, losses: Any, first: Any, *, alpha: float = 1.5, lr: float = 0.1) -> np.ndarray:
    """One update of the weights; the slope by a difference quotient of the paper's loss, not by its derivative."""
    weights, norms = np.asarray(weights, dtype=float), np.asarray(norms, dtype=float)
    raw, mean = norms / weights, norms.mean()
    ratio = np.asarray(losses) / np.asarray(first)
    wanted = mean * (ratio / ratio.mean()) ** alpha

    def loss(w: np.ndarray) -> float:
        return float(np.abs(w * raw - wanted).sum() / mean)

    step = 1e-6 * np.eye(len(weights))
    slope = np.array([(loss(weights + d) - loss(weights - d)) / 2e-6 for d in step])
    moved = weights - lr * slope
    return moved * weights.sum() / moved.sum()


def test_gradnorm_moves_weight_from_large_gradients_to_small_ones_and_favours_slow_terms():
    balancer = balancer_of("gradnorm", ("audio", "video"), ("mood",), alpha=1.5, lr=0.05)
    gradients = {"fused/mood": [FUSED, FRIEND], "audio/mood": [OWN, None], "video/mood": [None, 0.1 * FRIEND]}
    weights, first = np.ones(3), np.array([2.0, 1.0, 4.0])
    for losses in (first, np.array([1.0, 0.9, 3.9]), np.array([0.5, 0.9, 1.0])):
        step = step_of({"mood": [0]})
        names = ("fused__mood", "audio__mood", "video__mood")
        weighted = balancer.weigh(terms_of(**dict(zip(names, losses.tolist(), strict=True))), step)
        exact([weighted[name].item() for name in gradients], weights * losses)
        columns = {
            name: [None if g is None else tensor(w * g) for g in column]
            for (name, column), w in zip(gradients.items(), weights, strict=True)
        }
        summed = balancer.combine(columns, step)
        exact(summed[0], weights[0] * FUSED + weights[1] * OWN)
        raw = [np.linalg.norm(np.concatenate([FUSED, FRIEND])), np.linalg.norm(OWN), np.linalg.norm(0.1 * FRIEND)]
        expected = gradnorm(weights, weights * np.array(raw), losses, first, lr=0.05)
        np.testing.assert_allclose(balancer.weights.numpy(), expected, atol=1e-7)
        weights = balancer.weights.numpy().copy()
        assert weights.sum() == pytest.approx(3.0, abs=1e-12)
    exact(balancer.first, first)


def test_gradnorm_lets_a_slow_term_have_the_larger_gradient():
    def after(losses: list[float], alpha: float) -> np.ndarray:
        balancer = balancer_of("gradnorm", ("audio",), ("mood",), alpha=alpha, lr=0.1)
        balancer.first.copy_(tensor([1.0, 1.0]))
        names = ("fused/mood", "audio/mood")
        balancer.balance({n: (tensor(g), tensor(value)) for n, g, value in zip(names, (1.5, 1.0), losses, strict=True)})
        return balancer.weights.numpy()

    assert after([1.0, 1.0], 1.5)[0] < 1.0  # the larger gradient is too large
    assert after([1.0, 0.2], 1.5)[0] > 1.0  # unless its term lags
    assert after([1.0, 0.2], 0.0)[0] < 1.0  # which does not count at alpha = 0


def test_gradnorm_leaves_the_weight_of_a_term_without_samples():
    balancer = balancer_of("gradnorm", ("audio", "video"), ("mood",), lr=0.1)
    names = ("fused/mood", "audio/mood", "video/mood")
    rows = ((3.0, 1.0), (1.0, 1.0), (0.0, 0.0))
    balancer.balance({name: (tensor(norm), tensor(loss)) for name, (norm, loss) in zip(names, rows, strict=True)})
    np.testing.assert_allclose(balancer.weights[:2].numpy(), gradnorm([1, 1], [3, 1], [1, 1], [1, 1]), atol=1e-7)
    assert balancer.weights[2].item() == 1.0
    assert balancer.first.tolist() == [1.0, 1.0, 0.0]


def test_gradnorm_starts_as_the_plain_sum_whose_gradients_it_measures(case: Case):
    balancer = balancer_of("gradnorm", MODALITIES, ("label",), lr=0.1)
    found, outcome, _ = case.step(balancer)
    plain = case.gradients(lambda terms, _: sum(terms.values()))
    for name in found:
        exact(found[name], plain[name])
    fused, *own = (case.gradients(lambda t, _, n=n: t[f"{n}/label"]) for n in ("fused", *MODALITIES))
    vectors = [blocks(case, fused, name)[1] for name in MODALITIES]
    norms = [np.linalg.norm(np.concatenate(vectors))]
    norms += [np.linalg.norm(blocks(case, one, name)[1]) for one, name in zip(own, MODALITIES, strict=True)]
    losses = [outcome.terms[f"{name}/label"] for name in ("fused", *MODALITIES)]
    np.testing.assert_allclose(balancer.weights, gradnorm([1, 1, 1], norms, losses, losses), atol=1e-7)


# dgl: Wei 2025


def test_dgl_lets_the_fused_loss_train_the_fusion_only(case: Case):
    found, _, _ = case.step(balancer_of("dgl", MODALITIES, ("label",)))

    fused = case.gradients(lambda terms, _: terms["fused/label"])
    own = case.gradients(lambda terms, _: terms["motion/label"] + terms["posture/label"])
    for name in found:
        exact(found[name], own[name] if name.startswith("branches.") else fused[name])
    assert any(fused[name].abs().max() > 1e-6 for name in found if name.startswith("branches."))


def test_dgl_leaves_an_encoder_without_its_own_loss_to_the_fused_one():
    found = merged("dgl", {"fused": [FUSED, FUSED, FRIEND], "unimodal": [OWN, None, None]})
    exact(found[0], OWN)
    exact(found[1], FUSED)
    exact(found[2], FRIEND)
    balancer = balancer_of("dgl", ("audio",), ("mood", "age"))
    weighted = balancer.weigh(terms_of(fused__mood=1.0, fused__age=2.0, audio__mood=4.0, audio__age=8.0), NOTHING)
    assert {name: value.item() for name, value in weighted.items()} == {"fused": 3.0, "unimodal": 12.0}


# jacobian_descent: Quinton and Rey 2024


def jacobian_descent(aggregator: str) -> Any:
    pytest.importorskip("torchjd", reason="torchjd is not installed: pip install fusionkit-multimodal[torchjd]")
    if aggregator in ("upgrad", "dualproj"):
        pytest.importorskip("quadprog", reason="quadprog is not installed: pip install fusionkit-multimodal[torchjd]")
    return balancer_of("jacobian_descent", ("audio",), ("mood",), aggregator=aggregator)


def without_conflict(vector: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The nearest vector that does not point against either of two that conflict, where the vector is one of them."""
    return vector - min(0.0, vector @ other) / (other @ other) * other


FIRST, SECOND = np.array([1.0, 0.5, -2.0]), np.array([-1.0, 1.0, 0.5])


def test_jacobian_descent_merges_conflicting_gradients_as_its_aggregators_say():
    assert FIRST @ SECOND < 0
    rows = {"fused": tensor(FIRST), "audio": tensor(SECOND)}
    mean = (without_conflict(FIRST, SECOND) + without_conflict(SECOND, FIRST)) / 2
    np.testing.assert_allclose(jacobian_descent("upgrad").merge(rows), mean, rtol=0, atol=1e-3)  # it regularises
    np.testing.assert_allclose(jacobian_descent("pcgrad").merge(rows), 2 * mean, rtol=0, atol=1e-12)
    share = (SECOND - FIRST) @ SECOND / ((SECOND - FIRST) @ (SECOND - FIRST))
    assert 0 < share < 1
    shortest = share * FIRST + (1 - share) * SECOND
    np.testing.assert_allclose(jacobian_descent("mgda").merge(rows), shortest, rtol=0, atol=1e-3)  # it iterates
    dual = jacobian_descent("dualproj").merge(rows).numpy()
    half = (FIRST + SECOND) / 2
    away = FIRST if half @ FIRST < 0 else SECOND
    expected = half - min(0.0, half @ away) / (away @ away) * away
    np.testing.assert_allclose(dual, expected, rtol=0, atol=1e-3)
    for aggregator in ("imtl_g", "config"):
        merged = jacobian_descent(aggregator).merge(rows).numpy()
        angles = [merged @ row / np.linalg.norm(row) for row in (FIRST, SECOND)]
        np.testing.assert_allclose(angles[0], angles[1], rtol=0, atol=1e-9)
        assert angles[0] > 0
    aligned = jacobian_descent("aligned_mtl").merge(rows).numpy()
    assert aligned @ FIRST > 0 < aligned @ SECOND


def test_jacobian_descent_merges_what_terms_share_and_keeps_what_one_term_reaches():
    own, shared = torch.ones(1, dtype=torch.float64), [tensor(FIRST[:2]), tensor(FIRST[2:])]
    gradients = {
        "fused/mood": [*shared, own, None],
        "audio/mood": [tensor(SECOND[:2]), tensor(SECOND[2:]), None, None],
    }
    balancer = jacobian_descent("pcgrad")
    assert balancer.plan(step_of({"mood": [0]})).separate_gradients
    merged = balancer.combine(gradients, step_of({"mood": [0]}))
    expected = without_conflict(FIRST, SECOND) + without_conflict(SECOND, FIRST)
    np.testing.assert_allclose(torch.cat(merged[:2]), expected, rtol=0, atol=1e-12)
    assert merged[2] is own
    assert merged[3] is None


@pytest.mark.parametrize(
    ("aggregator", "installed", "message"),
    [
        (
            "mgda",
            (),
            r"train.balancer: jacobian_descent by mgda needs torchjd, not installed here; pip install fusionkit",
        ),
        ("upgrad", ("torchjd",), r"by upgrad needs qpsolvers and quadprog, .*-multimodal\[torchjd\], or take pcgrad"),
    ],
)
def test_jacobian_descent_says_what_is_to_be_installed(
    monkeypatch: pytest.MonkeyPatch, aggregator: str, installed: tuple[str, ...], message: str
) -> None:
    found = {name: object() for name in installed}
    monkeypatch.setattr("fusionkit.training.balancers.jacobian_descent.find_spec", found.get)
    with pytest.raises(RecipeError, match=message):
        balancer_of("jacobian_descent", ("audio",), ("mood",), aggregator=aggregator)
