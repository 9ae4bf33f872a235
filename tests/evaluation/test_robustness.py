"""What is left under corruptions: the corruptions themselves, one run under them, and the runs of an experiment."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from drawn_runs import document, drawn_run
from small_experiments import EXPERIMENT

from fusionkit import build, load_recipe
from fusionkit.cli import main
from fusionkit.data.assembly import assemble
from fusionkit.errors import RecipeError, RunError
from fusionkit.evaluation import evaluate
from fusionkit.evaluation.robustness import CORRUPTIONS, Levels, stress
from fusionkit.evaluation.robustness.corruptions import add_noise, draw_hit, lag, partners, shift_elements
from fusionkit.evaluation.robustness.curves import notes_of
from fusionkit.evaluation.robustness.spread import Spread, measure
from fusionkit.evaluation.robustness.stressed_run import Stressed, stress_run
from fusionkit.experiments import open_experiment
from fusionkit.storage.run_folder import RunFolder

NAMES = [f"s{place}" for place in range(50)]
EVERYONE = torch.ones(50, dtype=torch.bool)


def curve_of(result, corruption, modality, column, target="label"):
    """By level, the point of a curve."""
    (found,) = [
        curve
        for curve in result["curves"]
        if (curve["corruption"], curve["modality"], curve["column"], curve["target"])
        == (corruption, modality, column, target)
    ]
    return {point["level"]: point for point in found["points"]}


@pytest.fixture(scope="module")
def stressed(tmp_path_factory):
    run = drawn_run(tmp_path_factory.mktemp("runs") / "run")
    return run, evaluate(run, device="cpu", resamples=2).plain(), stress(run.path, device="cpu").plain()


# corruptions


def test_who_is_hit_at_one_level_is_hit_at_every_higher_one_and_shares_are_met():
    masks = [draw_hit(NAMES, EVERYONE, share, 3, "missing/a") for share in (0.0, 0.1, 0.35, 0.7, 1.0)]
    assert [int(mask.sum()) for mask in masks] == [0, 5, 18, 35, 50]
    for low, high in itertools.pairwise(masks):
        assert not bool((low & ~high).any())


def test_who_is_hit_depends_on_seed_and_purpose_and_not_on_the_order_of_samples():
    mask = draw_hit(NAMES, EVERYONE, 0.4, 0, "missing/a")
    back = draw_hit(NAMES[::-1], EVERYONE, 0.4, 0, "missing/a")
    assert torch.equal(mask, back.flip(0))
    assert not torch.equal(mask, draw_hit(NAMES, EVERYONE, 0.4, 1, "missing/a"))
    assert not torch.equal(mask, draw_hit(NAMES, EVERYONE, 0.4, 0, "missing/b"))


def test_only_samples_that_have_the_modality_are_hit():
    able = torch.arange(50) % 5 != 0
    assert torch.equal(draw_hit(NAMES, able, 1.0, 0, "missing/a"), able)
    assert int(draw_hit(NAMES, able, 0.5, 0, "missing/a").sum()) == 20


@pytest.mark.parametrize("sizes", [(10, 10, 10, 10, 10), (25, 25), (24, 13, 13), (1,) * 50])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_swap_never_takes_a_samples_own_and_takes_another_groups_where_there_is_one(sizes, seed):
    groups = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    taken = partners(NAMES, groups, EVERYONE, seed, "swap/a")
    assert sorted(taken) == list(range(50))
    assert all(groups[place] != groups[other] for place, other in enumerate(taken))


@pytest.mark.parametrize("sizes", [(50,), (40, 10), (49, 1)])
def test_where_one_group_has_most_samples_a_swap_still_never_takes_a_samples_own(sizes):
    groups = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    taken = partners(NAMES, groups, EVERYONE, 0, "swap/a")
    assert sorted(taken) == list(range(50))
    assert all(place != other for place, other in enumerate(taken))


def test_a_swap_is_among_those_that_have_the_modality_and_one_alone_keeps_its_own():
    able = torch.arange(50) % 2 == 0
    taken = partners(NAMES, NAMES, able, 0, "swap/a")
    assert all(other == place if place % 2 else other != place and other % 2 == 0 for place, other in enumerate(taken))
    assert partners(["a", "b"], ["a", "b"], torch.tensor([True, False]), 0, "swap/a") == [0, 1]


def test_noise_has_the_standard_deviation_that_its_level_says_in_units_of_each_channel():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, 3, generator=generator) * torch.tensor([1.0, 50.0, 0.0])
    spread = Spread()
    spread.add(values[:1500])
    spread.add(values[1500:])
    np.testing.assert_allclose(spread.deviation, values.double().numpy().std(axis=0), rtol=1e-12, atol=1e-12)
    drawn = torch.randn(values.shape, generator=generator)
    noise = (add_noise(values, spread.deviation, 0.5, drawn) - values).double().numpy()
    np.testing.assert_allclose(noise.std(axis=0) / spread.deviation[:2].tolist()[0], [0.5, 25.0, 0.0], rtol=0.05)
    assert np.abs(noise[:, 2]).max() == 0


def test_noise_on_frames_is_by_colour_and_stays_within_bytes():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (6, 3, 8, 8), generator=generator, dtype=torch.uint8)
    spread = Spread()
    for frame in frames:
        spread.add(frame[None])
    wanted = frames.double().numpy().std(axis=(0, 2, 3))
    np.testing.assert_allclose(spread.deviation, wanted, rtol=1e-12)
    drawn = torch.randn(frames.shape, generator=generator)
    said = add_noise(frames, spread.deviation, 1.0, drawn)
    whole = np.clip(np.rint(frames.double().numpy() + wanted[:, None, None] * drawn.double().numpy()), 0, 255)
    assert said.dtype == torch.uint8
    np.testing.assert_array_equal(said, whole)
    assert add_noise(frames, spread.deviation, 0.0, drawn) is frames


def test_a_wave_has_one_channel():
    wave = torch.arange(10.0)
    spread = Spread()
    spread.add(wave)
    np.testing.assert_allclose(spread.deviation, [np.arange(10).std()], rtol=1e-12)
    assert add_noise(wave, spread.deviation, 1.0, torch.ones(10)).shape == (10,)


def test_what_comes_late_holds_its_first_element_and_keeps_its_length():
    frames = torch.arange(5)[:, None] * torch.ones(5, 2)
    assert shift_elements(frames, 2)[:, 0].tolist() == [0, 0, 0, 1, 2]
    assert shift_elements(frames, -2)[:, 0].tolist() == [2, 3, 4, 4, 4]
    assert shift_elements(frames, 99)[:, 0].tolist() == [0] * 5
    assert shift_elements(frames, 0) is frames
    assert shift_elements(frames[:0], 3).shape == (0, 2)


def test_a_lag_is_in_seconds_where_there_is_a_rate_and_in_shares_of_the_length_where_there_is_none():
    assert (lag(0.5, 7, 25.0), lag(-0.5, 7, 25.0), lag(0.25, 10, None), lag(-1.0, 10, None)) == (13, -13, 3, -10)


# levels


def test_levels_rise_and_hold_zero():
    assert Levels(shift=(1, -1), missing=(1, 0.5)).shift == (-1.0, 0.0, 1.0)
    assert Levels(missing=(1, 0.5)).missing == (0.0, 0.5, 1.0)


def test_every_level_outside_its_range_is_told():
    with pytest.raises(RecipeError) as told:
        Levels(missing=(1.2,), noise=(-1, float("nan")), shift=(float("inf"),), shift_share=(2,), swap=(-0.1,))
    text = str(told.value)
    assert "levels of missing: 120 % is no level; a share between 0 % and 100 % is expected" in text
    assert "levels of noise: -1 is no level; a finite number is expected, 0 or more" in text
    assert "levels of shift: inf is no level; a finite number is expected" in text
    assert "levels of shift_share: 200 % is no level; a share between -100 % and 100 % is expected" in text
    assert len(told.value.problems) == 6


# a run


def test_at_level_0_every_curve_is_the_cards_figure_to_the_last_bit(stressed):
    _, card, result = stressed
    checked = 0
    for curve in result["curves"]:
        (point,) = [point for point in curve["points"] if point["level"] == 0]
        branch = card["targets"][curve["target"]]["branches"][curve["column"]]
        assert point["mean"] == branch["metrics"][result["targets"][curve["target"]]["metric"]]["value"]
        assert point["samples"] == branch["samples"]
        checked += 1
    assert checked == 2 * 5 * 7  # targets, branches, corruptions of two modalities; one cannot be shifted


def test_metrics_and_which_way_is_better_are_the_loss_heads(stressed):
    _, card, result = stressed
    for target, of in result["targets"].items():
        stated = card["targets"][target]
        assert (of["metric"], of["higher_is_better"]) == (stated["score"], stated["higher_is_better"])
    assert not result["targets"]["strength"]["higher_is_better"]


@pytest.mark.parametrize(("gone", "left"), [("motion", "posture"), ("posture", "motion")])
def test_missing_everywhere_is_an_evaluation_of_the_other_modalities(stressed, gone, left):
    run, _, result = stressed
    assembly = assemble(run.recipe)
    model = build(assembly.recipe)
    model.load_state_dict(run.load_weights()[0])
    right, wanted = [], []
    with torch.inference_mode():
        for batch in assembly.loader(assembly.test_ids, training=False):
            scores = model.eval()(batch.inputs, modalities=[left]).fused
            right += (scores["label"].argmax(dim=1) == batch.targets["label"]).tolist()
            said = model.head("strength").distribution(scores["strength"])
            wanted.append((said.flatten() - batch.targets["strength"].flatten()).abs())
    assert curve_of(result, "missing", gone, "fused")[1.0]["mean"] == pytest.approx(np.mean(right), abs=1e-12)
    metric = result["targets"]["strength"]["metric"]
    errors = torch.cat(wanted).double().numpy()
    expected = {"mae": errors.mean(), "rmse": np.sqrt((errors**2).mean())}[metric]
    assert curve_of(result, "missing", gone, "fused", "strength")[1.0]["mean"] == pytest.approx(expected, rel=1e-5)


def test_the_ensembles_curve_averages_what_is_present(stressed):
    run, _, result = stressed
    tensors, about = run.read_predictions()
    names = json.loads(about["samples"])
    said = {name: tensors[f"distribution/label/{name}"].double().numpy() for name in ("motion", "posture")}
    present = {name: tensors[f"present/{name}"].numpy() for name in said}
    targets = tensors["target/label"].numpy()
    for level, point in curve_of(result, "missing", "motion", "ensemble").items():
        having = [name for name, has in zip(names, present["motion"], strict=True) if has]
        having.sort(key=lambda name: hashlib.sha256(f"0/missing/motion/{name}".encode()).digest())
        gone = set(having[: int(np.floor(level * len(having) + 0.5))])
        right, spoken = 0, 0
        for row, name in enumerate(names):
            voices = [said["motion"][row]] if present["motion"][row] and name not in gone else []
            voices += [said["posture"][row]] if present["posture"][row] else []
            if voices:
                spoken += 1
                right += int(np.argmax(np.mean(voices, axis=0)) == targets[row])
        assert point["samples"] == spoken
        assert point["mean"] == pytest.approx(right / spoken, abs=1e-12)


def test_a_network_of_one_modality_is_untouched_by_what_befalls_another(stressed):
    _, _, result = stressed
    for corruption in ("missing", "noise", "swap"):
        values = {point["mean"] for point in curve_of(result, corruption, "posture", "motion").values()}
        assert len(values) == 1


def test_at_a_swap_of_all_every_sample_has_its_partners_modality(stressed):
    run, _, result = stressed
    assembly = assemble(run.recipe)
    rows = {row.id: row for row in assembly.dataset.rows}
    names = assembly.test_ids
    present = measure(assembly, ["motion"])["motion"].present
    taken = partners(names, [rows[name].group for name in names], present, 0, "swap/motion")
    tensors, _ = run.read_predictions()
    said = tensors["distribution/label/motion"][taken][present]
    right = (said.argmax(dim=1) == tensors["target/label"][present]).double().mean()
    assert curve_of(result, "swap", "motion", "motion")[1.0]["mean"] == pytest.approx(float(right), abs=1e-12)


def test_what_the_strongest_level_gains_is_its_change_from_untouched_with_an_interval_over_groups(stressed):
    run, _, result = stressed
    compared = 0
    for curve in result["curves"]:
        sign = 1 if result["targets"][curve["target"]]["higher_is_better"] else -1
        after = max(curve["points"], key=lambda point: point["level"])
        (before,) = (point for point in curve["points"] if point["level"] == 0)
        if after["samples"] == before["samples"] and after["mean"] is not None:
            assert curve["gain"]["value"] == pytest.approx(sign * (after["mean"] - before["mean"]), abs=1e-6)
            compared += 1
    assert compared > 20
    assert any(curve["gain"]["low"] is not None for curve in result["curves"])
    assert result["samples"] == len(assemble(run.recipe).test_ids)


def test_a_static_modality_has_no_shift_and_the_result_says_so(stressed):
    _, _, result = stressed
    shifted_ones = {curve["modality"] for curve in result["curves"] if curve["corruption"] == "shift"}
    assert shifted_ones == {"motion"}
    assert "posture has one element a sample, so there is no shift of it." in result["notes"]


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"budget": 12, "batch_size": 1}, {"cache": True}])
def test_figures_do_not_depend_on_how_batches_are_cut(tmp_path, stressed, change):
    _, _, result = stressed
    again = stress(drawn_run(tmp_path / "run", **change).path, device="cpu").plain()
    for one, other in zip(result["curves"], again["curves"], strict=True):
        for first, second in zip(one["points"], other["points"], strict=True):
            assert first["samples"] == second["samples"]
            assert (first["mean"] is None) == (second["mean"] is None)
            assert first["mean"] is None or first["mean"] == pytest.approx(second["mean"], rel=1e-5, abs=1e-6)


def test_a_seed_gives_the_same_and_another_seed_something_else(stressed):
    run, _, result = stressed
    options = {"modalities": ["motion"], "corruptions": ["noise", "swap"], "device": "cpu"}
    one, two = (stress_run(run, Levels(), seed=seed, **options) for seed in (0, 1))
    figures = [
        [of.metrics for point in found.points for of in point.figures["strength"].values()] for found in (one, two)
    ]
    assert figures[0] != figures[1]
    again = [
        point.figures["strength"]["fused"].metrics[result["targets"]["strength"]["metric"]]
        for point in one.points
        if point.corruption == "noise"
    ]
    assert again == [point["mean"] for point in curve_of(result, "noise", "motion", "fused", "strength").values()]


def test_a_modality_without_a_rate_is_shifted_by_shares_of_its_length(tmp_path):
    result = stress(drawn_run(tmp_path / "run", rate=None).path, Levels(shift_share=(0.5,)), device="cpu").plain()
    (unit,) = {curve["unit"] for curve in result["curves"] if curve["corruption"] == "shift"}
    assert unit == "share of the length"
    assert list(curve_of(result, "shift", "motion", "fused")) == [0.0, 0.5]


def test_a_run_of_one_modality_alone_is_stressed_in_it_only(tmp_path):
    run = drawn_run(tmp_path / "run", strategy={"type": "unimodal", "modality": "motion"})
    result = stress(run.path, device="cpu").plain()
    assert {curve["modality"] for curve in result["curves"]} == {"motion"}
    assert {curve["column"] for curve in result["curves"]} == {"motion"}


def test_only_what_is_asked_for_is_done(tmp_path, stressed):
    run, _, _ = stressed
    result = stress(run.path, modalities=["posture"], corruptions=["swap", "missing"], device="cpu").plain()
    assert {curve["modality"] for curve in result["curves"]} == {"posture"}
    assert list(dict.fromkeys(curve["corruption"] for curve in result["curves"])) == ["missing", "swap"]
    assert set(CORRUPTIONS) == {"missing", "noise", "shift", "swap"}


def test_unknown_names_are_told_at_once(stressed):
    run, _, _ = stressed
    with pytest.raises(RecipeError) as told:
        stress(run.path, modalities=["motoin"], corruptions=["nois"])
    assert "unknown modality 'motoin'; did you mean 'motion'?" in str(told.value)
    assert "unknown corruption 'nois'; did you mean 'noise'?" in str(told.value)


def test_a_run_that_has_not_finished_and_a_folder_that_is_none_are_refused(tmp_path):
    run = RunFolder.create(tmp_path / "run", load_recipe(document()))
    with pytest.raises(RunError, match=r"run: the training has not finished, there are no weights"):
        stress(run.path)
    with pytest.raises(RunError, match=r"holds neither a run nor a results.json; name a finished run"):
        stress(tmp_path)
    with pytest.raises(RunError, match=r"nowhere: is no folder"):
        stress(tmp_path / "nowhere")


def test_a_fold_that_there_is_not_is_told_with_the_run_and_its_recipe(tmp_path):
    run = drawn_run(tmp_path / "run")
    file = run.path / "recipe.yaml"
    file.write_text(file.read_text().replace("fold: 0", "fold: 9"))
    for command in (stress, lambda path, **_: evaluate(RunFolder.open(path), device="cpu")):
        with pytest.raises(RecipeError, match=r"run/recipe\.yaml: data\.fold: no fold 9; a position from 0 to 1"):
            command(run.path, device="cpu")


def test_figures_of_a_later_version_are_kept_and_nothing_is_computed(tmp_path, capsys, monkeypatch):
    for computed in ("robustness.curves.stress_run", "card.make_card"):
        monkeypatch.setattr(f"fusionkit.evaluation.{computed}", lambda *_, **__: pytest.fail("it is computed"))
    run = drawn_run(tmp_path / "run")
    for file in (run.stress_file, run.card_file, run.diagnosis_file):
        file.write_text('{"format": 99}')
    for command in (stress, lambda path, **_: evaluate(RunFolder.open(path), device="cpu")):
        with pytest.raises(RunError, match="of format 99, which a later version wrote, is kept"):
            command(run.path, device="cpu")
    with pytest.raises(SystemExit):
        main(["diagnose", str(run.path)])
    assert "diagnosis.json: a diagnosis of format 99, which a later version wrote" in capsys.readouterr().err


def test_a_run_whose_data_have_changed_is_refused(tmp_path):
    run = drawn_run(tmp_path / "run")
    file = run.path / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data": "0" * 64}))
    with pytest.raises(RunError, match="its data have changed since it was trained"):
        stress(run.path, device="cpu")


# an experiment


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    recipe = document(missing=0.0)
    recipe["train"] = {"epochs": 1}
    del recipe["model"]["targets"]["label"]
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    (folder / "experiment.yaml").write_text(EXPERIMENT + "target: strength\n")
    with pytest.MonkeyPatch.context() as patch:  # intervals of single runs are not looked at, and take most of the time
        patch.setattr("fusionkit.evaluation.card.bootstrap_limits", lambda *_, **__: {})
        results = open_experiment(folder / "experiment.yaml", folder / "out").run(processes=1).plain()
    return folder / "out", results


def test_every_column_of_an_experiment_has_its_curve_and_its_mean_at_level_0(experiment):
    folder, results = experiment
    found = stress(folder, Levels(noise=(1,)), corruptions=["missing", "noise"]).plain()
    assert found == json.loads((folder / "stress.json").read_text())
    measures = {results["metric"]: results["measures"][results["metric"]]}
    stated = {"metric": results["metric"], "higher_is_better": False, "measures": measures}
    assert found["targets"] == {"strength": stated}
    assert len(found["runs"]) == 2 * 2 * 2  # variants that train, folds, seeds
    for name in ("late fusion", "N2", "motion", "ensemble"):
        point = curve_of(found, "noise", "motion", name, "strength")[0.0]
        summary = results["summary"][name]
        assert point["by_fold"] == pytest.approx(summary["by_fold"], abs=1e-12)
        for key in ("mean", "low", "high"):
            assert point[key] == pytest.approx(summary[key], abs=1e-12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda of: of | {"target": "label", "recipes": {}},
            "it names the target 'label', and the run .* has strength",
        ),
        (
            lambda of: of | {"columns": [each | {"branch": "voice"} for each in of["columns"]]},
            "it names the branch 'voice', and the run .* has fused, motion",
        ),
    ],
)
def test_results_that_do_not_fit_their_runs_are_refused(experiment, tmp_path, change, told):
    folder, results = experiment
    shutil.copytree(folder / "runs", tmp_path / "runs")
    (tmp_path / "results.json").write_text(json.dumps(change(results)))
    with pytest.raises(RunError, match=rf"results\.json: does not fit its runs; {told}"):
        stress(tmp_path, device="cpu")


def test_a_point_of_an_experiment_is_the_mean_over_folds_of_the_means_over_seeds(experiment):
    folder, results = experiment
    found = stress(folder, Levels(swap=(1,)), corruptions=["swap"]).plain()
    runs = {(row["fold"], row["seed"]): row["run"] for row in results["rows"] if row["variant"] == "N2"}
    values = {}
    for (fold, seed), name in runs.items():
        of = stress_run(RunFolder(folder / name), Levels(swap=(1,)), modalities=["motion"], corruptions=["swap"])
        (point,) = [point for point in of.points if point.level == 1]
        values[fold, seed] = point.figures["strength"]["fused"].metrics[results["metric"]]
    by_fold = {fold: np.mean([values[fold, seed] for seed in (0, 1)]) for fold in ("fold1", "fold2")}
    point = curve_of(found, "swap", "motion", "N2", "strength")[1.0]
    assert point["by_fold"] == pytest.approx(by_fold, abs=1e-12)
    assert point["mean"] == pytest.approx(np.mean(list(by_fold.values())), abs=1e-12)


def test_what_an_experiments_strongest_level_gains_is_the_mean_change_of_its_folds(experiment):
    folder, results = experiment
    result = stress(folder, Levels(noise=(2.0,)), modalities=["motion"], corruptions=["noise"], device="cpu").plain()
    sign = 1 if results["higher_is_better"] else -1
    for curve in result["curves"]:
        before, after = (point["by_fold"] for point in curve["points"])
        changes = [sign * (after[fold] - before[fold]) for fold in before]
        assert curve["gain"]["value"] == pytest.approx(np.mean(changes), abs=1e-9)
    assert (result["samples"], result["groups"]) == (24, 6)  # each sample once, however many seeds and variants


def test_what_holds_in_some_folds_alone_is_noted_with_their_names():
    def of(*notes):
        return Stressed((), {}, {}, (), "", "", "cpu", notes)

    found = {("N2", "f1", 0): of("both", "one"), ("N2", "f1", 1): of("one"), ("N2", "f2", 0): of("both")}
    assert notes_of(found) == ["both", "In f1: one"]


def test_an_experiment_whose_run_is_gone_is_refused(experiment, tmp_path):
    _, results = experiment
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(RunError, match=r"is not beside results.json any more"):
        stress(tmp_path)
