"""Loss heads against restatements in NumPy, scikit-learn and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from small_runs import run_of, weights_of
from torchmetrics.functional.classification import multiclass_calibration_error

from fusionkit.errors import RecipeError, ShapeError
from fusionkit.evaluation import evaluate
from fusionkit.models.build import build
from fusionkit.models.loss_heads import Classification, Concordance, MMCosine, Multilabel, Ordinal, Regression
from fusionkit.models.loss_heads.class_metrics import expected_calibration_error
from fusionkit.nn.distributed import mean_over_union

CLASSES = ("calm", "happy", "sad")


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def array(tensor):
    return tensor.detach().numpy()


def log_softmax(s):
    return s - np.log(np.exp(s).sum(1, keepdims=True))


def test_classification_loss_is_the_weighted_smoothed_cross_entropy():
    head = Classification(4, None, classes=CLASSES, class_weights={"sad": 4.0}, label_smoothing=0.25).double()
    scores, targets = numbers(6, 3), torch.tensor([0, 1, 2, 2, 0, 1])

    losses = array(head.loss(scores, targets))

    wanted = 0.75 * np.eye(3)[array(targets)] + 0.25 / 3
    expected = -(np.array([1, 1, 4]) * wanted * log_softmax(array(scores))).sum(1)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-12)


def test_mmcosine_adds_the_cosines_of_every_block_and_their_lengths_do_not_count():
    head = MMCosine(5, 7, (2, 3), classes=CLASSES, scale=4.0).double()
    features, targets = numbers(6, 5), torch.tensor([0, 1, 2, 2, 0, 1])
    weights = [array(direction) for direction in head.directions]
    assert [weight.shape for weight in weights] == [(3, 2), (3, 3)]

    scores = head(features)

    f = array(features)
    expected = np.zeros((6, 3))
    for block, weight in zip((f[:, :2], f[:, 2:]), weights, strict=True):
        lengths = np.linalg.norm(block, axis=1)[:, None] * np.linalg.norm(weight, axis=1)[None]
        expected += 4.0 * block @ weight.T / lengths
    np.testing.assert_allclose(array(scores), expected, rtol=0, atol=1e-12)
    losses = -log_softmax(expected)[np.arange(6), array(targets)]
    np.testing.assert_allclose(array(head.loss(scores, targets)), losses, rtol=0, atol=1e-12)
    with torch.no_grad():
        for direction in head.directions:
            direction.mul_(torch.tensor([[3.0], [0.1], [20.0]]))
    longer = torch.cat([100.0 * features[:, :2], 0.01 * features[:, 2:]], dim=1)
    np.testing.assert_allclose(array(head(longer)), expected, rtol=0, atol=1e-12)
    assert not head(torch.zeros(1, 5, dtype=torch.float64)).any()  # an empty block points nowhere
    with pytest.raises(ShapeError, match=r"mmcosine: blocks of \[2, 2\] features are 4, not 5"):
        MMCosine(5, None, (2, 2), classes=CLASSES)


@pytest.mark.parametrize("fusion", ["concat", "mrpn", {"type": "mrpn", "of": {"type": "mrpn"}}])
def test_mmcosine_reads_the_blocks_of_a_fusion_that_puts_modalities_side_by_side(fusion):
    model = build(mmcosine_model(fusion))
    assert model.head("mood").blocks == (6, 9)
    assert model.head("mood", "video").blocks == (9,)
    scores = model({"audio": numbers(4, 8).float(), "video": numbers(4, 4).float()}).fused["mood"]
    assert scores.abs().max() <= 20.0
    assert scores.shape == (4, 3)


def test_mmcosine_trains_and_is_evaluated_as_any_other_head(tmp_path):
    run = run_of(tmp_path / "run", model={"targets": {"label": "mmcosine"}}, epochs=2)
    card = evaluate(run, device="cpu", resamples=2).plain()
    assert set(card["targets"]["label"]["branches"]["fused"]["metrics"]) >= {"accuracy", "uar", "f1", "ece"}
    assert "heads.label.directions.1" in weights_of(run)


@pytest.mark.parametrize(("fusion", "name"), [("gated", "gated"), ({"type": "mrpn", "of": {"type": "sum"}}, "mrpn")])
def test_mmcosine_is_refused_behind_a_fusion_that_mixes_modalities(fusion, name):
    with pytest.raises(RecipeError) as caught:
        build(mmcosine_model(fusion))
    assert f"model.targets.mood: mmcosine reads each modality by itself, and the fusion {name} mixes" in str(
        caught.value
    )
    assert "take a fusion that puts them side by side, such as concat" in str(caught.value)
    assert len(caught.value.problems) == 1


def mmcosine_model(fusion):
    modalities = {
        "audio": {"shape": [8], "encoder": {"type": "mlp", "out": 6}},
        "video": {"shape": [4], "encoder": {"type": "mlp", "out": 9}},
    }
    target = {"type": "mmcosine", "classes": list(CLASSES)}
    return {"modalities": modalities, "fusion": fusion, "targets": {"mood": target}}


def test_classes_are_encoded_by_name_or_by_the_whole_number_that_is_their_name():
    head = Classification(4, None, classes=("1", "2", "happy"))
    assert [int(head.encode(value)) for value in ("happy", 2, "2", 1.0, " 1 ", None)] == [2, 1, 1, 0, 0, -1]


def test_a_value_outside_the_classes_is_refused_with_the_nearest_class():
    head = Classification(4, None, classes=CLASSES)
    with pytest.raises(ValueError, match="'hapy' is none of the 3 classes; did you mean 'happy'"):
        head.encode("hapy")
    with pytest.raises(ValueError, match="7 is none of the 3 classes; known: calm, happy, sad"):
        head.encode(7)


@pytest.mark.parametrize("cls", [Classification, MMCosine, Ordinal])
def test_classes_that_are_missing_single_or_repeated_are_refused(cls):
    wired = (4, None, (4,)) if cls.reads_blocks else (4, None)
    with pytest.raises(RecipeError, match=r"classes: 0 given; list at least 2; .* only where the dataset states them"):
        cls(*wired)
    with pytest.raises(RecipeError, match=r"classes: 1 given \(a\)"):
        cls(*wired, classes=("a",))
    with pytest.raises(RecipeError, match="classes: a given more than once"):
        cls(*wired, classes=("a", "b", "a"))


def test_a_weight_of_no_class_is_refused():
    with pytest.raises(RecipeError, match=r"class_weights.sda: no such class; did you mean 'sad'"):
        Classification(4, None, classes=CLASSES, class_weights={"sda": 2.0})


@pytest.mark.parametrize("occurring", [3, 2])
def test_classification_metrics_are_scikit_learns_also_where_a_class_does_not_occur(occurring):
    head = Classification(4, None, classes=CLASSES)
    distribution = numbers(40, 3).softmax(dim=1)
    targets = torch.randint(0, occurring, (40,), generator=torch.Generator().manual_seed(1))

    found = head.metrics(distribution, targets)

    predicted = head.predict(distribution)
    recalls = sklearn_metrics.recall_score(targets, predicted, average=None, labels=range(occurring), zero_division=0)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(targets, predicted), abs=1e-12)
    assert found["uar"] == pytest.approx(recalls.mean(), abs=1e-12)
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(targets, predicted, average="macro"), abs=1e-12)
    assert found["ece"] == pytest.approx(float(multiclass_calibration_error(distribution, targets, 3, 15)), abs=1e-6)
    reference = sklearn_metrics.confusion_matrix(targets, predicted, labels=range(3))
    assert head.confusion(distribution, targets).tolist() == reference.tolist()


def test_calibration_error_is_confidence_minus_accuracy_per_bin():
    confidence, right = np.array([0.95, 0.97, 0.61, 0.62, 0.55]), np.array([1, 0, 1, 1, 0])
    probabilities = torch.tensor(np.stack([confidence, 1 - confidence], axis=1))
    # Bins (14/15, 1], (9/15, 10/15] and (8/15, 9/15].
    expected = (abs(1.92 - 1) + abs(1.23 - 2) + 0.55) / 5
    assert expected_calibration_error(probabilities, torch.tensor(1 - right)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "head",
    [
        Classification(3, None, classes=("a", "b", "c")),
        MMCosine(3, None, (1, 2), classes=("a", "b", "c")),
        Ordinal(3, None, classes=("a", "b", "c")),
    ],
)
def test_the_metrics_of_resamples_of_classes_follow_from_sums(head):
    generator = torch.Generator().manual_seed(0)
    distribution = torch.rand(40, 3, generator=generator, dtype=torch.float64).softmax(dim=1)
    targets = torch.randint(0, 3, (40,), generator=generator)
    rows = torch.randint(0, 40, (5, 40), generator=generator)

    by_sums = head.metrics_of_sums(head.statistics(distribution, targets)[rows].sum(dim=1))

    assert head.sums_suffice
    for place, drawn in enumerate(rows):
        expected = head.metrics(distribution[drawn], targets[drawn])
        assert {name: float(values[place]) for name, values in by_sums.items()} == pytest.approx(expected, abs=1e-12)


def test_metrics_of_no_samples_are_nan():
    found = Classification(4, None, classes=CLASSES).metrics(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert all(math.isnan(value) for value in found.values())


def test_multilabel_loss_leaves_out_labels_that_are_not_stated():
    head = Multilabel(4, None, labels=("a", "b", "c"), presence_weights={"b": 2.0}).double()
    scores = numbers(3, 3)
    targets = torch.tensor([[1, 0, math.nan], [0, 1, 1], [math.nan, 1, math.nan]], dtype=torch.float64)

    losses = array(head.loss(scores, targets))

    p = 1 / (1 + np.exp(-array(scores)))
    each = -(np.array([1, 2, 1]) * array(targets) * np.log(p) + (1 - array(targets)) * np.log(1 - p))
    np.testing.assert_allclose(losses, np.nanmean(each, axis=1), rtol=0, atol=1e-12)


def test_multilabel_metrics_are_scikit_learns_where_all_is_stated():
    head = Multilabel(4, None, labels=("a", "b", "c"))
    distribution, targets = numbers(30, 3).sigmoid(), (numbers(30, 3, seed=1) > 0).double()

    found = head.metrics(distribution, targets)

    predicted = head.predict(distribution)
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(targets, predicted, average="macro"), abs=1e-12)
    assert found["accuracy"] == pytest.approx(float((predicted == targets.bool()).double().mean()), abs=1e-12)
    assert found["exact"] == pytest.approx(sklearn_metrics.accuracy_score(targets, predicted), abs=1e-12)


def test_multilabel_metrics_leave_out_what_is_not_stated():
    head = Multilabel(4, None, labels=("a", "b"))
    distribution = torch.tensor([[0.9, 0.9], [0.1, 0.9], [0.9, 0.1]])
    targets = torch.tensor([[1.0, math.nan], [0.0, 1.0], [1.0, 1.0]])
    assert head.metrics(distribution, targets) == pytest.approx(
        {"f1": (1 + 2 / 3) / 2, "accuracy": 0.75, "exact": 2 / 3}
    )


def test_multilabel_encodes_names_numbers_and_nothing():
    head = Multilabel(4, None, labels=("a", "b"))
    assert head.encode(("b",)).tolist() == [0.0, 1.0]
    assert head.encode(()).tolist() == [0.0, 0.0]
    assert head.encode(None).isnan().all()
    with pytest.raises(ValueError, match="not one number"):
        head.encode((1.0, 0.5))
    with pytest.raises(ValueError, match="'c' is none of the 2 labels"):
        head.encode(("a", "c"))


def test_ordinal_probabilities_are_differences_of_cumulative_ones_and_its_loss_their_logarithm():
    torch.manual_seed(0)
    head = Ordinal(3, None, classes=("a", "b", "c", "d")).double()
    with torch.no_grad():
        head.increments.copy_(torch.tensor([-1.0, 2.0]))
    features, targets = numbers(8, 3), torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])

    scores = head(features)

    lowest, steps = head.lowest.item(), np.log1p(np.exp([-1.0, 2.0]))
    thresholds = lowest + np.array([0, steps[0], steps.sum()])
    g = array(features) @ array(head.position.weight).T + array(head.position.bias)
    above = np.concatenate([np.ones((8, 1)), 1 / (1 + np.exp(thresholds - g)), np.zeros((8, 1))], axis=1)
    probabilities = above[:, :-1] - above[:, 1:]
    np.testing.assert_allclose(array(head.distribution(scores)), probabilities, rtol=0, atol=1e-12)
    expected = -np.log(probabilities[np.arange(8), array(targets)])
    np.testing.assert_allclose(array(head.loss(scores, targets)), expected, rtol=0, atol=1e-12)


def test_ordinal_classes_are_equally_probable_at_zero_before_training():
    head = Ordinal(3, None, classes=("a", "b", "c", "d", "e"))
    found = head.distribution(-head.thresholds[None])
    torch.testing.assert_close(found, torch.full((1, 5), 0.2))


def test_ordinal_loss_and_gradient_stay_finite_for_extreme_scores():
    head = Ordinal(1, None, classes=("a", "b", "c"))
    with torch.no_grad():
        head.position.weight.fill_(1.0)
    features = torch.tensor([[-300.0], [300.0]]).repeat_interleave(3, dim=0)
    losses = head.loss(head(features), torch.tensor([0, 1, 2, 0, 1, 2]))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_ordinal_predicts_the_median_class_and_is_judged_by_the_distance_to_it():
    head = Ordinal(3, None, classes=("a", "b", "c"))
    distribution = torch.tensor([[0.4, 0.25, 0.35], [0.6, 0.2, 0.2], [0.1, 0.3, 0.6]])
    assert head.predict(distribution).tolist() == [1, 0, 2]
    assert head.metrics(distribution, torch.tensor([1, 2, 2]))["mae"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("loss", "rho"),
    [
        ("mse", lambda r: r**2),
        ("l1", np.abs),
        ("huber", lambda r: np.where(np.abs(r) <= 0.5, r**2 / 2, 0.5 * (np.abs(r) - 0.25))),
    ],
)
def test_regression_loss_is_the_mean_over_the_outputs_that_are_stated(loss, rho):
    head = Regression(4, None, outputs=2, loss=loss, delta=0.5)
    scores, targets = numbers(4, 2), numbers(4, 2, seed=1)
    targets[1, 0] = math.nan

    losses = array(head.loss(scores, targets))

    expected = np.nanmean(rho(array(scores) - array(targets)), axis=1)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-12)


def test_regression_of_one_output_takes_and_predicts_plain_numbers():
    head = Regression(4, None)
    scores = head(numbers(3, 4).float())
    assert head.encode("2.5").shape == ()
    assert head.predict(head.distribution(scores)).shape == (3,)
    assert head.loss(scores, torch.stack([head.encode(value) for value in (1, 2.0, "2.5")])).shape == (3,)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="'high' is no number"):
        Regression(4, None).encode("high")
    with pytest.raises(ValueError, match="is not 2 finite numbers"):
        Regression(4, None, outputs=2).encode(1.0)
    with pytest.raises(ValueError, match="is not 1 finite number"):
        Regression(4, None).encode(math.inf)


def concordance(x, y):
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_metrics_of_numbers_are_scikit_learns_and_lins():
    predicted, targets = numbers(30, 2), numbers(30, 2, seed=1)
    targets[3, 0] = targets[5, 1] = math.nan

    found = Regression(4, None, outputs=2).metrics(predicted, targets)

    pairs = [(array(x)[~np.isnan(y)], y[~np.isnan(y)]) for x, y in zip(predicted.T, array(targets.T), strict=True)]
    for name, figure in (
        ("mae", lambda x, y: sklearn_metrics.mean_absolute_error(y, x)),
        ("rmse", lambda x, y: sklearn_metrics.root_mean_squared_error(y, x)),
        ("r2", lambda x, y: sklearn_metrics.r2_score(y, x)),
        ("ccc", concordance),
    ):
        assert found[name] == pytest.approx(np.mean([figure(x, y) for x, y in pairs]), abs=1e-12)


def test_figures_that_are_not_defined_are_nan():
    found = Regression(4, None).metrics(torch.zeros(3, 1), torch.zeros(3))
    assert math.isnan(found["r2"])
    assert math.isnan(found["ccc"])
    assert found["mae"] == 0.0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), batch=st.integers(2, 20), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_the_mean_of_the_concordance_losses_is_one_minus_lins_coefficient(seed, batch, scale, shift):
    x, y = numbers(batch, 1, seed=seed), scale * numbers(batch, seed=seed + 1) + shift
    loss = float(Concordance(4, None).loss(x, y).mean())
    assert loss == pytest.approx(1 - concordance(array(x)[:, 0], array(y)), abs=1e-10)


def test_with_several_outputs_the_concordance_loss_is_the_mean_over_outputs_of_what_is_stated():
    x, y = numbers(9, 2), numbers(9, 2, seed=1)
    y[2, 0] = y[3, 0] = y[4, 1] = math.nan
    stated = ~np.isnan(array(y))
    expected = np.mean([1 - concordance(array(x)[stated[:, j], j], array(y)[stated[:, j], j]) for j in (0, 1)])
    assert float(Concordance(4, None, outputs=2).loss(x, y).mean()) == pytest.approx(expected, abs=1e-10)


def test_the_concordance_gradient_is_that_of_finite_differences():
    head, y = Concordance(4, None), numbers(5, seed=1)
    assert torch.autograd.gradcheck(lambda x: head.loss(x, y), (numbers(5, 1).requires_grad_(),))


def concordance_of_half(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    own = slice(0, 2) if rank == 0 else slice(2, 7)
    x = numbers(7, 1)[own].requires_grad_()
    loss = mean_over_union(Concordance(4, None).loss(x, numbers(7, seed=1)[own]))
    loss.backward()
    # Data-parallel training averages losses and gradients over the processes.
    torch.save({"loss": loss.detach() / 2, "gradient": x.grad / 2}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_concordance_of_the_union_of_their_batches(tmp_path):
    torch.multiprocessing.spawn(concordance_of_half, (str(tmp_path),), nprocs=2)

    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    x = numbers(7, 1).requires_grad_()
    loss = Concordance(4, None).loss(x, numbers(7, seed=1)).mean()
    loss.backward()
    torch.testing.assert_close(halves[0]["loss"] + halves[1]["loss"], loss.detach(), rtol=0, atol=1e-12)
    gradient = torch.cat([half["gradient"] for half in halves])
    torch.testing.assert_close(gradient, x.grad, rtol=0, atol=1e-12)


def test_constant_predictions_of_a_constant_target_have_no_concordance_loss_and_no_gradient():
    x = torch.ones(3, 1, requires_grad=True)
    losses = Concordance(4, None).loss(x, torch.ones(3))
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0, 0.0]
    assert x.grad.flatten().tolist() == [0.0, 0.0, 0.0]
