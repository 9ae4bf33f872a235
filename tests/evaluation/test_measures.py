"""What loss heads declare of their target and metrics, and that all that reports goes by it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from report_folders import record_of, results_of
from small_runs import run_of

from fusionkit.config.components.registry import LOSS_HEADS
from fusionkit.config.documents import check_shape
from fusionkit.data.sources import Datasets
from fusionkit.errors import RecipeError, RunError
from fusionkit.evaluation import evaluate
from fusionkit.evaluation.bootstrap import bootstrap_limits, draw_counts, resample_metrics
from fusionkit.evaluation.verification import verify
from fusionkit.experiments.compared_metric import find_compared_metric
from fusionkit.experiments.experiment import load_experiment
from fusionkit.interfaces import LOSS, LossHead, Metric
from fusionkit.models.loss_heads import Classification, MMCosine, Multilabel, Ordinal, Regression
from fusionkit.report.text.diagnosis_scores import points
from fusionkit.report.text.tables import format_value, table_text
from fusionkit.report.text.verdict import verdict
from fusionkit.storage.records.document import Measured, describe_measures
from fusionkit.storage.records.stress import StressTarget
from fusionkit.testing import ContractError, check_loss_head

CLASSES = ("calm", "happy", "sad")
BRIER = Metric("brier", higher_is_better=False, low=0.0, high=2.0)
AREA = Metric("area", higher_is_better=True)


class Proper(Classification):
    """A plugin's head: classification with one more metric where less is better, and one that is no share.

    Args:
        in_features: Width of the features.
        hidden: Width of the Scoring.
        classes: Names of the classes.

    Source:
        Brier 1950.
    """

    measures = (*Classification.measures, BRIER, AREA)

    def __init__(self, in_features: int, hidden: int | None, *, classes: tuple[str, ...] = ()) -> None:
        super().__init__(in_features, hidden, classes=classes)

    def metrics(self, distribution, targets):
        truth = torch.nn.functional.one_hot(targets, len(self.classes))
        brier = float((distribution - truth).square().sum(dim=1).double().mean())
        return {**super().metrics(distribution, targets), "brier": brier, "area": 12.5}


@pytest.fixture
def registry(monkeypatch):
    """The registry of loss heads, which forgets what a test adds."""
    LOSS_HEADS.names()  # fusionkit's own are loaded
    monkeypatch.setattr(LOSS_HEADS, "_components", {**LOSS_HEADS._components})
    return LOSS_HEADS


@pytest.fixture
def proper(registry):
    return registry.register("proper")(Proper)


def test_a_plugins_head_whose_further_metric_falls_keeps_every_promise(proper):
    check_loss_head(proper, ["calm", "sad", "happy"], {"classes": CLASSES})


def test_the_loss_head_of_the_documentation_does_what_it_says(registry):
    text = (Path(__file__).parents[2] / "docs" / "how_to" / "own_target.md").read_text(encoding="utf-8")
    code = "".join(re.findall("```python\n(.*?)```", text, flags=re.DOTALL))
    exec(compile("from __future__ import annotations\n" + code, "own_target.md", "exec"), names := {"__name__": "own"})
    head = names["ProperClassification"](2, None, classes=("calm", "sad"))
    said = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    assert head.metrics(said, torch.tensor([0, 1]))["brier"] == pytest.approx((2 * 0.25**2 + 0.5) / 2)

    y = np.array([10.0, 20.0, 40.0, 70.0, 80.0])
    numbers = names["LogCosh"](2, None)
    numbers.fit_targets(torch.from_numpy(y).float())
    z = (y - 40.0) * 1.3489795 / (70.0 - 20.0)
    losses = numbers.loss(torch.full((5, 1), 0.5), torch.from_numpy(y).float())
    np.testing.assert_allclose(losses.numpy(), np.log(np.cosh(0.5 - z)), rtol=1e-5)
    constant = numbers.constant(torch.from_numpy(y).float())
    assert np.tanh(constant.item() - z).sum() == pytest.approx(
        0.0, abs=1e-4
    )  # where the slope of the mean loss is zero
    assert numbers.distribution(constant[None]).item() == pytest.approx(40.0 + 50.0 / 1.3489795 * constant.item())


def test_a_further_metric_is_resampled_though_the_parents_metrics_follow_from_sums():
    head = Proper(2, None, classes=CLASSES)
    said = torch.softmax(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    targets = torch.arange(12) % 3
    counts = draw_counts(6, 40, 0)

    drawn = resample_metrics(head, said, targets, counts, torch.arange(12) % 6)

    truth = np.eye(3)[targets.numpy()]
    each = np.square(said.double().numpy() - truth).sum(1)
    times = counts.numpy()[:, np.arange(12) % 6]
    np.testing.assert_allclose(drawn["brier"].numpy(), (times @ each) / times.sum(1), rtol=0, atol=1e-6)
    assert set(bootstrap_limits(head, said, targets, list("abcdefghijkl"))) == {
        *("accuracy", "uar", "f1", "ece", "brier", "area")
    }


@pytest.mark.parametrize(
    "head",
    [
        Classification(2, None, classes=CLASSES),
        Ordinal(2, None, classes=CLASSES),
        MMCosine(2, None, (2,), classes=CLASSES),
    ],
)
def test_metrics_by_sums_are_the_metrics_of_every_resample(head):
    torch.manual_seed(0)
    said, targets = torch.softmax(torch.randn(15, 3), dim=1), torch.arange(15) % 3
    counts, group_of = draw_counts(5, 30, 1), torch.arange(15) % 5

    fast = resample_metrics(head, said, targets, counts, group_of)

    for draw in range(30):
        rows = torch.arange(15).repeat_interleave(counts[draw, group_of].long())
        for name, value in head.metrics(said[rows], targets[rows]).items():
            assert float(fast[name][draw]) == pytest.approx(value, abs=1e-12)


def test_a_metric_of_which_less_is_better_is_judged_by_what_its_head_declares():
    values = {
        "late fusion": [0.13, 0.14, 0.13],
        "AM": [0.62, 0.61, 0.60],
        "VM": [0.65, 0.66, 0.64],
        "ensemble": [0.30, 0.31, 0.29],
        "N2": [0.12, 0.13, 0.12],
    }
    results = results_of(values, metric="brier", higher=False) | {
        "measures": {"brier": describe_measures([BRIER])["brier"].plain()}
    }

    (first, *_) = verdict(record_of(results))

    assert record_of(results).main_metric == BRIER
    assert first.startswith("Fusing helps: N2, the best of 2 fused networks, reaches 0.123 (brier of emotion)")
    assert "0.487 better than the best network of one modality alone" in first
    assert table_text(record_of(results)).title == "brier of emotion"  # no share, so no per cent


def test_an_experiment_compares_a_plugins_metric_in_its_own_direction(proper, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "schema: 1\ndata:\n  dataset: {type: synthetic, groups: 4, samples: 2}\n  folds: group_kfold\n"
        "model:\n  modalities: {motion: {}, posture: {}}\n  targets: {label: proper}\n"
    )
    text = "schema: 1\nrecipe: recipe.yaml\nvariants: {N1: {overrides: []}}\nmetric: METRIC\n"

    def compared(metric):
        (tmp_path / "experiment.yaml").write_text(text.replace("METRIC", metric))
        return find_compared_metric(load_experiment(tmp_path / "experiment.yaml"), Datasets())

    assert compared("brier").metric == BRIER
    assert compared("area").metric.higher_is_better
    assert compared("loss").metric == LOSS
    assert compared("ece").metric.sign == -1
    assert compared("accuracy").kind == "classes"
    with pytest.raises(RecipeError, match="proper has no 'brie'; did you mean 'brier'"):
        compared("brie")


def test_a_card_carries_what_the_head_declares_and_an_earlier_one_is_still_verified(tmp_path):
    run = run_of(tmp_path / "run", epochs=1)
    card = evaluate(run, device="cpu", resamples=2).plain()
    target = card["targets"]["label"]
    assert target["kind"] == "classes"
    assert target["classes"] == list(run.recipe.model.targets["label"].options["classes"])
    for metric in Classification.measures:
        assert run.read_card().targets["label"].metric_named(metric.name) == metric

    earlier = json.loads(run.card_file.read_text()) | {"format": 1}
    del earlier["targets"]["label"]["kind"], earlier["targets"]["label"]["measures"]
    run.card_file.write_text(json.dumps(earlier))
    assert verify(run.path, device="cpu").holds
    read = run.read_card().targets["label"]
    assert read.kind == "classes"
    assert read.metric_named("ece") == Classification.measure("ece")

    earlier["targets"]["label"]["branches"]["fused"]["metrics"]["accuracy"]["value"] += 0.01
    run.card_file.write_text(json.dumps(earlier))
    assert [each.what for each in verify(run.path, device="cpu").broken] == [
        "targets.label.branches.fused.metrics.accuracy.value"
    ]


def test_documents_of_earlier_versions_and_damaged_ones_are_told_apart():
    earlier = Measured(higher_is_better=False)
    assert earlier.metric_named("of_a_plugin") == Metric("of_a_plugin", higher_is_better=False)
    assert earlier.metric_named("rmse").has_unit
    for damaged, said in (
        ({}, "it: the measures describe no 'mae'"),
        ({"mae": {"wrong": 1}}, "measures.mae.higher_is_better: missing"),
        ({"mae": None}, "measures.mae: a mapping of keys is expected, given null"),
    ):
        stated = {"metric": "mae", "higher_is_better": False, "measures": damaged}
        with pytest.raises(RunError, match=f"stress.json: is damaged; {said}"):
            check_shape(StressTarget, stated, "stress.json")


def test_values_are_shown_as_their_metric_declares():
    named_like_none = Metric("purity", higher_is_better=True, share=True, low=0.0, high=1.0)
    assert format_value(0.915, named_like_none) == "91.5"
    assert points(0.04, named_like_none) == "4.0 points"
    assert format_value(0.915, replace(named_like_none, share=False)) == "0.915"
    assert points(-0.25, BRIER, signed=True) == "-0.250 brier"


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"measures": (Metric("other", higher_is_better=True),)}, r"its metrics \['accuracy', .*\] are its measures"),
        ({"score": "kappa"}, "its score 'kappa' is one of its metrics"),
        ({"kind": "numbers"}, "its kind is classes, labels or numbers"),
        (
            {"measures": (Metric("accuracy", higher_is_better=True, high=0.1), *Classification.measures[1:])},
            "as declared",
        ),
    ],
)
def test_a_head_that_declares_what_is_not_so_breaks_its_contract(registry, declared, said):
    wrong = type("Wrong", (Classification,), {"__doc__": Classification.__doc__, **declared})
    registry.register("wrong")(wrong)
    with pytest.raises(ContractError, match=said):
        check_loss_head(wrong, ["calm", "sad", "happy"], {"classes": CLASSES})


def test_a_head_of_numbers_predicts_the_first_columns_of_its_distribution(registry):
    class Second(Regression):
        __doc__ = Regression.__doc__

        def distribution(self, scores):
            numbers = super().distribution(scores)
            return torch.cat([numbers.exp(), numbers], dim=1)

        def predict(self, distribution):
            return distribution[:, 1]

        def metrics(self, distribution, targets):
            return super().metrics(distribution[:, 1], targets)

    registry.register("second")(Second)
    with pytest.raises(ContractError, match="predicted numbers are the first columns of the distribution"):
        check_loss_head(Second, [12.5, 40.0, 80.0])


def test_a_head_that_declares_nothing_is_refused_with_what_it_lacks():
    bare = type("Bare", (LossHead,), {name: getattr(Regression, name) for name in LossHead.__abstractmethods__})
    with pytest.raises(TypeError, match="loss_head 'bare': Bare does not declare kind, measures, score"):
        LOSS_HEADS.register("bare")(bare)


# The constant answer


def test_the_constant_answer_of_classes_is_their_frequencies():
    targets = torch.tensor([0, 0, 0, 2])
    for head in (Classification(2, None, classes=CLASSES), MMCosine(2, None, (2,), classes=CLASSES)):
        said = head.distribution(head.constant(targets)[None])
        np.testing.assert_allclose(said.numpy(), [[0.75, 0.0, 0.25]], atol=1e-7)
        assert int(head.predict(said)) == 0
    likelihood = Classification(2, None, classes=CLASSES).loss(head.constant(targets).expand(4, -1), targets).mean()
    assert float(likelihood) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=1e-6)


def test_the_constant_answer_of_ordered_classes_is_their_frequencies_and_predicts_the_median():
    head = Ordinal(2, None, classes=("a", "b", "c", "d"))
    targets = torch.tensor([0, 0, 1, 3, 3, 3, 3])
    said = head.distribution(head.constant(targets)[None])
    np.testing.assert_allclose(said.numpy(), [[2 / 7, 1 / 7, 0, 4 / 7]], atol=1e-6)
    assert int(head.predict(said)) == 3


def test_the_constant_answer_of_labels_is_how_often_each_holds_where_it_is_stated():
    head = Multilabel(2, None, labels=CLASSES)
    targets = torch.tensor(
        [[1.0, 0.0, math.nan], [0.0, 0.0, math.nan], [0.0, math.nan, math.nan], [0.0, 0.0, math.nan]]
    )
    np.testing.assert_allclose(head.distribution(head.constant(targets)[None]).numpy(), [[0.25, 0.0, 0.5]], atol=1e-7)


def test_the_constant_answer_of_a_head_that_knows_none_is_that_of_the_least_loss():
    smoothed = Classification(2, None, classes=CLASSES, label_smoothing=0.3)
    targets = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])

    with torch.inference_mode():
        scores = LossHead.constant(smoothed, targets)

    wanted = 0.7 * np.array([5, 2, 1]) / 8 + 0.3 / 3  # where the gradient of the mean loss is zero
    np.testing.assert_allclose(scores.softmax(dim=0).numpy(), wanted, atol=1e-4)
