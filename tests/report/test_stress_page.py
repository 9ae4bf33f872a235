"""What the stress command says: sentences, tables, the page, its figures, and the command itself."""

from __future__ import annotations

import json

import pytest
from drawn_runs import drawn_run

from fusionkit.errors import RunError
from fusionkit.interfaces import share
from fusionkit.report.figures.stress import draw_stress
from fusionkit.report.pages.stress import write_stress_page
from fusionkit.report.text.stress import curves_of, evidence, level_text, rows_of, sentences
from fusionkit.storage.records.stress import Stress, StressCurve


def curve(column, branch, means, **other):
    levels = (0.0, 0.5, 1.0)
    points = [
        {"level": level, "mean": mean, "low": None, "high": None, "by_fold": {}, "by_seed": {}, "samples": 40}
        for level, mean in zip(levels, means, strict=True)
    ]
    whole = {"target": "mood", "runs": "x", "corruption": "missing", "modality": "audio", "unit": "share"}
    gain = {"value": -0.2, "low": -0.3, "high": -0.1}
    return {"column": column, "branch": branch, **whole, "gain": gain, "points": points, **other}


def document(*curves, metric="accuracy", higher=True, **other):
    whole = {
        "format": 1,
        "kind": "experiment",
        "levels": {},
        "seed": 0,
        "targets": {"mood": {"metric": metric, "higher_is_better": higher}},
        "folds": ["f1", "f2"],
        "seeds": [0],
        "samples": 40,
        "groups": 8,
        "protocol": "speaker-independent",
        "selection": "last epoch",
        "curves": list(curves),
        "runs": [],
        "notes": [],
        "commit": None,
        "device": "cpu",
        "platform": "Linux",
        "command": "fusionkit stress out",
        "versions": {"torch": "2"},
        "time": "2026-01-02T03:04:05+00:00",
        **other,
    }
    return Stress.model_validate(whole)


def records(*curves):
    return [StressCurve.model_validate(each) for each in curves]


N0, N2 = curve("N0", "fused", (0.7, 0.65, 0.62)), curve("N2", "fused", (0.75, 0.7, 0.61))
ENSEMBLE = curve("ensemble", "ensemble", (0.70, 0.6, 0.58))
AUDIO, VIDEO = curve("AM", "audio", (0.5, 0.5, None)), curve("VM", "video", (0.6, 0.6, 0.6))


def test_the_best_fused_curve_and_the_ensemble_are_told_with_what_they_keep():
    (said,) = sentences(document(N0, N2, ENSEMBLE, AUDIO, VIDEO))
    expected = "Without audio, N2 keeps 61.0 of 75.0 points, the ensemble 58.0 of 70.0"
    assert said == f"{expected} (accuracy of mood, %, higher is better)."


def test_where_lower_is_better_the_best_is_the_lowest_and_no_points_are_kept():
    (said,) = sentences(document(N0, N2, metric="rmse", higher=False))
    assert said == "Without audio, N0 goes from 0.700 to 0.620 (rmse of mood, lower is better)."


def test_what_rises_or_stays_is_not_called_kept():
    rising, same = curve("N2", "fused", (0.7, 0.7, 0.72)), curve("ensemble", "ensemble", (0.6, 0.5, 0.6))
    (said,) = sentences(document(rising, same))
    assert said.startswith("Without audio, N2 goes from 70.0 to 72.0, the ensemble stays at 60.0 (")


def test_the_strongest_level_is_told_also_where_all_are_below_zero_and_level_0_tells_nothing():
    early = curve("N2", "fused", (0.6, 0.65, 0.7), corruption="shift", unit="seconds")
    for point, level in zip(early["points"], (-1.0, -0.5, 0.0), strict=True):
        point["level"] = level
    (said,) = sentences(document(early))
    assert said.startswith("With audio 1 s early, N2 keeps 60.0 of 70.0 points (")
    assert sentences(document({**early, "points": early["points"][-1:]})) == ()


@pytest.mark.parametrize(
    ("corruption", "unit", "said"),
    [
        ("noise", "standard deviations", "With noise of 1 standard deviations on audio, N2"),
        ("shift", "seconds", "With audio 1 s late, N2"),
        ("shift", "share of the length", "With audio 100 % of its length late, N2"),
        ("swap", "share", "With the audio of another sample, N2"),
    ],
)
def test_every_corruption_has_its_words(corruption, unit, said):
    (sentence,) = sentences(document({**N2, "corruption": corruption, "unit": unit}))
    assert sentence.startswith(said)


def test_a_single_network_of_the_modality_speaks_for_itself_and_one_of_another_does_not():
    noisy = {**curve("AM", "audio", (0.5, 0.4, 0.3)), "corruption": "noise", "unit": "standard deviations"}
    assert "AM keeps 30.0 of 50.0 points" in sentences(document(noisy))[0]
    assert sentences(document(VIDEO)) == ()


@pytest.mark.parametrize(
    ("folds", "groups", "gain", "said"),
    [
        (["f1"], 2, (0.02, 0.04), "N2 reaches 61.0 instead of 75.0 (too few groups to tell) ("),
        (["f1"], 6, (-0.2, 0.04), "N2 reaches 61.0 instead of 75.0 (within noise) ("),
        (["f1"], 6, (-0.2, -0.04), "N2 keeps 61.0 of 75.0 points ("),
        (["f1"], 6, (None, None), "N2 reaches 61.0 instead of 75.0 (no interval to judge it by) ("),
        (["f1", "f2"], 2, (-0.2, 0.04), "N2 reaches 61.0 instead of 75.0 (within noise) ("),
        (["f1", "f2"], 2, (-0.2, -0.04), "N2 keeps 61.0 of 75.0 points ("),
    ],
)
def test_nothing_is_called_a_change_that_may_be_noise(folds, groups, gain, said):
    whole = {**N2, "gain": {"value": -0.14, "low": gain[0], "high": gain[1]}}
    (sentence,) = sentences(document(whole, folds=folds, groups=groups))
    assert sentence.startswith(f"Without audio, {said}")


def test_samples_what_one_is_worth_and_the_rule_are_said():
    one = evidence(document(N2, folds=["f1"], groups=2))
    assert one == (
        "All figures are computed on 40 samples of 2 groups; one sample is worth 2.5 points of accuracy. "
        "Fewer than 6 groups are too few to tell a change from noise."
    )
    assert "excludes 0" in evidence(document(N2))
    assert "interval over resampled groups" in evidence(document(N2, folds=["f1"]))
    assert "40 samples of 8 groups in 2 folds" in evidence(document(N2))
    assert "Student's 95 % interval over folds" in evidence(document(N2))
    assert "worth" not in evidence(document(N2, metric="rmse", higher=False))


def test_a_curve_over_fewer_samples_is_told():
    fewer = curve("ensemble", "ensemble", (0.7, 0.6, 0.6))
    fewer["points"][-1]["samples"] = 30
    assert "fewer samples than the others: ensemble without audio (30 of 40)." in sentences(document(fewer))[-1]


def test_where_a_modality_is_missing_a_network_of_it_alone_has_no_curve():
    found = curves_of(document(N2, AUDIO, VIDEO), "missing", "mood")
    assert [each.column for each in found["audio"]] == ["N2", "VM"]
    noisy = [{**each, "corruption": "noise"} for each in (N2, AUDIO)]
    assert [each.column for each in curves_of(document(*noisy), "noise", "mood")["audio"]] == ["N2", "AM"]


def test_rows_hold_values_and_intervals_and_leave_out_who_does_not_read_the_modality():
    wide = curve("N2", "fused", (0.75, 0.7, 0.61))
    wide["points"][1] |= {"low": 0.6, "high": 0.8}
    assert rows_of(records(wide, VIDEO), share("accuracy"), [0.0, 0.5, 2.0]) == [("N2", "75.0", "70.0", "-")]
    assert rows_of(records(wide), share("accuracy"), [0.5], limits=True) == [("N2", "70.0 [60.0, 80.0]")]


def test_levels_are_shown_in_their_unit():
    assert level_text(0.05, "share of the length") == "5 %"
    assert level_text(-0.2, "seconds") == "-0.2 s"


def test_the_page_holds_sentences_tables_and_a_figure_per_corruption(tmp_path):
    noisy = [{**each, "corruption": "noise", "unit": "standard deviations"} for each in (N2, AUDIO)]
    written = write_stress_page(document(N2, ENSEMBLE, *noisy, notes=["Mind <this>."]), tmp_path)
    text, page = written.markdown.read_text(), written.html.read_text()
    assert [path.name for path in written.figures] == ["stress_missing.png", "stress_noise.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written.figures)
    assert "Without audio, N2 keeps 61.0 of 75.0 points" in text
    assert evidence(document(N2)) in text
    assert "| N2 | 75.0 | 70.0 | 61.0 |" in text
    assert "figures/stress_missing.png" in text
    assert "Mind &lt;this&gt;." in page
    assert page.count("data:image/png;base64,") == 2
    write_stress_page(document(N2), tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["stress_missing.png"]


def test_a_figure_has_a_panel_per_modality_and_dashes_who_does_not_read_it():
    other = {**N2, "modality": "video"}
    figure = draw_stress(document(N2, VIDEO, other), "missing", "mood")
    first, second = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["audio", "video"]
    assert [line.is_dashed() for line in first.get_lines()] == [False, True]
    assert first.get_lines()[0].get_xydata().tolist() == [[0, 75], [50, 70], [100, 61]]
    with pytest.raises(RunError, match="no curve has a value"):
        draw_stress(document(N2), "swap", "mood")


def test_a_page_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "figures").write_text("")
    with pytest.raises(RunError, match=r"the page cannot be written \(File exists\)"):
        write_stress_page(document(N2), tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return drawn_run(tmp_path_factory.mktemp("runs") / "run").path


def test_the_command_prints_words_first_then_tables_of_80_columns_and_the_page_last(command, run):
    ended = command("stress", run, "--shift=-0.2,0.2", "--missing", "10,20,30,40,50,60,70,80,90,100")
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("Without motion, the fused network ")
    assert lines[-1] == f"Open this page: {run / 'stress.html'}"
    assert max(len(line) for line in lines if str(run) not in line) <= 80
    assert "-0.2 s" in ended.out
    assert "All figures are computed on " in ended.out
    assert "Fewer than 6 groups are too few to tell a change from noise." in " ".join(ended.out.split())
    assert "Of someone else: posture" in ended.out
    result = json.loads((run / "stress.json").read_text())
    assert result["levels"]["shift"] == [-0.2, 0.0, 0.2]


def test_json_is_what_the_file_holds_and_out_takes_the_page(command, run, tmp_path):
    ended = command("stress", run, "--json", "--only", "swap", "--modality", "posture", "--seed", 3, "--out", tmp_path)
    assert ended.record == json.loads((run / "stress.json").read_text())
    assert ended.record["seed"] == 3
    assert {each["modality"] for each in ended.record["curves"]} == {"posture"}
    assert (tmp_path / "stress.html").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--missing", "120"], "levels of missing: 120 % is no level; a share between 0 % and 100 % is expected"),
        (["--noise", "a,1"], "--noise 'a,1': are no levels; numbers with commas between them, such as --noise 0.5,1"),
        (["--modality", "motoin"], "unknown modality 'motoin'; did you mean 'motion'?"),
        (["--only", "nois"], "unknown corruption 'nois'; did you mean 'noise'?"),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_would_be_right(command, run, options, said):
    ended = command("stress", run, *options)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_folder_that_is_no_run_ends_with_2(command, tmp_path):
    ended = command("stress", tmp_path)
    assert ended.status == 2
    assert "holds neither a run nor a results.json" in ended.err


def test_a_folder_that_there_is_not_names_every_command_whose_results_are_taken(command, tmp_path):
    ended = command("stress", tmp_path / "none")
    assert ended.status == 2
    for taken in ("is no folder", "`fusionkit train`", "`fusionkit experiment`", "`fusionkit compare`"):
        assert taken in ended.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "missing", "--noise", "1"], "--noise: says how much, but --only leaves out noise"),
        (["--only", "missing", "--shift-percent", "5"], "--shift-percent: says how much, but --only leaves out shift"),
        (
            ["--only", "shift", "--modality", "motion", "--shift-percent", "5"],
            "every one (motion) has a rate; use --shift",
        ),
        (
            ["--shift", "0.1", "--modality", "posture"],
            "no modality (posture) has a rate; use --shift-percent",
        ),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(command, run, options, said):
    ended = command("stress", run, *options)
    assert ended.status == 2
    assert said in ended.err
