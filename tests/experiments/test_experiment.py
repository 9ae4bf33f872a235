"""Experiments: what a file may say, statistics over folds, and runs that are kept, fail and resume."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from report_folders import card_of, record_of, results_of
from scipy import stats
from small_experiments import EXPERIMENT, write_experiment_file

from fusionkit import load_recipe
from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.data.sources import Datasets
from fusionkit.errors import RecipeError, RunError
from fusionkit.evaluation.statistics import (
    compute_corrected_t_p,
)
from fusionkit.experiments import load_experiment, open_comparison, open_experiment
from fusionkit.experiments.agenda import make_agenda
from fusionkit.experiments.job import Failure, do
from fusionkit.experiments.result_files import write_results
from fusionkit.experiments.results import make_results
from fusionkit.storage.experiment_folder import ExperimentFolder
from fusionkit.storage.locks import lock_folder
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train


@pytest.fixture
def experiment(tmp_path):
    """Writes the recipe and an experiment file, and gives the path of the latter."""

    return partial(write_experiment_file, tmp_path)


# What a file may say


def test_an_ensemble_row_is_added_and_reads_the_variant_that_trains_networks_alone(experiment):
    loaded = load_experiment(experiment())
    assert [(column.name, column.runs, column.branch) for column in loaded.columns] == [
        ("late fusion", "late fusion", "fused"),
        ("N2", "N2", "fused"),
        ("motion", "late fusion", "motion"),
        ("ensemble", "late fusion", "ensemble"),
        ("ensemble (log)", "late fusion", "ensemble (log)"),
        ("constant", "late fusion", "constant"),
    ]
    assert loaded.notes == ("Added: 'ensemble' and 'ensemble (log)', of the uni-modal networks of 'late fusion'.",)
    assert list(loaded.recipes) == ["late fusion", "N2"]


def test_uni_modal_networks_are_added_where_no_variant_trains_them_alone(experiment):
    loaded = load_experiment(experiment("schema: 1\nrecipe: recipe.yaml\nvariants: {N1: {}}\n"))
    assert list(loaded.recipes) == ["N1", "ensemble"]
    assert loaded.recipes["ensemble"].train.strategy.type == "unimodal"
    added = [(name, name) for name in ("ensemble", "ensemble (log)", "constant")]
    assert [(column.name, column.branch) for column in loaded.columns] == [("N1", "fused"), *added]
    assert "No variant trains the uni-modal networks alone" in loaded.notes[0]


def test_an_ensemble_that_is_listed_is_not_added_again(experiment):
    text = EXPERIMENT + "  ensemble: {of: late fusion, branch: ensemble}\n"
    text = text.replace("seeds: [0, 1]\n", "") + "seeds: [0]\n"
    loaded = load_experiment(experiment(text))
    listed = ["late fusion", "N2", "motion", "ensemble"]
    assert [column.name for column in loaded.columns] == [*listed, "ensemble (log)", "constant"]
    assert loaded.notes == ("Added: 'ensemble (log)', of the uni-modal networks of 'late fusion'.",)


def test_every_problem_of_every_variant_is_reported_at_once(experiment):
    text = """
    schema: 1
    recipe: recipe.yaml
    variants:
      one: {overrides: [model.fusion=concatt]}
      two: {overrides: [train.epochs=0, train.lerning=1]}
      three: {overrides: [train]}
    """
    with pytest.raises(RecipeError) as caught:
        load_experiment(experiment(text))
    message = str(caught.value)
    assert "4 problems" in message
    assert "variants.one: " in message
    assert "unknown fusion 'concatt'" in message
    assert "variants.two" in message
    assert "variants.three: override 'train'" in message


def test_mistakes_of_keys_references_recipes_and_folds_are_told_at_once(experiment):
    text = """
    schema: 1
    recipe: recipe.yaml
    fold: all
    variants:
      one: {overides: [train.epochs=1], overrides: [model.fusion=concatt]}
      two: {of: onee, branch: motion}
      three: {of: four, branch: motoin}
      four: {}
      five: {of: three, branch: motion}
    folds: [99]
    seeds: [1, 1]
    target: lable
    """
    with pytest.raises(RecipeError) as caught:
        load_experiment(experiment(text))
    told = {
        problem.place.rpartition("line ")[2].rpartition(": ")[2]: problem.message for problem in caught.value.problems
    }
    assert told.keys() == {
        "fold",
        "variants.one.overides",
        "seeds",
        "model.fusion",
        "variants.two.of",
        "variants.five.of",
        "variants.three.branch",
        "target",
        "folds[0]",
    }


def test_a_run_of_a_single_training_is_no_place_for_an_experiment(experiment, tmp_path):
    run = RunFolder.create(tmp_path / "first", load_experiment(experiment()).first_recipe)
    with pytest.raises(RunError, match="first: is a run of `fusionkit train`; take a new folder"):
        open_experiment(experiment(), run.path)
    comparison = experiment(f"{EXPERIMENT}budget: {{epochs: 1}}\n")
    with pytest.raises(RunError, match="first: is a run of `fusionkit train`; take a new folder"):
        open_comparison(comparison, run.path)


def test_a_shipped_experiment_is_loaded_by_its_name():
    assert load_experiment("quickstart/experiment").path == find_recipe("quickstart/experiment")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("variants: {a: {}, b: {of: c, branch: motion}}", "variants.b.of: no variant 'c' to read; known: a, b"),
        ("variants: {a: {}, b: {of: a}}", "says which branch"),
        ("variants: {a: {}, b: {of: a, branch: motion, overrides: [train.epochs=1]}}", "not both"),
        ("variants: {a: {}, b: {of: a, branch: motoin}}", "did you mean 'motion'"),
        ("variants: {a: {}, b: {overrides: ['data.folds={type: group_kfold, folds: 2}']}}", "other data.folds"),
        ("variants: {a: {}}\ntarget: lable", "did you mean 'label'"),
        ("variants: {a: {}}\nseeds: [1, 1]", "a seed stands twice"),
        ("variants: {a/b: {}}", "letters, digits, blanks"),
        ("variants: {a b: {}, a_b: {}}", "share its folder 'a_b'"),
        ("variants: {a: {}}\npaper: {source: x, values: {b: 1.0}}", r"paper\.values\.b: no variant of the experiment"),
        ("variants: {a: {}}\nfold: all", "did you mean 'folds'"),
        ("variants: {a: {}}\nfolds: []", "folds: 0 entries are too few: at least 1"),
        (f"variants: {{{'a' * 201}: {{}}}}", "a name has at most 200 characters"),
    ],
)
def test_a_mistake_in_an_experiment_file_says_what_would_be_right(experiment, text, said):
    with pytest.raises(RecipeError, match=said):
        load_experiment(experiment(f"schema: 1\nrecipe: recipe.yaml\n{text}\n"))


def test_a_recipe_that_does_not_exist_is_named(experiment):
    with pytest.raises(RecipeError, match=r"there is no 'nowhere\.yaml'; a path relative to the experiment file"):
        load_experiment(experiment("schema: 1\nrecipe: nowhere.yaml\nvariants: {a: {}}\n"))


def test_overrides_change_the_experiment_or_every_recipe(experiment):
    loaded = load_experiment(experiment(), ["seeds=[7]", "train.epochs=1"])
    assert loaded.spec.seeds == (7,)
    assert {recipe.train.epochs for recipe in loaded.recipes.values()} == {1}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("folds=[9, fold2]", r"folds\[0\]: no fold 9"),
        ("folds=[1, fold2]", r"folds\[1\]: fold 'fold2' stands twice"),
        ("metric=acuracy", "acc"),
    ],
)
def test_folds_and_metrics_that_there_are_not_are_told_before_anything_runs(experiment, tmp_path, override, said):
    with pytest.raises(RecipeError, match=said):
        open_experiment(experiment(), tmp_path / "out", [override]).run()
    assert not (tmp_path / "out").exists()


def test_a_folder_with_runs_of_another_recipe_is_refused_before_anything_runs(experiment, tmp_path):
    agenda = make_agenda(load_experiment(experiment()), tmp_path / "out", Datasets())
    RunFolder.create(agenda.jobs[0].folder, load_recipe(agenda.jobs[1].recipe))
    with pytest.raises(RunError, match="holds runs of another recipe"):
        make_agenda(load_experiment(experiment()), tmp_path / "out", Datasets())


# From cards to results


def card(fold, branches, where=None):
    """A card with accuracies by branch."""
    described = {
        name: {
            "trained": "alone",
            "samples": 8,
            "metrics": {"accuracy": {"value": value, "low": None, "high": None}},
            "confusion": [[3, 1], [2, 2]],
            "where": {},
        }
        for name, value in branches.items()
    }
    if where:
        described["fused"]["where"] = {
            name: {"samples": 4, "metrics": {"accuracy": value}} for name, value in where.items()
        }
    made = card_of("label", classes=["rest", "walk"], branches=described)
    stated = {"split_hash": fold, "label": "speaker-independent", "folds": {"type": "group_kfold"}}
    return {**made, "protocol": {**made["protocol"], **stated}, "training": {"device": "cpu", "commit": "0" * 40}}


LATE = {  # by fold and seed: fused, motion, posture, ensemble
    ("fold1", 0): (0.8, 0.7, 0.6, 0.75),
    ("fold1", 1): (0.9, 0.7, 0.6, 0.75),
    ("fold2", 0): (0.5, 0.8, 0.3, 0.7),
    ("fold2", 1): (0.6, 0.6, 0.4, 0.5),
    ("fold3", 0): (0.7, 0.6, 0.9, 0.8),
    ("fold3", 1): (0.7, 0.6, 0.5, 0.6),
}
N2 = {"fold1": (0.6, 0.7), "fold2": (0.9, 0.9), "fold3": (0.7, 0.7)}


@pytest.fixture
def agenda(experiment, tmp_path):
    """The agenda of the experiment with a hand-made card in every run folder."""
    agenda = make_agenda(load_experiment(experiment()), tmp_path / "out", Datasets())
    for job in agenda.jobs:
        if job.variant == "N2":
            branches = {"fused": N2[job.fold][job.seed]}
        else:
            branches = dict(zip(("fused", "motion", "posture", "ensemble"), LATE[job.fold, job.seed], strict=True))
        write_card(job, card(job.fold, branches))
    return agenda


def write_card(job, content):
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text("{}")
    (folder / "recipe.yaml").write_text("{}")
    (folder / "metrics.json").write_text(json.dumps(content))


def test_a_summary_averages_seeds_first_and_then_folds(agenda):
    summary = make_results(agenda, []).plain()["summary"]["late fusion"]
    assert summary["by_fold"] == pytest.approx({"fold1": 0.85, "fold2": 0.55, "fold3": 0.7})
    assert summary["mean"] == pytest.approx(0.7)
    low, high = stats.t.interval(0.95, 2, loc=0.7, scale=stats.sem([0.85, 0.55, 0.7]))
    assert (summary["low"], summary["high"]) == pytest.approx((low, high))
    assert summary["against"] == {}


def test_variants_are_compared_with_every_one_before_them(agenda):
    summary = make_results(agenda, []).plain()["summary"]
    assert [tuple(column["against"]) for column in summary.values()] == [
        tuple(list(summary)[:position]) for position in range(len(summary))
    ]
    comparison = summary["N2"]["against"]["late fusion"]
    differences = [0.65 - 0.85, 0.9 - 0.55, 0.0]
    assert comparison["difference"]["mean"] == pytest.approx(np.mean(differences))
    assert comparison["wilcoxon_p"] == 1.0
    assert comparison["t_p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert comparison["corrected_t_p"] == pytest.approx(compute_corrected_t_p(differences, 8 / 16))


def test_inferior_cases_are_the_folds_where_the_best_uni_modal_network_beats_the_column(agenda):
    # Means over seeds of motion: .7 .7 .6, of posture: .6 .35 .7; of late fusion: .85 .55 .7, of N2: .65 .9 .7.
    summary = make_results(agenda, []).plain()["summary"]
    assert summary["late fusion"]["inferior"] == {"fold2": "motion"}
    assert summary["N2"]["inferior"] == {"fold1": "motion"}
    assert summary["ensemble"]["inferior"] == {"fold2": "motion"}  # .6 against .7; in fold 3 posture's .7 equals it
    assert summary["motion"]["inferior"] is None
    assert summary["N2"]["compared_folds"] == 3


def test_a_network_of_a_modality_that_samples_lack_is_compared_on_the_samples_that_have_it(agenda):
    for job in agenda.jobs:
        if job.variant == "N2" and job.fold == "fold1":
            write_card(job, card(job.fold, {"fused": 0.5}, where={"motion": 0.75}))
    summary = make_results(agenda, []).plain()["summary"]
    assert summary["N2"]["by_fold"]["fold1"] == 0.5
    assert summary["N2"]["inferior"] == {"fold1": "posture"}  # .6 beats .5; motion's .7 does not beat .75


def test_a_fold_with_a_failed_seed_does_not_count(agenda):
    failed = next(job for job in agenda.jobs if (job.variant, job.fold, job.seed) == ("N2", "fold2", 1))
    results = make_results(agenda, [Failure(failed, "out of luck")]).plain()
    assert set(results["summary"]["N2"]["by_fold"]) == {"fold1", "fold3"}
    assert results["failures"][0]["error"] == "out of luck"
    assert results["summary"]["N2"]["against"]["late fusion"]["folds"] == 2


def test_rows_hold_every_value_and_the_modalities_that_are_no_column(agenda):
    results = make_results(agenda, []).plain()
    rows = results["rows"]
    assert len(rows) == 5 * 6  # four columns and posture
    posture = [row for row in rows if row["branch"] == "posture"]
    assert {row["variant"] for row in posture} == {None}
    found = next(row for row in rows if row["variant"] == "N2" and row["fold"] == "fold1" and row["seed"] == 1)
    assert (found["value"], found["run"]) == (0.7, "runs/N2/fold1/1")
    assert results["confusion"]["matrices"]["N2"] == [[18, 6], [12, 12]]


def test_different_splits_under_one_name_are_noted(agenda):
    job = next(job for job in agenda.jobs if job.variant == "N2" and job.fold == "fold1")
    changed = card("another split", {"fused": 0.5})
    write_card(job, changed)
    assert any("same split of fold 'fold1'" in note for note in make_results(agenda, []).plain()["notes"])


# Runs


def quick(path, out, **options):
    return open_experiment(path, out, ["seeds=[0]", "train.epochs=1"]).run(**options).plain()


def figures(results):
    """What a repetition must give again: everything but times and commands."""
    return {name: results[name] for name in ("summary", "rows", "confusion", "folds", "columns")}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """An experiment that has been run in this process."""
    folder = tmp_path_factory.mktemp("experiment")
    return folder, quick(write_experiment_file(folder), folder / "out", processes=1)


def test_an_experiment_leaves_results_a_table_and_figures(done):
    folder, results = done
    assert json.loads((folder / "out" / "results.json").read_text()) == results
    assert results["failures"] == []
    assert results["selection"] == "last epoch"
    assert results["protocol"]["label"] == "group-independent"
    assert all(len(fold["split_hash"]) == 64 for fold in results["folds"])
    assert [len(column["by_fold"]) for column in results["summary"].values()] == [3, 3, 3, 3, 3, 3]
    assert "| fold1 |" in (folder / "out" / "table.md").read_text()
    assert {path.name for path in (folder / "out" / "figures").iterdir()} == {"folds.png", "confusion.png"}


def test_a_row_of_another_variants_branch_is_that_branch_of_its_card(done):
    folder, results = done
    card = RunFolder.open(folder / "out" / "runs" / "late_fusion" / "fold2" / "0").read_card().plain()
    stated = card["targets"]["label"]["branches"]["motion"]["metrics"]["accuracy"]["value"]
    assert results["summary"]["motion"]["by_fold"]["fold2"] == stated


def test_finished_runs_are_kept_untouched(done):
    folder, results = done
    files = [path for path in (folder / "out" / "runs").rglob("*") if path.is_file()]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    assert len(before) >= 6
    again = quick(folder / "experiment.yaml", folder / "out", processes=1)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before
    assert figures(again) == figures(results)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "{}",
        lambda text: "[]",
        lambda text: text[:-9],
        lambda text: text.replace('"value"', '"figure"'),
        lambda text: text.replace('"label": {', '"table": {'),
    ],
)
def test_a_finished_run_whose_card_is_damaged_is_evaluated_again(done, tmp_path, damage):
    folder, results = done
    shutil.copytree(folder / "out" / "runs", tmp_path / "out" / "runs")
    run = tmp_path / "out" / "runs" / "N2" / "fold1" / "0"
    whole, trained = (run / "metrics.json").read_text(), (run / "weights.safetensors").stat().st_mtime_ns
    (run / "metrics.json").write_text(damage(whole))
    assert (run / "metrics.json").read_text() != whole
    again = quick(folder / "experiment.yaml", tmp_path / "out", processes=1)
    assert again["failures"] == []
    assert figures(again) == figures(results)
    assert json.loads((run / "metrics.json").read_text())["targets"] == json.loads(whole)["targets"]
    assert (run / "weights.safetensors").stat().st_mtime_ns == trained


def test_a_card_without_the_target_is_refused_with_its_file(agenda):
    job = agenda.jobs[0]
    write_card(job, card(job.fold, {"fused": 0.5}) | {"targets": {}})
    with pytest.raises(RunError, match=r"metrics.json: is damaged; targets: says nothing of label"):
        make_results(agenda, [])


def test_a_full_disk_while_results_are_written_says_so_and_keeps_every_run(done, tmp_path, monkeypatch):
    folder, results = done
    shutil.copytree(folder / "out" / "runs", tmp_path / "out" / "runs")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("fusionkit.storage.files.os.replace", full)
        with pytest.raises(RunError, match=r"\(No space left on device\); every run is kept"):
            quick(folder / "experiment.yaml", tmp_path / "out", processes=1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"runs", ".lock"}
    assert figures(quick(folder / "experiment.yaml", tmp_path / "out", processes=1)) == figures(results)


@pytest.mark.parametrize("refused", ["pathlib.Path.mkdir", "tempfile.TemporaryFile"])
def test_a_folder_that_cannot_be_written_is_said_before_any_run_is_begun(experiment, tmp_path, monkeypatch, refused):
    path = experiment()

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(refused, refuse)
    monkeypatch.setattr("fusionkit.experiments.study.run_jobs", lambda *arguments: pytest.fail("a run was begun"))
    with pytest.raises(RunError, match=r"out: no runs can be written there \(Read-only file system\); name a folder"):
        open_experiment(path, tmp_path / "out").run(processes=1)


def test_a_run_that_fails_is_reported_and_stops_no_other(experiment, tmp_path):
    text = EXPERIMENT + "  broken: {overrides: [train.optimizer.lr=1.0e+30, train.optimizer.type=sgd]}\n"
    text = text.replace("seeds: [0, 1]\n", "")
    results = open_experiment(experiment(text), tmp_path / "out", ["folds=[0]"]).run(processes=1).plain()
    assert [(failure["variant"], failure["fold"]) for failure in results["failures"]] == [("broken", "fold1")]
    assert "not finite" in results["failures"][0]["error"]
    assert results["summary"]["broken"]["mean"] is None
    assert results["summary"]["N2"]["by_fold"].keys() == {"fold1"}
    assert "FAILED: broken, fold1" in (tmp_path / "out" / "table.md").read_text()


def test_a_run_that_was_killed_while_its_folder_was_made_is_made_anew(done, tmp_path):
    folder, results = done
    begun = tmp_path / "out" / "runs" / "N2" / "fold1" / "0"
    begun.mkdir(parents=True)
    (begun / "environment.json").write_text("{}")
    (begun / ".recipe.yaml.partial").write_text("schema:")
    again = quick(folder / "experiment.yaml", tmp_path / "out", processes=1)
    assert again["failures"] == []
    assert figures(again) == figures(results)


@pytest.mark.slow
def test_several_processes_give_what_one_gives(done):
    folder, results = done
    assert figures(quick(folder / "experiment.yaml", folder / "parallel", processes=2)) == figures(results)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_experiment_resumes_to_the_same_result(done, tmp_path, signum):
    folder, results = done
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from fusionkit.experiments import open_experiment\n"
        "if __name__ == '__main__':\n"
        "    open_experiment(sys.argv[1], sys.argv[2], ['seeds=[0]', 'train.epochs=1']).run(processes=2)\n"
    )
    out, said = tmp_path / "out", tmp_path / "said.txt"
    with said.open("w") as file:  # no pipe: it would be waited for until the last worker is gone
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder / "experiment.yaml"), str(out)], stderr=file
        )
    wait_for(lambda: any(out.rglob("metrics.json")))
    process.send_signal(signum)
    assert process.wait(timeout=60) != 0
    assert not (out / "results.json").exists()
    if signum == signal.SIGINT:
        assert "KeyboardInterrupt" in said.read_text()
    # At once: workers of a process that was killed may still be ending, and no run fails for it.
    assert figures(quick(folder / "experiment.yaml", out, processes=1)) == figures(results)


def test_a_second_experiment_in_one_folder_is_refused_and_the_first_goes_on(experiment, tmp_path):
    path, refused = experiment(), list[str]()

    def second(*_):
        with pytest.raises(RunError) as caught:
            open_experiment(path, tmp_path / "out").run(processes=1)
        refused.append(str(caught.value))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fusionkit.experiments.study.run_jobs", lambda *arguments: second() or [])
        patched.setattr("fusionkit.experiments.study.make_results", lambda agenda, failures: {})
        patched.setattr("fusionkit.experiments.study.write_results", lambda results, out: {"first": "done"})
        done = open_experiment(path, tmp_path / "out").run(processes=1)

    assert done == {"first": "done"}
    remedy = "wait until it ends, or take another folder"
    assert refused == [f"{tmp_path / 'out'}: another process is working in it; {remedy}"]


def test_a_run_that_a_killed_experiment_left_in_work_is_waited_for(experiment, tmp_path, monkeypatch):
    job = make_agenda(load_experiment(experiment()), tmp_path / "out", Datasets()).jobs[0]
    run = RunFolder.create(job.folder, job.recipe)
    happened = list[str]()
    monkeypatch.setattr("fusionkit.training.train", lambda *_, **__: happened.append("trained") or run)
    monkeypatch.setattr("fusionkit.evaluation.evaluate", lambda run, **_: None)
    held = ExitStack()
    held.enter_context(lock_folder(run.path))
    held.callback(happened.append, "left")
    threading.Timer(0.2, held.close).start()

    assert do(job, Datasets()) is None
    assert happened == ["left", "trained"]


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


TABLE = "clip,who,mood,a,b\n" + "".join(
    f"{who}{n},{who},{('calm', 'happy')[n % 2]},{n},{-n}\n" for who in ("anna", "ben", "cem") for n in range(4)
)
OF_A_TABLE = """
schema: 1
data:
  dataset:
    type: manifest
    path: {path}
    modalities: {{motion: [a], posture: [b]}}
    targets: {{mood: mood}}
    id: clip
    group: who
  folds: leave_one_group_out
model:
  modalities: {{motion: {{}}, posture: {{}}}}
  fusion: concat
  targets: {{mood: classification}}
  fused_hidden: 4
train: {{epochs: 1}}
"""


@pytest.mark.parametrize(
    "changed",
    [TABLE + "dora0,dora,calm,1,1\n", TABLE.replace("ben1,ben,happy", "ben1,ben,calm")],
    ids=["more", "other"],
)
def test_runs_of_data_that_have_changed_since_are_refused_and_not_mixed_with_new_ones(experiment, tmp_path, changed):
    (tmp_path / "table.csv").write_text(TABLE)
    path = experiment(EXPERIMENT, OF_A_TABLE.format(path=tmp_path / "table.csv"))

    def done():
        return open_experiment(path, tmp_path / "out", ["seeds=[0]", "folds=[anna]"]).run(processes=1).plain()

    before = done()
    assert not before["failures"]
    run = RunFolder.open(tmp_path / "out" / before["rows"][0]["run"])
    assert done()["rows"] == before["rows"]

    (tmp_path / "table.csv").write_text(changed)

    with pytest.raises(RunError, match="holds runs of other data, which have changed since"):
        done()
    with pytest.raises(RunError, match="samples, targets or prepared clips are others than when it began"):
        train(run.recipe, run.path)


@pytest.mark.parametrize(
    ("fused", "low", "constant", "surely"),
    [
        ((0.6, 0.9, 0.4), 0.55, 0.25, False),  # every interval is clear of the constant, and the test over folds is not
        ((0.8, 0.81, 0.79), 0.4, 0.5, True),  # the other way round
        ((0.75, 0.75, 0.75), 0.6, 0.25, True),  # the same in every fold: no test can be made
        ((0.75, 0.75, 0.75), 0.4, 0.5, False),
    ],
)
def test_a_column_beats_the_constant_by_the_test_over_folds_and_by_intervals_only_without_one(
    agenda, fused, low, constant, surely
):
    for job in agenda.jobs:
        branches = {"fused": dict(zip(("fold1", "fold2", "fold3"), fused, strict=True))[job.fold]}
        made = card(job.fold, {**branches, "motion": 0.5, "posture": 0.5, "ensemble": 0.5, "constant": constant})
        made["targets"]["label"]["branches"]["fused"]["metrics"]["accuracy"]["low"] = low
        write_card(job, made)
    summary = make_results(agenda, []).plain()["summary"]
    assert summary["N2"]["over_constant"]["surely"] == surely
    assert (summary["N2"]["over_constant"]["corrected_t_p"] is None) == (len(set(fused)) == 1)


@pytest.mark.parametrize("recipes", [[], "none", None, 3])
def test_results_whose_recipes_are_damaged_are_written_anew(done, tmp_path, recipes):
    folder, results = done
    shutil.copytree(folder / "out", tmp_path / "out")
    damaged = {**json.loads((tmp_path / "out" / "results.json").read_text()), "recipes": recipes}
    (tmp_path / "out" / "results.json").write_text(json.dumps(damaged))
    assert quick(folder / "experiment.yaml", tmp_path / "out", processes=1)["failures"] == []
    assert json.loads((tmp_path / "out" / "results.json").read_text())["recipes"] == results["recipes"]


@pytest.mark.parametrize("version", ["true", "1.0", "'1'", "2"])
def test_a_schema_that_is_not_the_whole_number_1_is_refused(experiment, version):
    with pytest.raises(RecipeError, match="schema: 1 is expected, given"):
        load_experiment(experiment(f"schema: {version}\nrecipe: recipe.yaml\nvariants: {{a: {{}}}}\n"))


def results_of_targets(first, recipe):
    """Results of a recipe of two targets."""
    made = results_of(folds=("A",))
    (variant,) = made["recipes"]
    made["recipes"][variant]["model"]["targets"] = {"mood": {}, "age": {}}
    return record_of(made | {"target": first, "recipes": {variant: made["recipes"][variant] | {"train": recipe}}})


def test_files_that_are_not_an_experiments_own_are_never_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionkit.experiments.result_files.draw_figures", lambda *_: None)
    for target in ("mood", "age"):
        write_results(results_of_targets(target, 1), tmp_path)
    own = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert own.keys() == {"results.json", "table.md", "results.age.json", "table.age.md"}
    mine = {"results.notes.json": "my notes", "table.notes.md": "mine", "results.mood.json": "{}", "table.mood.md": ""}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "results.copy.json").write_bytes(own["results.age.json"])

    assert [each.part for each in ExperimentFolder.open_targets(tmp_path)] == ["", "age"]
    write_results(results_of_targets("mood", 2), tmp_path)

    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"results.json", "table.md", "results.copy.json", *mine}
    assert {name: (tmp_path / name).read_text() for name in mine} == mine


def test_a_copy_of_another_targets_results_is_neither_reported_nor_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionkit.experiments.result_files.draw_figures", lambda *_: None)
    write_results(results_of_targets("mood", 1), tmp_path)
    shutil.copy(tmp_path / "results.json", tmp_path / "results.age.json")

    assert [each.part for each in ExperimentFolder.open_targets(tmp_path)] == [""]
    write_results(results_of_targets("mood", 2), tmp_path)

    assert (tmp_path / "results.age.json").is_file()


@pytest.mark.parametrize("damage", ["", "my notes", '{"target": "age"}', "{}"])
def test_damaged_results_of_a_target_are_told_and_kept(tmp_path, monkeypatch, damage):
    monkeypatch.setattr("fusionkit.experiments.result_files.draw_figures", lambda *_: None)
    write_results(results_of_targets("mood", 1), tmp_path)
    for name in ("results.age.json", "table.age.md"):
        (tmp_path / name).write_text(damage)

    with pytest.raises(RunError, match=r"results\.age\.json: "):
        ExperimentFolder.open_targets(tmp_path)
    write_results(results_of_targets("mood", 2), tmp_path)

    assert [(tmp_path / name).read_text() for name in ("results.age.json", "table.age.md")] == [damage] * 2


@pytest.mark.parametrize("name", ["results.json", "results.label.json"])
def test_results_of_a_later_version_are_kept(experiment, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text('{"format": 2}')

    with pytest.raises(RunError, match="results of format 2, which a later version wrote, is kept; update fusionkit"):
        open_experiment(experiment(), tmp_path / "out")
    with pytest.raises(RunError, match="which a later version wrote"):
        write_results(record_of({**results_of(), "target": "label"}), tmp_path / "out")

    assert [file.name for file in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == '{"format": 2}'
