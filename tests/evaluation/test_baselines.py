"""What every network is held against: the constant answer of the training part, and both ensembles."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from report_folders import card_of, record_of, results_of, summarised
from small_runs import recipe, run_of

from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.evaluation import evaluate
from fusionkit.experiments import open_experiment
from fusionkit.inference.branches import CONSTANT, ENSEMBLE, ENSEMBLE_LOG
from fusionkit.inference.scoring import multiply_present
from fusionkit.interfaces import share
from fusionkit.report.text.baselines import against_constant, against_ensembles, best_ensemble
from fusionkit.report.text.baselines import targets_no_better_than_constant as weak_targets
from fusionkit.report.text.diagnosis_scores import against_constant as diagnosed_against_constant
from fusionkit.report.text.verdict import verdict
from fusionkit.report.text.wording import interval_words, noise_words_of
from fusionkit.storage.records.card import Card
from fusionkit.storage.records.diagnosis import Constant
from fusionkit.storage.records.document import figure
from fusionkit.storage.records.results import Difference, Gain


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The ensemble by logarithms


def test_the_product_is_the_geometric_mean_of_what_is_present_renormalised():
    said = {name: torch.softmax(3 * drawn(5, 3, seed=seed), dim=1) for seed, name in enumerate("abc")}
    masks = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=torch.bool)
    present = {name: masks[:, column] for column, name in enumerate("abc")}

    pooled = multiply_present(said, present, "classes").numpy()

    for row in range(5):
        there = [said[name][row].numpy() for column, name in enumerate("abc") if masks[row, column]]
        geometric = np.prod(there, axis=0) ** (1 / len(there)) if there else np.zeros(3)
        expected = geometric / geometric.sum() if there else np.zeros(3)
        np.testing.assert_allclose(pooled[row], expected, rtol=0, atol=1e-12)


def test_the_product_of_labels_is_renormalised_against_the_absence_of_each():
    said = {"a": drawn(4, 2), "b": drawn(4, 2, seed=1)}
    everywhere = dict.fromkeys(said, torch.ones(4, dtype=torch.bool))

    pooled = multiply_present(said, everywhere, "labels").numpy()

    holds = np.sqrt(said["a"].numpy() * said["b"].numpy())
    fails = np.sqrt((1 - said["a"].numpy()) * (1 - said["b"].numpy()))
    np.testing.assert_allclose(pooled, holds / (holds + fails), rtol=0, atol=1e-12)


def test_the_product_of_numbers_is_their_mean_and_certainty_of_both_sides_is_finite():
    there = torch.ones(1, dtype=torch.bool)
    said = {"a": torch.tensor([[2.0]]), "b": torch.tensor([[-4.0]])}
    assert multiply_present(said, dict.fromkeys(said, there), "numbers").item() == -1.0
    sure = {"a": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([[0.0, 1.0]])}
    for kind in ("classes", "labels"):
        np.testing.assert_allclose(multiply_present(sure, dict.fromkeys(sure, there), kind), [[0.5, 0.5]], atol=1e-6)


# The constant answer in cards


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """A run whose modalities are trained alone, and its card."""
    run = run_of(tmp_path_factory.mktemp("late") / "run", epochs=1, strategy="late_fusion")
    return run, evaluate(run, device="cpu", resamples=20).plain()


def test_a_card_holds_the_constant_answer_of_the_training_part_alone(late):
    run, card = late
    assembly = assemble(run.recipe)
    label = {row.id: row.targets["label"] for row in assembly.dataset.rows}
    classes = card["targets"]["label"]["classes"]
    trained = np.array([classes.index(label[name]) for name in assembly.split.train])
    tested = np.array([classes.index(label[name]) for name in assembly.test_ids])
    shares = np.bincount(trained, minlength=len(classes)) / len(trained)

    constant = card["targets"]["label"]["branches"][CONSTANT]

    assert constant["samples"] == len(tested)
    assert constant["metrics"]["accuracy"]["value"] == pytest.approx((tested == shares.argmax()).mean())
    assert constant["metrics"]["loss"]["value"] == pytest.approx(-np.log(shares[tested]).mean(), abs=1e-6)
    assert set(constant["where"]) == {"motion"}  # the modality that samples lack


def test_both_ensembles_of_a_card_are_pooled_from_the_same_stored_answers(late):
    run, card = late
    stored, _ = run.read_predictions()
    alone = [stored[f"distribution/label/{name}"].double().numpy() for name in ("motion", "posture")]
    there = ~np.isnan(alone[0]).any(axis=1)
    product = np.where(there[:, None], np.sqrt(np.nan_to_num(alone[0]) * alone[1]), alone[1])

    found = stored[f"distribution/label/{ENSEMBLE_LOG}"].double().numpy()

    np.testing.assert_allclose(found, product / product.sum(axis=1, keepdims=True), atol=1e-6)
    assert list(card["targets"]["label"]["branches"])[-3:] == [ENSEMBLE, ENSEMBLE_LOG, CONSTANT]


def test_the_training_command_says_so_where_a_network_is_no_better_than_the_constant_answer():
    def card(value, low, constant, *, higher=True):
        figures = {"fused": (value, low), CONSTANT: (constant, None)}
        branches = {
            name: {"trained": name, "samples": 1, "metrics": {"score": {"value": of[0], "low": of[1], "high": of[1]}}}
            for name, of in figures.items()
            if of[0] is not None
        }
        return Card.model_validate(card_of("y", score="score", higher_is_better=higher, branches=branches))

    assert weak_targets(card(0.6, 0.4, 0.5)) == ["y"]
    assert weak_targets(card(0.6, 0.55, 0.5)) == []
    assert weak_targets(card(0.6, None, 0.5)) == []
    assert weak_targets(card(32.5, 30.0, 20.8, higher=False)) == ["y"]
    assert weak_targets(card(11.4, 12.0, 20.8, higher=False)) == []
    assert weak_targets(card(0.1, 0.1, None)) == []  # an earlier version had none


# In experiments and on pages


def with_constant(values, constant, *, surely, **options):
    results = results_of(values, **options)
    for name, column in results["summary"].items():
        compared = {"folds": 3, "difference": {"mean": 0.0, "low": None, "high": None}}
        p = dict.fromkeys(("wilcoxon_p", "t_p", "corrected_t_p"))
        column["over_constant"] = {"constant": constant, "surely": surely(name), **compared, **p}
    return results


AGES = {
    "late fusion": [30.0, 33.0, 31.0],
    "AM": [40.0, 41.0, 42.0],
    "VM": [43.0, 44.0, 45.0],
    "ensemble": [36.0, 37.0, 38.0],
    "N2": [32.0, 32.5, 33.0],
}


def test_a_page_begins_with_the_constant_answer_where_no_network_beats_it():
    results = with_constant(AGES, 20.8, surely=lambda name: False, metric="mae", higher=False, classes=None)
    first, second, *_ = verdict(record_of(results))
    assert first == (
        "No network is better than a constant answer by more than noise: the best of them, late fusion, reaches 31.3 "
        "(mae of emotion), and the constant answer of the training part reaches 20.8."
    )
    assert second.startswith("Fusing helps")  # which is true, and no longer the first thing said


def test_columns_that_do_not_beat_the_constant_answer_are_named_and_others_are_not():
    results = with_constant(AGES, 41.5, surely=lambda name: name not in ("AM", "VM"), metric="mae", higher=False)
    assert against_constant(record_of(results)) == [
        "AM, VM are not better than a constant answer by more than noise: the best of them, AM, reaches 41.0 (mae of "
        "emotion), and the constant answer of the training part reaches 41.5."
    ]
    assert (
        against_constant(record_of(with_constant(AGES, 90.0, surely=lambda name: True, metric="mae", higher=False)))
        == []
    )
    assert against_constant(record_of(results_of())) == []  # written by an earlier version


def test_the_best_fused_network_is_held_against_the_better_ensemble():
    results = results_of()
    values = {name: column["by_fold"] for name, column in results["summary"].items()}
    better = {fold: value + 0.1 for fold, value in values["ensemble"].items()}
    from report_folders import COLUMNS

    COLUMNS[ENSEMBLE_LOG] = ENSEMBLE_LOG
    try:
        results["summary"] = summarised(values | {ENSEMBLE_LOG: better})
    finally:
        del COLUMNS[ENSEMBLE_LOG]
    results["columns"].append(results["columns"][3] | {"name": ENSEMBLE_LOG, "branch": ENSEMBLE_LOG})

    (said,) = against_ensembles(record_of(results), "N2")

    assert best_ensemble(record_of(results)) == ENSEMBLE_LOG
    assert "% by averaging their answers and " in said
    assert said.endswith(("which is within noise.", "which is larger than noise."))
    assert f"Against {ENSEMBLE_LOG}, the better of the two, N2 is " in said


def test_an_experiment_adds_both_ensembles_and_the_constant_and_compares_every_column_with_it(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(data={"folds": {"type": "group_kfold", "folds": 2}})))
    (tmp_path / "experiment.yaml").write_text(
        "schema: 1\nrecipe: recipe.json\nvariants:\n  late fusion: {overrides: [train.strategy=late_fusion]}\n"
    )
    results = (
        open_experiment(tmp_path / "experiment.yaml", tmp_path / "out", ["train.epochs=1"]).run(processes=1).plain()
    )

    assert [(each["name"], each["branch"], each["automatic"]) for each in results["columns"]] == [
        ("late fusion", "fused", False),
        (ENSEMBLE, ENSEMBLE, True),
        (ENSEMBLE_LOG, ENSEMBLE_LOG, True),
        (CONSTANT, CONSTANT, True),
    ]
    summary = results["summary"]
    assert summary[CONSTANT]["over_constant"] is None
    for name in ("late fusion", ENSEMBLE, ENSEMBLE_LOG):
        over = summary[name]["over_constant"]
        shared = list(summary[name]["by_fold"])
        gains = [summary[name]["by_fold"][fold] - summary[CONSTANT]["by_fold"][fold] for fold in shared]
        assert over["difference"]["mean"] == pytest.approx(np.mean(gains))
        assert over["folds"] == 2
    assert CONSTANT not in results["confusion"]["matrices"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| constant |" in table
    assert "'constant' is the best answer that looks at no sample" in table


def test_a_diagnosis_says_first_that_a_network_is_no_better_than_the_constant_answer():
    def of(value, low, high):
        constant = Constant(score=figure(0.5), over=figure(value, (low, high)))
        return SimpleNamespace(main_metric=share("accuracy"), constant=constant)

    one_run = SimpleNamespace(each=None)
    (said,) = diagnosed_against_constant(one_run, of(0.02, -0.03, 0.07))
    assert said == (
        "The network is not better than a constant answer by more than noise: the best one of the training part "
        "reaches 50.0 %, against which the network gains 2.0 points (95 % interval -3.0 to +7.0)."
    )
    assert diagnosed_against_constant(one_run, of(0.2, 0.1, 0.3)) == []
    assert diagnosed_against_constant(one_run, SimpleNamespace(constant=None)) == []


def test_a_modality_may_not_take_the_name_of_the_constant_answer():
    from fusionkit.errors import RecipeError

    with pytest.raises(RecipeError, match="the name 'constant' is the library's own"):
        load_recipe(recipe(model={"modalities": {"constant": {}, "posture": {}}}))


def test_the_interval_of_a_gain_has_the_direction_of_its_sentence():
    difference = Gain(mean=-0.5, low=-2.0, high=0.25)
    less = record_of({"metric": "mae", "higher_is_better": False})
    assert interval_words(difference, less) == "-0.250 to +2.00"
    assert interval_words(Gain(mean=0.05, low=-0.02, high=0.1), record_of({"metric": "accuracy"})) == (
        "-2.0 to +10.0 points"
    )


def test_a_difference_that_is_the_same_in_every_fold_is_not_called_noise():
    p = dict.fromkeys(("wilcoxon_p", "t_p", "corrected_t_p"))
    same = Difference(folds=2, difference=Gain(mean=0.2, low=None, high=None), **p)
    assert noise_words_of(same) == ", the same in all 2 folds, which no test can hold against noise"
