"""A finished run is calibrated on the groups that its training set aside, and on no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import torch

import fusionkit
from fusionkit.data.assembly import assemble
from fusionkit.errors import RunError
from fusionkit.evaluation import evaluate
from fusionkit.evaluation.calibration import calibrate
from fusionkit.inference.calibration.novelty import fit_familiar
from fusionkit.report.text.calibration import rows_of, sentences
from fusionkit.storage.calibration_file import locate_calibration, locate_figure, locate_novelty, read_calibration
from fusionkit.storage.records.calibration import Calibration
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors, write_tensors

MODALITIES = {
    "motion": {"features": 3, "min_length": 2, "max_length": 5, "missing": 0.4, "noise": 1.5},
    "posture": {"features": 4, "min_length": 1, "max_length": 1, "noise": 1.5},
}
DATA = {"type": "synthetic", "groups": 24, "samples": 2, "regression": True, "modalities": MODALITIES}
TARGETS = {"label": "classification", "strength": "regression"}
OPTIONS: dict[str, Any] = {
    "data": {"dataset": DATA, "folds": {"type": "group_kfold", "folds": 3}},
    "model": {"targets": TARGETS},
    "select": "inner",
    "inner_fraction": 0.6,
    "epochs": 3,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = small_runs.run_of(tmp_path_factory.mktemp("runs") / "run", **OPTIONS)
    evaluate(run, device="cpu")
    calibrate(run, device="cpu")
    return run


@pytest.fixture(scope="module")
def calibration(run: RunFolder) -> Calibration:
    found = read_calibration(run)
    assert found is not None
    return found


def values_of(run: RunFolder, ids: Any) -> list[dict[str, Any]]:
    assembly = assemble(run.recipe)
    place = {row.id: position for position, row in enumerate(assembly.dataset.rows)}
    return [dict(assembly.dataset.load(place[name])) for name in ids]


def test_it_is_learned_on_groups_that_training_did_not_see(run: RunFolder, calibration: Calibration) -> None:
    assembly = assemble(run.recipe)
    group_of = {row.id: row.group for row in assembly.dataset.rows}
    aside, trained, tested = (
        {group_of[name] for name in ids} for ids in (assembly.validation_ids, assembly.train_ids, assembly.test_ids)
    )

    assert not aside & trained
    assert not tested & (aside | trained)
    assert calibration.aside.groups == len(aside) == 10
    assert calibration.test.groups == len(tested) == 8
    assert calibration.branches["fused"]["label"].everything.samples == len(assembly.validation_ids)


def test_the_stated_coverage_is_that_of_the_stored_predictions(run: RunFolder, calibration: Calibration) -> None:
    stored, about = run.read_predictions()
    groups = np.array(json.loads(about["groups"]))
    motion = stored["present/motion"].numpy()
    said = stored["distribution/label/fused"].double().numpy()
    truth = stored["target/label"].numpy()
    assert stored["present/posture"].all()
    for subset, rows in (("motion+posture", motion), ("posture", ~motion)):
        of = calibration.branches["fused"]["label"].subsets[subset]
        of = of if of.groups >= 9 else calibration.branches["fused"]["label"].everything
        cumulative = np.cumsum(of.weights)
        threshold = of.scores[int(np.argmax(cumulative >= 0.9 - 1e-12))]
        sets = (1 - said[rows] <= threshold) | (np.arange(said.shape[1]) == said[rows].argmax(1)[:, None])
        held = sets[np.arange(rows.sum()), truth[rows]]
        by_group = [held[groups[rows] == group].mean() for group in np.unique(groups[rows])]
        stated = calibration.held["fused"]["label"][subset]
        assert stated.coverage.value == pytest.approx(np.mean(by_group), abs=1e-12)
        assert stated.size == pytest.approx([sets.sum(1).mean()], abs=1e-12)
        assert stated.samples == rows.sum()


def test_the_points_of_its_figure_are_those_of_the_stored_predictions(run: RunFolder, calibration: Calibration) -> None:
    stored, about = run.read_predictions()
    groups, motion = np.array(json.loads(about["groups"])), stored["present/motion"].numpy()
    said, truth = stored["distribution/label/fused"].double().numpy(), stored["target/label"].numpy()
    learned = calibration.branches["fused"]["label"]
    own = [learned.subsets["motion+posture" if each else "posture"].temperature for each in motion]
    logits = np.log(said) / np.array([each or learned.everything.temperature for each in own])[:, None]
    cooled = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for shares, bins in ((said, calibration.curves["label"].before), (cooled, calibration.curves["label"].after)):
        assert bins is not None
        place = np.ceil(15 * shares.max(1)).astype(int) - 1
        right = shares.argmax(1) == truth
        assert bins.counts == np.bincount(place, minlength=15).tolist()
        for number in range(15):
            inside = place == number
            wanted = [None, None] if not inside.any() else [shares.max(1)[inside].mean(), right[inside].mean()]
            assert [bins.said[number], bins.observed[number]] == pytest.approx(wanted, abs=1e-9)

    curve, of = calibration.curves["strength"], calibration.branches["fused"]["strength"]
    off = np.abs(stored["distribution/strength/fused"].double().numpy()[:, 0] - stored["target/strength"].numpy())
    assert curve.levels == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    for level, covered in zip(curve.levels, curve.covered, strict=True):
        held = np.zeros(len(groups), dtype=bool)
        for subset, rows in (("motion+posture", motion), ("posture", ~motion)):
            each = of.subsets[subset]
            each = each if each.groups >= level / (1 - level) - 1e-9 else of.everything
            reach = each.scores[int(np.argmax(np.cumsum(each.weights) >= level - 1e-12))] * of.spread[0]
            held[rows] = off[rows] <= reach
        assert covered == pytest.approx(np.mean([held[groups == group].mean() for group in np.unique(groups)]))


def test_intervals_reach_as_far_as_the_scores_in_the_unit_of_training(run: RunFolder, calibration: Calibration) -> None:
    of = calibration.branches["fused"]["strength"]
    assembly = assemble(run.recipe)
    training = set(assembly.train_ids)
    known = [float(row.targets["strength"]) for row in assembly.dataset.rows if row.id in training]  # type: ignore[arg-type]
    assert of.spread == pytest.approx([np.std(known)], rel=1e-6)
    assert of.everything.temperature is None

    predictor = fusionkit.load(run.path, device="cpu")
    (answer,) = predictor.predict(values_of(run, assembly.test_ids[:1]), level=0.9)
    said = answer.targets["strength"]
    learned = of.subsets["+".join(answer.present)]
    learned = learned if learned.groups >= 9 else of.everything
    reach = learned.scores[int(np.argmax(np.cumsum(learned.weights) >= 0.9 - 1e-12))] * of.spread[0]
    assert said.interval == ((pytest.approx(said.prediction - reach), pytest.approx(said.prediction + reach)),)  # type: ignore[operator]


def test_predict_gives_sets_that_cover_what_the_calibration_measured(run: RunFolder, calibration: Calibration) -> None:
    assembly = assemble(run.recipe)
    predictor = fusionkit.load(run.path, device="cpu")
    plain = predictor.predict(values_of(run, assembly.test_ids))
    answers = predictor.predict(values_of(run, assembly.test_ids), level=0.9, branches=True)
    rows = {row.id: row for row in assembly.dataset.rows}
    held: dict[str, list[float]] = {}
    for name, answer, before in zip(assembly.test_ids, answers, plain, strict=True):
        said = answer.targets["label"]
        assert said.prediction == before.targets["label"].prediction
        assert said.set is not None
        assert said.prediction in said.set
        assert sum(said.probabilities.values()) == pytest.approx(1, abs=1e-12)
        held.setdefault(str(rows[name].group), []).append(rows[name].targets["label"] in said.set)
    measured = calibration.held["fused"]["label"]["all"].coverage.value
    assert np.mean([np.mean(each) for each in held.values()]) == pytest.approx(measured)
    assert {"label.set", "strength.low", "strength.high", "posture/label.set"} <= set(answers.columns)
    assert set(answers.rows()[0]) == set(answers.columns)
    assert "label.set" not in plain.columns
    assert answers[0].plain()["targets"]["label"]["set"] == list(answers[0].targets["label"].set or ())


def test_a_subset_that_was_never_set_aside_is_told(run: RunFolder) -> None:
    predictor = fusionkit.load(run.path, device="cpu")

    (answer,) = predictor.predict({"motion": torch.zeros(3, 3)}, level=0.9)

    assert answer.notes == ("label, strength: calibrated over all modalities together, not for motion alone",)


def test_a_level_that_the_groups_do_not_give_is_refused_with_the_highest(run: RunFolder) -> None:
    predictor = fusionkit.load(run.path, device="cpu")
    with pytest.raises(
        RunError, match=r"sets of level 0.95 need a calibration on 19 groups, this one had 10; the high"
    ):
        predictor.predict({"posture": torch.zeros(4)}, level=0.95)
    with pytest.raises(RunError, match=r"level 90: is no share between 0 and 1, such as 0.9"):
        predictor.predict({"posture": torch.zeros(4)}, level=90)


def test_a_calibration_of_other_weights_is_refused(run: RunFolder, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run.path, tmp_path / "copied"))
    other = json.loads(locate_calibration(run).read_text())
    other["weights_sha256"] = "0" * 64
    locate_calibration(RunFolder(copied)).write_text(json.dumps(other))
    with pytest.raises(RunError, match=r"calibration.json: is of other weights than those beside it; remove it"):
        fusionkit.load(copied, device="cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": [0.5]}, "scores have 1 weights"),
        ({"scores": [0.5, 0.1], "weights": [0.1, 0.1]}, "do not rise"),
        ({"scores": [0.5], "weights": [1.5]}, "weights"),
    ],
)
def test_a_damaged_calibration_is_refused(run: RunFolder, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    copied = RunFolder(shutil.copytree(run.path, tmp_path / "copied"))
    damaged = json.loads(locate_calibration(run).read_text())
    damaged["branches"]["fused"]["label"]["everything"] |= change
    locate_calibration(copied).write_text(json.dumps(damaged))
    with pytest.raises(RunError, match=rf"calibration.json: is damaged.*{said}"):
        read_calibration(copied)


def test_a_run_that_was_not_calibrated_gives_no_sets(run: RunFolder, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run.path, tmp_path / "copied", ignore=shutil.ignore_patterns("calibration.json")))
    predictor = fusionkit.load(copied, device="cpu")
    with pytest.raises(RunError, match="was not calibrated; `fusionkit calibrate` does it"):
        predictor.predict({"posture": torch.zeros(4)}, level=0.9)
    assert predictor.predict({"posture": torch.zeros(4)})[0].targets["label"].set is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"select": "last"}, r"set no groups aside \(train.select: last\).*train it with train.select=inner"),
        ({"select": "best"}, r"selected its epoch on the test part"),
        ({"inner_fraction": 0.25}, r"4 groups were set aside, and level 0.9 needs 9; give --level 0.8 or less, or tra"),
    ],
)
def test_what_leaves_nothing_to_learn_on_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    run = small_runs.run_of(tmp_path / "run", **{**OPTIONS, "epochs": 1, **changes})
    with pytest.raises(RunError, match=said):
        calibrate(run, device="cpu")
    assert not locate_calibration(run).exists()


def test_groups_on_both_sides_are_refused(tmp_path: Path) -> None:
    data = {"dataset": DATA, "folds": {"type": "random_kfold", "folds": 3}, "allow_group_overlap": True}
    run = small_runs.run_of(tmp_path / "run", **{**OPTIONS, "epochs": 1, "data": data})
    with pytest.raises(RunError, match=r"its split is group-dependent.*coverage of new groups cannot be measured"):
        calibrate(run, device="cpu")


def test_it_is_printed_with_what_it_is_worth(command: Any, run: RunFolder, calibration: Calibration) -> None:
    ended = command("calibrate", run.path, "--device", "cpu")
    assert ended.status == 0
    words = " ".join(ended.out.split())
    assert "label: sets of 90 % hold" in words
    assert "Learned on 80 samples of 10 groups that the training set aside." in words
    assert "What is promised holds for new groups if they are like those set aside" in words
    assert str(locate_calibration(run)) in ended.out.replace("\n", "")
    assert locate_figure(run).read_bytes()[:4] == b"\x89PNG"
    again = command("calibrate", run.path, "--level", "0.8", "--json", "--device", "cpu").record
    assert again["level"] == 0.8
    refused = command("calibrate", run.path, "--level", "0.99")
    assert (refused.status, "give --level 0.9 or less" in refused.err) == (2, True)
    calibrate(run, device="cpu")


def test_too_low_a_coverage_is_said(calibration: Calibration) -> None:
    plain = calibration.plain()
    plain["held"]["fused"]["label"]["all"]["coverage"] = {"value": 0.5, "low": 0.4, "high": 0.6}
    plain["held"]["fused"]["strength"]["all"]["groups"] = 3
    plain["held"]["fused"]["label"]["posture"]["own"] = False
    plain["held"]["fused"]["label"]["motion+posture"]["groups"] = 5
    changed = Calibration.model_validate(plain)
    text = " ".join(sentences(changed))
    assert "hold 50.0 % of the truth in new groups: less than they say" in text
    assert "strength: the test part has 3 groups, too few groups to tell how often intervals of 90 %" in text
    assert "Fewer than 6 test groups have samples with motion+posture alone, too few groups to tell how often" in text
    assert [row[3] for row in rows_of(changed, "label")][:2] == ["50.0 [40.0, 60.0]", "too few"]
    assert rows_of(changed, "strength")[0][3] == "too few"
    assert "* Of samples with posture alone the calibration has too few groups" in text
    assert [row[0] for row in rows_of(changed, "label")] == ["all", "motion+posture", "posture *"]


def test_a_sample_unlike_the_training_is_told_and_those_set_aside_are_not(run: RunFolder) -> None:
    predictor = fusionkit.load(run.path, device="cpu")
    assembly = assemble(run.recipe)

    (strange,) = predictor.predict({"posture": torch.full((4,), 1e4)}, level=0.9)
    aside = predictor.predict(values_of(run, assembly.validation_ids), level=0.9)

    assert strange.notes == ("posture: unlike the training, farther than every sample of the calibration",)
    assert not [note for answer in aside for note in answer.notes if "unlike" in note]
    assert predictor.predict({"posture": torch.full((4,), 1e4)})[0].notes == ()


def test_distances_are_those_of_the_formula(run: RunFolder, calibration: Calibration) -> None:
    draw = np.random.default_rng(0)
    known, others = draw.normal(2, 3, (400, 3)) @ draw.normal(0, 1, (3, 3)), draw.normal(0, 4, (5, 3))
    familiar = fit_familiar(torch.from_numpy(known), torch.from_numpy(others))
    assert familiar is not None

    covariance = familiar.root.double().numpy() @ familiar.root.double().numpy().T
    offsets = others.astype(np.float16).astype(np.float64) - known.mean(0)
    restated = np.sqrt(np.einsum("ij,jk,ik->i", offsets, np.linalg.inv(covariance), offsets))
    assert familiar.measure(torch.from_numpy(others)).tolist() == pytest.approx(restated, rel=1e-4)
    assert familiar.farthest == pytest.approx(restated.max(), rel=1e-4)
    assert np.allclose(covariance, np.cov(known.T, bias=True), rtol=0.1, atol=0.3)  # shrunk, of many samples a little
    assert set(calibration.unfamiliar) == {"motion", "posture"}


def test_novelty_of_other_weights_or_damaged_is_refused(run: RunFolder, tmp_path: Path) -> None:
    copied = RunFolder(shutil.copytree(run.path, tmp_path / "copied"))
    kept, about = read_tensors(locate_novelty(run))
    write_tensors(locate_novelty(copied), {**kept, "root/posture": torch.eye(3)}, about)
    with pytest.raises(RunError, match="the tensors of posture do not fit each other"):
        fusionkit.load(copied.path, device="cpu")
    write_tensors(locate_novelty(copied), kept, {"weights_sha256": "0"})
    with pytest.raises(RunError, match=r"novelty.safetensors: is of other weights than those beside it"):
        fusionkit.load(copied.path, device="cpu")
    calibrate(copied, device="cpu", novelty=False)
    (answer,) = fusionkit.load(copied.path, device="cpu").predict({"posture": torch.full((4,), 1e4)}, level=0.9)
    assert answer.notes == ()
