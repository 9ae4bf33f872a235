"""The command `fusionkit diagnose`: its words, its page, and what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import recipe, run_of

from fusionkit.cli import main
from fusionkit.report.pages.diagnosis import write_diagnosis
from fusionkit.report.text.diagnosis import diagnosis_words
from fusionkit.storage.records.diagnosis import Diagnosis

FOLDS = {"folds": {"type": "group_kfold", "folds": 2}, "batch_size": 4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``N2/0``, ``late/0`` and the same of fold 1."""
    folder = tmp_path_factory.mktemp("runs")
    for fold in (0, 1):
        data = {**FOLDS, "fold": fold}
        run_of(folder / "N2" / str(fold), data=data, epochs=2, gradient_cosines=1)
        run_of(folder / "late" / str(fold), data=data, epochs=1, strategy="late_fusion")
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs ``fusionkit diagnose`` here and gives status, output and errors."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["diagnose", *map(str, arguments)])
        code = ended.value.code
        return (code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


def figure(value: float, half: float | None = None) -> dict[str, float | None]:
    limits = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": limits[0], "high": limits[1]}


def diagnosis_of(**changes: Any) -> dict[str, Any]:
    """Of several folds, with figures that are chosen."""
    target = {
        "score": "accuracy",
        "higher_is_better": True,
        "kind": "classes",
        "samples": 100,
        "fused": figure(0.8),
        "subsets": {"none": figure(0.1), "audio": figure(0.5), "video": figure(0.6), "audio + video": figure(0.8)},
        "shapley": {
            "empty": figure(0.1),
            "all": figure(0.8),
            "shares": {"audio": figure(0.3), "video": figure(0.4)},
        },
        "drop": {"audio": figure(0.004, 0.001), "video": figure(0.3, 0.1)},
        "singles": {
            "audio": {"source": "trained alone", "score": figure(0.5)},
            "video": {"source": "trained alone", "score": figure(0.7)},
        },
        "ensemble": figure(0.75),
        "fusing": {"best_single": None, "over_best_single": figure(0.041, 0.012), "over_ensemble": figure(0.02, 0.03)},
        "probe": {
            name: {
                "score": figure(0.5),
                "own_head": figure(0.5),
                "alone": figure(0.6),
                "alone_probe": figure(0.6),
                "kept": kept,
            }
            for name, kept in (("audio", figure(-0.09, 0.02)), ("video", figure(-0.02, 0.04)))
        },
        "classes": {
            "calm": {"samples": 50, "first": figure(0.5), "second": figure(0.6), "gain": figure(-0.1, 0.05)},
            "sad": {"samples": 50, "first": figure(0.9), "second": figure(0.6), "gain": figure(0.3, 0.05)},
        },
        "rivals": {
            "best_single": {
                "samples": 100,
                "rescued": 15,
                "hurt": 5,
                "rescued_share": figure(0.15),
                "hurt_share": figure(0.05),
                "rescued_samples": ["a"],
                "hurt_samples": ["<b>"],
            }
        },
        "calibration": {"fused": {"source": "audio + video", "ece": figure(0.05), "surplus": figure(0.04)}},
        "disagreement": {
            "samples": 100,
            "disagree": figure(0.4),
            "agree": figure(0.9),
            "one_right": figure(0.7),
            "all_wrong": figure(0.1),
        },
    }
    each = [
        {"run": "r0", "fold": "A9,10", "seed": 0, "fusing": {"mood": fusing_of("video", -0.01)}},
        {"run": "r1", "fold": "A1,2", "seed": 0, "fusing": {"mood": fusing_of("video", 0.06)}},
    ]
    return {
        "format": 1,
        "modalities": ["audio", "video"],
        **dict.fromkeys(("commit", "command"), "x"),
        **{"device": "cpu", "platform": "p", "versions": {"torch": "2"}, "time": "2026-01-02T03:04:05+00:00"},
        "protocol": {"folds": ["A9,10", "A1,2"], "label": "speaker-independent"},
        "selection": "last epoch",
        "each": each,
        "alone": {"audio": None, "video": None},
        "recipe": {"schema": 1},
        "notes": ["A note."],
        "gradients": None,
        "cost": {
            "batch": figure(32),
            "all": figure(100.0),
            "without": {"audio": figure(40.0), "video": figure(60.0)},
            "spared": {"audio": figure(60.0, 5.0), "video": figure(40.0, 5.0)},
        },
        "targets": {"mood": target | changes},
    }


def fusing_of(best: str, gain: float) -> dict[str, Any]:
    return {"best_single": best, "over_best_single": figure(gain), "over_ensemble": figure(gain)}


# The words


def test_the_answer_comes_first_and_in_plain_words() -> None:
    words = diagnosis_words(Diagnosis.model_validate(diagnosis_of()))
    assert words[0] == (
        "The fused network reaches 80.0 % (accuracy, mean over 2 folds). Fusing helps by 4.1 ± 1.2 points of accuracy "
        "over the best single modality of each fold."
    )
    assert words[1] == "In fold A9,10 video alone is better by 1.0 points."
    assert (
        "The audio encoder lost 9.0 points (beyond noise) against audio trained alone; the video encoder lost 2.0 "
        "points (within noise) against video trained alone, as a linear head on the frozen encoders reads it." in words
    )
    assert (
        "Drop audio: 0.4 points worse (beyond noise), -60 ms per sample; drop video: 30.0 points worse (beyond noise), "
        "-40 ms per sample." in words
    )
    assert any("1 of 2 classes" in each and "calm -10.0 (beyond noise)" in each for each in words)
    assert any("rescues 15 that the best single modality gets wrong, and hurts 5" in each for each in words)
    assert words[-1].startswith("Gradients of uni-modal and fused losses were not recorded: train with")


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (figure(-0.05, 0.01), "Fusing harms: it costs 5.0 ± 1.0 points of accuracy against the best single"),
        (figure(0.01, 0.02), "Whether fusing helps is unclear: +1.0 ± 2.0 points of accuracy over the best single"),
        (
            figure(0.01),
            "Whether fusing helps is unclear, for the same gain in every fold cannot tell a gain from noise",
        ),
    ],
)
def test_nothing_is_claimed_that_the_interval_does_not_bear(gain: dict[str, Any], said: str) -> None:
    fusing = {"best_single": None, "over_best_single": gain, "over_ensemble": figure(0.0)}
    assert said in diagnosis_words(Diagnosis.model_validate(diagnosis_of(fusing=fusing)))[0]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            2,
            "Whether fusing helps is unclear: +4.1 points (95 % interval +2.9 to +5.3) of accuracy over video by ",
        ),
        (
            6,
            "Fusing helps by 4.1 points (95 % interval +2.9 to +5.3) of accuracy over video by itself (trained alone).",
        ),
    ],
)
def test_few_groups_of_one_run_claim_nothing(groups: int, said: str) -> None:
    fusing = {"best_single": "video", "over_best_single": figure(0.041, 0.012), "over_ensemble": None}
    given = diagnosis_of(fusing=fusing, groups=groups)
    del given["each"]

    words = diagnosis_words(Diagnosis.model_validate(given))

    assert said in words[0]
    assert words[0].startswith(
        f"The fused network reaches 80.0 % (accuracy, 100 samples of {groups} groups, one sample is "
    )
    assert words[0].endswith("the 2 groups of the test part are too few to tell a gain from noise.") == (groups == 2)
    assert any("calm -10.0 of 50 samples (beyond noise)" in each for each in words) == (groups == 6)


def of_one_run(groups: int, **changes: Any) -> dict[str, Any]:
    """Of a single run, whose best single modality is video."""
    fusing = {"best_single": "video", "over_best_single": figure(0.25, 0.0), "over_ensemble": figure(0.05, 0.01)}
    given = diagnosis_of(groups=groups, **{"fusing": fusing} | changes)
    del given["each"]
    return given | {"run": "r0", "protocol": {"fold": "A1,2", "label": "speaker-independent"}}


def test_of_few_groups_nothing_is_called_larger_than_noise_and_every_place_says_so(tmp_path: Path) -> None:
    given = of_one_run(2)

    words = diagnosis_words(Diagnosis.model_validate(given))

    assert not any("beyond noise" in each or "within noise" in each for each in words)
    for beginning, count in (
        ("Against the average of the single modalities", 1),
        ("The audio encoder", 2),
        ("What each modality adds", 1),
        ("Drop audio", 2),
        ("Against the best single modality, fusing lowers the recall", 1),
    ):
        (sentence,) = (each for each in words if each.startswith(beginning))
        assert sentence.count("too few groups to tell") == count
    page = write_diagnosis(Diagnosis.model_validate(given), tmp_path).markdown.read_text()
    assert page.count("The test part is of 2 groups: too few groups to tell any of these gains from noise.") == 4
    assert (
        "too few groups" not in write_diagnosis(Diagnosis.model_validate(of_one_run(6)), tmp_path).markdown.read_text()
    )


@pytest.mark.parametrize("groups", [2, 6])
def test_an_interval_without_width_is_not_printed(groups: int, tmp_path: Path) -> None:
    given = of_one_run(groups)
    words = diagnosis_words(Diagnosis.model_validate(given))
    assert "+25.0 to +25.0" not in words[0]
    assert "Whether fusing helps is unclear" in words[0]
    assert "25.0 points" in words[0]
    assert words[0].endswith("are too few to tell a gain from noise.") == (groups == 2)
    page = write_diagnosis(Diagnosis.model_validate(given), tmp_path).markdown.read_text()
    assert "| fused, over the best single modality | +25.0 | - |" in page


def test_time_has_the_digits_that_timing_can_tell_and_within_its_noise_is_none(tmp_path: Path) -> None:
    given = diagnosis_of()
    given["cost"]["spared"] = {"audio": figure(0.0301234, 0.002), "video": figure(8.3e-05, 0.001)}
    (said,) = (each for each in diagnosis_words(Diagnosis.model_validate(given)) if each.startswith("Drop audio"))
    assert "-0.030 ms per sample; drop video" in said
    assert said.endswith(", no difference in time.")
    page = write_diagnosis(Diagnosis.model_validate(given), tmp_path).markdown.read_text()
    assert "| +0.030 ms |" in page
    assert "8.3e-05" not in page


def test_of_one_modality_it_is_said_that_there_is_nothing_to_fuse_and_nothing_is_discussed(tmp_path: Path) -> None:
    given = of_one_run(6, shapley=None, drop={}) | {"modalities": ["audio"]}
    given["targets"]["mood"]["probe"].pop("video")

    words = diagnosis_words(Diagnosis.model_validate(given))

    assert words[0].startswith("The network reaches 80.0 % (accuracy, ")
    assert words[0].endswith(" There is one modality, audio, so there is nothing to fuse.")
    assert len(words) == 2
    assert words[1].startswith("The audio encoder lost")
    page = write_diagnosis(Diagnosis.model_validate(given), tmp_path).markdown.read_text()
    for gone in ("Does fusing help", "fusing hurt", "rescued", "gradients conflict", "Shapley"):
        assert gone not in page


def test_runs_of_several_seeds_are_named_and_their_samples_not_passed_off_as_more() -> None:
    given = diagnosis_of()
    given["each"][1] |= {"fold": "A9,10", "seed": 1, "fusing": {"mood": fusing_of("audio", -0.02)}}
    given["targets"]["mood"]["fusing"]["over_best_single"] = figure(0.0)

    words = diagnosis_words(Diagnosis.model_validate(given))

    assert words[0].startswith(
        "The fused network reaches 80.0 % (accuracy, mean over 2 runs of one fold). Whether fusing helps is unclear, "
        "for one fold cannot tell a gain from noise: here it gains"
    )
    assert words[1] == (
        "In fold A9,10, seed 0, video alone is better by 1.0 points; in fold A9,10, seed 1, audio alone is better by "
        "2.0 points."
    )
    assert any(each.startswith("Of 100 samples (each counted once per seed, of 2) fusing rescues") for each in words)


def test_rounding_is_no_loss_and_a_drop_within_noise_is_called_so() -> None:
    given = diagnosis_of(drop={"audio": figure(0.004, 0.006), "video": figure(1e-10, 1e-11)})
    given["targets"]["mood"]["probe"]["audio"]["kept"] = figure(-1.75e-10, 1e-11)

    words = diagnosis_words(Diagnosis.model_validate(given))

    assert any(
        each.startswith("The audio encoder lost nothing against audio trained alone; the video") for each in words
    )
    assert (
        "Drop audio: 0.4 points worse (within noise), -60 ms per sample; drop video: no change, -40 ms per sample."
        in words
    )


def test_disagreement_is_told_with_the_samples_that_it_is_of() -> None:
    assert (
        "Modalities disagree on 40 % of the 100 samples that have all of them; where they do and one is right, fusing "
        "is right in 70 %." in diagnosis_words(Diagnosis.model_validate(diagnosis_of()))
    )


def test_errors_that_fall_are_gains_with_their_own_unit() -> None:
    given = diagnosis_of(score="mae", higher_is_better=False, kind="numbers", classes={})
    given["targets"]["mood"]["shapley"]["shares"] = {"audio": figure(-0.3), "video": figure(0.1)}
    words = diagnosis_words(Diagnosis.model_validate(given))
    assert words[0].endswith("). Fusing helps by 0.0410 ± 0.0120 mae over the best single modality of each fold.")
    assert "What each modality adds to the fused score (Shapley share): audio +0.300 mae, video -0.100 mae." in words
    assert any("is nearer to the truth than the best single modality in 15, farther in 5" in each for each in words)


def test_gradients_are_told_by_how_they_pull() -> None:
    given = diagnosis_of()
    thirds = {"first": figure(0.3), "middle": figure(0.0), "last": figure(-0.5)}
    given["gradients"] = {
        "audio": {"steps": 9, "cosine": figure(-0.2), "thirds": thirds, "negative": figure(0.6)}
        | {"norm_ratio": figure(1.0), "bins": {}}
    }
    assert diagnosis_words(Diagnosis.model_validate(given))[-1] == (
        "Gradients of the uni-modal and the fused loss: in the audio encoder they pull apart (mean cosine -0.20; +0.30 "
        "in the first third, -0.50 in the last third of the training; negative in 60 % of the steps)."
    )


def test_a_third_of_the_training_without_a_mean_cosine_is_told_so() -> None:
    given = diagnosis_of()
    nothing = {"value": None, "low": None, "high": None}
    given["gradients"] = {
        "audio": {"steps": 9, "cosine": nothing, "thirds": {"first": nothing, "last": figure(-0.5)}}
        | {"negative": nothing, "norm_ratio": nothing, "bins": {}}
    }
    words = diagnosis_words(Diagnosis.model_validate(given))[-1]
    assert "mean cosine -; - in the first third, -0.50 in the last third" in words
    assert "they hardly touch" not in words


def test_several_targets_are_told_apart() -> None:
    given = diagnosis_of()
    given["targets"]["age"] = copy.deepcopy(given["targets"]["mood"])
    for each in given["each"]:
        each["fusing"]["age"] = each["fusing"]["mood"]
    words = diagnosis_words(Diagnosis.model_validate(given))
    assert words[0].startswith("mood: the fused network reaches 80.0 % (")
    assert any(each.startswith("age: the fused network reaches 80.0 % (") for each in words)


# The page


def test_the_page_shows_names_as_they_are_and_says_what_could_not_be_drawn(tmp_path: Path) -> None:
    written = write_diagnosis(Diagnosis.model_validate(diagnosis_of()), tmp_path)
    page = written.html.read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "from diagnosis.json of 2026-01-02T03:04:05+00:00" in page
    assert written.missing == (
        "Gradients: not drawn, because no gradients were recorded; train with train.gradient_cosines=10.",
    )
    assert "## Does fusing help?" in written.markdown.read_text()


# The command


def test_a_run_is_diagnosed_and_the_words_come_before_the_page(runs: Path, command: Any) -> None:
    status, out, err = command(runs / "N2" / "0", "--alone", runs / "late" / "0", "--device", "cpu")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"Open this page: {runs / 'N2' / '0' / 'diagnosis.html'}"
    assert out.startswith("- ")
    assert max(map(len, out.splitlines()[:-1])) <= 80
    found = json.loads((runs / "N2" / "0" / "diagnosis.json").read_text())
    assert found["alone"]["motion"] == str(runs / "late" / "0")
    assert (runs / "N2" / "0" / "figures" / "cosines.png").stat().st_size > 5000
    assert "data:image/png" in (runs / "N2" / "0" / "diagnosis.html").read_text()


def test_a_folder_of_runs_gives_means_over_folds_as_json(runs: Path, command: Any, tmp_path: Path) -> None:
    status, out, _ = command(runs / "N2", "--alone", runs / "late", "--out", tmp_path / "page", "--json")
    assert status == 0
    found = json.loads(out)
    assert len(found["protocol"]["folds"]) == len(found["each"]) == 2
    assert json.loads((tmp_path / "page" / "diagnosis.json").read_text()) == found
    assert (tmp_path / "page" / "diagnosis.md").is_file()


def test_what_cannot_be_diagnosed_is_refused_in_words(runs: Path, command: Any, tmp_path: Path) -> None:
    from fusionkit.config.recipe import load_recipe
    from fusionkit.storage.run_folder import RunFolder

    begun = RunFolder.create(tmp_path / "begun", load_recipe(recipe())).path
    empty = tmp_path / "empty"
    empty.mkdir()
    joint, late = runs / "N2", runs / "late"
    for arguments, said in (
        ((tmp_path / "none",), "none: is no folder; name a run, which is what `fusionkit train --out` leaves"),
        ((empty,), "empty: is no run and holds none; name what `fusionkit train --out` left"),
        ((begun,), "begun: its training has not finished; `fusionkit train` with the same --out goes on"),
        ((joint / "0", "--alone", begun), "begun: its training has not finished"),
        ((joint / "0", "--alone", late / "1"), "none has that split: "),
        ((joint / "0", "--alone", joint / "1"), "trained no modality alone (its strategy is end_to_end)"),
        ((joint / "0", "--device", "cpv"), "device 'cpv': this machine has none of that name; known: "),
        ((joint / "0", late / "1", "--out", tmp_path), "is of another recipe than "),
        ((joint / "0", joint / "1"), "2 runs: say with --out FOLDER where the page of all of them goes"),
    ):
        status, _, err = command(*arguments)
        assert status == 2
        assert said in err
        assert "Traceback" not in err


def test_a_loss_against_the_ensemble_is_called_a_loss_and_has_no_minus() -> None:
    document = diagnosis_of()
    document["targets"]["mood"]["fusing"]["over_ensemble"] = figure(-0.167, 0.02)
    said = " ".join(diagnosis_words(Diagnosis.model_validate(document)))
    assert "Against the average of the single modalities it loses 16.7 ± 2.0 points: beyond noise." in said
