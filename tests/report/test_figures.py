"""What figures of a report are drawn from: calibration, planes of features, learning curves, confusions, numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from report_folders import log, record_of, results_of, write_experiment
from small_runs import epochs_of, run_of, steps_of

from fusionkit.errors import RunError
from fusionkit.evaluation.calibration.reliability import BINS, bin_predictions, pool_predictions
from fusionkit.models.loss_heads.class_metrics import ECE_BINS, expected_calibration_error
from fusionkit.report.figures.calibration import draw_calibration
from fusionkit.report.figures.clouds import gather_clouds
from fusionkit.report.figures.confusion import draw_confusions, most_confused
from fusionkit.report.figures.curves import draw_term_curves, term_curves
from fusionkit.report.figures.features import (
    Cloud,
    class_indices,
    draw_features,
    measure_agreement,
    project_to_plane,
    select_usable,
)
from fusionkit.report.figures.folds import draw_fold_intervals
from fusionkit.report.figures.numbers import draw_numbers
from fusionkit.report.figures.reliability import draw_reliability
from fusionkit.report.figures.style import fit_labels, save_figure, style_of
from fusionkit.report.figures.table import draw_table
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.records.calibration import Curves

# Calibration


def softmax(scores):
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def drawn_predictions(samples=400, classes=4, seed=3):
    rng = np.random.default_rng(seed)
    return softmax(2 * rng.normal(size=(samples, classes))), rng.integers(0, classes, samples)


def test_reliability_bins_and_ece_are_guos():
    said, wanted = drawn_predictions()
    found = bin_predictions(said, wanted)
    total, gaps, surplus = 0, 0.0, 0.0
    for number in range(1, 16):  # eqs. (2), (3), bin by bin
        inside = [row for row in range(len(said)) if (number - 1) / 15 < said[row].max() <= number / 15]
        assert found.counts[number - 1] == len(inside)
        if not inside:
            assert np.isnan(found.accuracy[number - 1])
            continue
        right = np.mean([said[row].argmax() == wanted[row] for row in inside])
        sure = np.mean([said[row].max() for row in inside])
        assert found.accuracy[number - 1] == pytest.approx(right, abs=1e-12)
        assert found.confidence[number - 1] == pytest.approx(sure, abs=1e-12)
        total += len(inside)
        gaps += len(inside) * abs(right - sure)
        surplus += len(inside) * (sure - right)
    assert total == len(said)
    assert found.ece == pytest.approx(gaps / len(said), abs=1e-12)
    assert found.surplus == pytest.approx(surplus / len(said), abs=1e-12)


def test_the_reports_ece_is_that_of_a_card():
    said, wanted = drawn_predictions()
    assert BINS == ECE_BINS
    card = expected_calibration_error(torch.from_numpy(said), torch.from_numpy(wanted))
    assert bin_predictions(said, wanted).ece == pytest.approx(card, abs=1e-12)


def test_samples_without_prediction_or_class_do_not_count():
    said, wanted = drawn_predictions(20)
    holes, unknown = said.copy(), wanted.copy()
    holes[::4], unknown[1::4] = np.nan, -1
    rows = [row for row in range(20) if row % 4 > 1]
    assert bin_predictions(holes, unknown).ece == pytest.approx(
        bin_predictions(said[rows], wanted[rows]).ece, abs=1e-12
    )
    with pytest.raises(RunError, match="no sample has both a prediction and a known class"):
        bin_predictions(holes[::4], unknown[::4])


def test_runs_are_pooled_sample_by_sample():
    first, second = drawn_predictions(30, seed=1), drawn_predictions(50, seed=2)
    together = bin_predictions(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))
    assert pool_predictions([first, second]).ece == pytest.approx(together.ece, abs=1e-12)


def test_a_reliability_diagram_has_a_panel_per_variant_with_its_ece():
    found = {
        "N2": bin_predictions(*drawn_predictions()),
        "AM": bin_predictions(np.array([[0.9, 0.1]] * 2), np.array([0, 1])),
    }
    titles = [axes.get_title() for axes in draw_calibration(found, {"N2": "fused", "AM": "audio"}).axes]
    assert titles[1] == "AM\nECE 40.0 %"
    with pytest.raises(RunError, match="no variant has predictions"):
        draw_calibration({}, {})


def test_reliability_has_a_line_before_and_after_with_the_count_of_every_bin_and_numbers_have_levels():
    said, wanted = drawn_predictions()
    bins = [bin_predictions(each, wanted).record() for each in (said, softmax(np.log(said) / 3))]
    found = {"mood": Curves(before=bins[0], after=bins[1]), "age": Curves(levels=[0.5, 0.9], covered=[0.6, 0.95])}

    panels = draw_reliability(found).axes

    lines = {line.get_label(): line for line in panels[0].lines}
    for label, of in (("as trained", bins[0]), ("calibrated", bins[1])):
        points = [(100 * x, 100 * y) for x, y in zip(of.said, of.observed, strict=True) if x is not None]
        assert lines[label].get_xydata() == pytest.approx(np.array(points))
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines.values()}
    assert len({each[1] for each in styles}) == len(styles)  # told apart without colour
    assert [each.get_title() for each in panels[:2]] == ["mood", "age"]
    assert panels[1].lines[1].get_xydata().tolist() == [[50, 60], [90, 95]]
    heights = [bar.get_height() for bar in panels[2].patches]
    assert heights == [*bins[0].counts, *bins[1].counts]
    assert sum(bins[0].counts) == len(wanted)
    with pytest.raises(RunError, match="no test sample states a target"):
        draw_reliability({})


# Features


def blobs(samples=30, width=5, seed=0):
    rng = np.random.default_rng(seed)
    classes = np.arange(samples) % 3
    return rng.normal(size=(samples, width)) + 20 * np.eye(width)[classes], classes


def test_the_same_features_always_give_the_same_points_that_keep_far_classes_apart():
    features, classes = blobs()
    first = project_to_plane(features)
    np.testing.assert_array_equal(first, project_to_plane(features.copy()))
    assert measure_agreement(first.astype(np.float64), classes) == 1.0
    assert not np.array_equal(first[:5], project_to_plane(features + np.random.default_rng(1).normal(size=(30, 5)))[:5])


@pytest.mark.parametrize(("samples", "width"), [(5, 1), (5, 40), (6, 2)])
def test_few_samples_and_one_feature_have_a_plane(samples, width):
    features = np.random.default_rng(0).normal(size=(samples, width))
    points = project_to_plane(features)
    assert points.shape == (samples, 2)
    np.testing.assert_array_equal(points, project_to_plane(features))
    assert np.isfinite(points).all()


@pytest.mark.parametrize(
    ("features", "said"), [(np.eye(4), "4 samples are too few"), (np.ones((9, 3)), "all samples have the same")]
)
def test_what_has_no_plane_is_said(features, said):
    with pytest.raises(RunError, match=said):
        project_to_plane(features)


def test_the_nearest_neighbour_is_found_in_all_features():
    features, classes = np.random.default_rng(5).normal(size=(25, 4)), np.random.default_rng(6).integers(0, 3, 25)
    agree = 0
    for row in range(25):
        distances = [np.inf if other == row else np.linalg.norm(features[row] - features[other]) for other in range(25)]
        agree += classes[int(np.argmin(distances))] == classes[row]
    assert measure_agreement(features, classes) == pytest.approx(agree / 25)


def test_samples_that_lack_the_modality_or_the_class_are_left_out_and_many_are_drawn_by_a_seed():
    features, classes = np.arange(20.0)[:, None], np.arange(20) % 2
    features[3], classes[5] = np.nan, -1
    kept = select_usable(Cloud("audio", features, classes))
    assert sorted({*range(20)} - {int(value) for value in kept.features[:, 0]}) == [3, 5]
    some = select_usable(Cloud("audio", features, classes), most=7)
    assert len(some.features) == 7
    np.testing.assert_array_equal(some.features, select_usable(Cloud("audio", features, classes), most=7).features)


def test_sets_of_labels_are_classes_and_of_several_numbers_the_first_is_shown():
    targets = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [np.nan, 1.0]])
    indices, names = class_indices(targets, ("speech", "music"))
    assert names == ("none", "speech", "speech+music")
    assert indices.tolist() == [1, 2, 0, -1]
    assert class_indices(targets, ())[0].tolist()[:3] == [1.0, 1.0, 0.0]
    assert class_indices(np.array([0, 1]), ("a", "b"))[1] == ("a", "b")


def test_classes_differ_in_colour_and_marker():
    assert len({style_of(position) for position in range(64)}) == 64
    assert len({style_of(position)[1] for position in range(8)}) == 8


def test_a_panel_has_every_class_with_a_legend_and_at_most_twenty_of_many():
    features, classes = blobs(60)
    few = draw_features([Cloud("audio", features, classes)], ("calm", "happy", "sad"))
    assert few.axes[0].get_title() == "audio\nnearest alike 100 %"
    assert [text.get_text() for text in few.legends[0].get_texts()] == ["calm", "happy", "sad"]
    many = draw_features([Cloud("audio", features, np.arange(60))], [f"person {n}" for n in range(60)])
    assert [text.get_text() for text in many.legends[0].get_texts()][-2:] == ["person 19", "other classes"]


def test_the_features_of_a_report_are_of_networks_alone_then_fused_then_adapted(tmp_path):
    found = gather_clouds(ExperimentFolder.open(write_experiment(tmp_path, results_of(seeds=(4, 5)))))
    assert (found.fold, found.seed) == ("A1,2", 4)
    assert [cloud.title for cloud in found.clouds] == [
        "audio, alone",
        "video, alone",
        "late fusion, fused",
        "N2, fused",
    ]
    assert [cloud.title for cloud in found.adapted[:3]] == ["audio, alone", "audio in N2", "audio in N2, adapted"]
    stored = ExperimentFolder.open(tmp_path).said("runs/late_fusion/A1_2/4")
    np.testing.assert_array_equal(found.clouds[1].features, stored.features["feature/video"])
    np.testing.assert_array_equal(found.clouds[1].targets, stored.targets)


# Learning curves


def test_a_terms_curve_is_the_mean_over_the_steps_of_an_epoch_run_by_run():
    steps = [{"stage": "joint", "epoch": epoch, "terms": {"fused/y": value}} for epoch, value in ((0, 4.0), (0, 2.0))]
    ended = {"stage": "joint", "epoch": 0, "training": 3.0, "validation": 5.0, "validation_terms": {"fused/y": 5.0}}
    longer = [*steps, ended, {"stage": "joint", "epoch": 1, "terms": {"fused/y": 1.0}}]
    found = term_curves([[*steps, ended], longer], "joint")
    assert set(found) == {"fused/y", "validation", "validation fused/y"}
    np.testing.assert_array_equal(found["fused/y"], [[3.0, np.nan], [3.0, 1.0]])
    np.testing.assert_array_equal(found["validation fused/y"], [[5.0], [5.0]])
    assert term_curves([steps], "another stage") == {}


def test_learning_curves_have_a_panel_per_variant_and_a_line_per_term():
    figure = draw_term_curves({"N1": [log(("audio",)), log(("audio",))], "N0": [log((), validated=False)]})
    assert [axes.get_title() for axes in figure.axes] == ["N1", "N0"]
    labels = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    terms = ["fused/emotion", "audio/emotion"]
    assert labels == [[*terms, *(f"validation {term}" for term in terms)], terms[:1]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fused", "audio", "training", "validation"]
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours[:2] == colours[2:]
    assert figure.axes[1].lines[0].get_color() == colours[0]
    with pytest.raises(RunError, match="no log holds an epoch"):
        draw_term_curves({"N1": [[]]})


def test_a_training_logs_validation_losses_by_term_and_selects_by_the_fused_one(tmp_path):
    run = run_of(tmp_path / "run", select="inner", epochs=2)
    for record in epochs_of(run):
        assert set(record["validation_terms"]) == {"fused/label", "motion/label", "posture/label"}
        assert record["validation"] == pytest.approx(record["validation_terms"]["fused/label"], abs=1e-12)
    assert set(steps_of(run)[0]["terms"]) == set(epochs_of(run)[0]["validation_terms"])


# Confusions, intervals, numbers, the table


def test_every_matrix_asked_for_is_drawn_and_many_classes_have_no_numbers_in_cells(tmp_path):
    names = ["late fusion", "AM", "VM", "ensemble"]
    few = draw_confusions(record_of(results_of()), names)
    assert [axes.get_title() for axes in few.axes] == names
    assert [label.get_text() for label in few.axes[0].get_yticklabels()] == ["calm", "happy", "sad"]
    many = draw_confusions(record_of(results_of(classes=[f"person {n}" for n in range(100)])), ["AM"])
    assert not list(many.axes[0].texts)
    assert len(many.axes[0].get_yticklabels()) <= 6
    assert save_figure(many, tmp_path / "many.png").is_file()


def test_the_most_frequent_confusions_are_counted_without_the_diagonal():
    results = results_of(classes=("calm", "happy", "sad"))
    results["confusion"]["matrices"]["AM"] = [[5, 3, 0], [7, 2, 1], [0, 0, 9]]
    assert most_confused(record_of(results), "AM", 2) == [("happy", "calm", 7, 0.7), ("calm", "happy", 3, 0.375)]


def test_every_fold_has_its_interval_averaged_over_seeds_and_inferior_ones_are_open():
    results = results_of(seeds=(0, 1))
    for row in results["rows"]:
        if (row["variant"], row["fold"]) == ("N2", "A1,2"):
            row["low"], row["high"] = (0.2, 0.8) if row["seed"] else (0.4, 0.9)
    results["summary"]["N2"]["inferior"] = {"A3,4": "video"}
    axes = draw_fold_intervals(record_of(results)).axes[-1]
    lines = [item for item in axes.collections if hasattr(item, "get_segments")]
    np.testing.assert_allclose(lines[0].get_segments()[0][:, 0], [30, 85])
    dots = [item for item in axes.collections if not hasattr(item, "get_segments")]
    assert [tuple(item.get_facecolors()[0][:3]) == (1, 1, 1) for item in dots] == [False, True, False]


def test_numbers_are_drawn_against_each_other_on_the_same_scale():
    wanted, said = np.array([[0.0], [1.0], [np.nan]]), np.array([[0.5], [3.0], [9.0]])
    axes = draw_numbers({"N2": (wanted, said)}, "valence").axes[0]
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.collections[0].get_offsets()[:2].tolist() == [[0.0, 0.5], [1.0, 3.0]]
    with pytest.raises(RunError, match="no sample has both"):
        draw_numbers({"N2": (wanted[2:], said[2:])}, "valence")


def test_the_table_as_a_figure_holds_every_cell():
    texts = {text.get_text() for text in draw_table(record_of(results_of())).axes[0].texts}
    assert {"A1,2", "mean", "late fusion", "N2", "p corrected"} <= texts
    assert f"{100 * results_of()['summary']['N2']['mean']:.1f}" in texts


# Labels


def test_long_names_fit_and_stay_different():
    first, second = fit_labels(["x" * 90, "x" * 90 + "y" * 3], 12)
    assert (len(first), len(second)) == (12, 12)
    assert first != second
    assert len(set(fit_labels(["a" + "x" * 50 + "b", "a" + "y" + "x" * 49 + "b"], 8))) == 2
    assert fit_labels(["two\nlines", "", "$1$"]) == ("two lines", "?", r"\$1\$")
