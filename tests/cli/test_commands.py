"""The command line: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from report_folders import card_of

import fusionkit
from fusionkit.config.components.registry import REGISTRIES
from fusionkit.config.recipe import load_recipe
from fusionkit.execution.workers import count_processors
from fusionkit.experiments.study import count_runs_at_a_time
from fusionkit.storage.environment import choose_device, use_device
from fusionkit.storage.records.card import Card
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training.trainer import make_fabric

TINY = """
schema: 1
data:
  dataset:
    type: synthetic
    groups: 4
    samples: 2
    modalities:
      motion: {features: 3, min_length: 2, max_length: 5}
      posture: {features: 4, min_length: 1, max_length: 1}
model:
  modalities: {motion: {encoder: mlp}, posture: {encoder: mlp}}
  targets: {label: classification}
train: {epochs: 2}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.mark.parametrize(("groups", "few"), [(2, True), (6, False)])
def test_a_card_prints_no_interval_without_width_and_says_where_groups_are_too_few(
    capsys: pytest.CaptureFixture[str], groups: int, few: bool
) -> None:
    from fusionkit.cli.evaluate import print_card

    metrics = {"accuracy": {"value": 0.4166, "low": 0.4166, "high": 0.4166}}
    wide = {"accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}}
    branches = {
        name: {"trained": "alone", "samples": 24, "metrics": of} for name, of in (("fused", metrics), ("q", wide))
    }
    card = card_of("state", branches=branches) | {"notes": ["Mind this."]}
    card["intervals"]["units"] = groups
    print_card(Card.model_validate(card), Path("metrics.json"), False)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Careful: Mind this." in printed
    assert "fused 24 0.417 q 24 0.750 [0.500, 1.000]" in printed
    assert ("too few groups to tell what is noise" in printed) == few


TABLE = """
schema: 1
data:
  dataset:
    {{type: manifest, path: "{table}", modalities: {{one: [x], two: [y]}}, targets: {{state: mood}}, group: who}}
  folds: {{type: group_kfold, folds: 3}}
model:
  modalities: {{one: {{encoder: mlp}}, two: {{encoder: mlp}}}}
  targets: {{state: {state}}}
train: {{epochs: 1}}
"""


def recipe_of_table(folder: Path, moods: str, groups: str, state: str = "classification") -> Path:
    """A recipe of a table with a row per mood and group."""
    table, recipe = folder / "table.csv", folder / "recipe.yaml"
    rows = [
        f"{place}.5,{place % 3},{mood},{group}" for place, (mood, group) in enumerate(zip(moods, groups, strict=True))
    ]
    table.write_text("\n".join(["x,y,mood,who", *rows]) + "\n")
    recipe.write_text(TABLE.format(table=table, state=state))
    return recipe


def test_a_target_of_one_value_is_told_by_file_and_column(command: Any, tmp_path: Path) -> None:
    recipe = recipe_of_table(tmp_path, "aaaaaa", "112233")
    for arguments in (("check", recipe), ("train", recipe, "--out", tmp_path / "run")):
        ended = command(*arguments)
        assert ended.status == 2
        told = " ".join(ended.err.split())
        assert f"the dataset's target 'state' has one value only, 'a' ({tmp_path / 'table.csv'}, column 'mood')" in told
        assert "1 given" not in told


def test_groups_that_cannot_fill_the_folds_are_refused_by_the_check_as_by_the_training(
    command: Any, tmp_path: Path
) -> None:
    recipe = recipe_of_table(tmp_path, "ababab", "111111")
    for arguments in (("check", recipe, "--no-timing"), ("train", recipe, "--out", tmp_path / "run")):
        ended = command(*arguments)
        assert ended.status == 2
        assert "group_kfold: 1 group cannot fill 3 folds; give data of 3 groups or more, or ask" in ended.err


def test_classes_that_no_training_sample_has_are_told_by_training_and_diagnosis(command: Any, tmp_path: Path) -> None:
    recipe = recipe_of_table(tmp_path, "aaaaaa", "112233", "{type: classification, classes: [a, b, c]}")
    said = "has no sample of 2 of the 3 classes of state: b, c. The network cannot learn"
    for arguments in (("check", recipe, "--no-timing"), ("train", recipe, "--out", tmp_path / "run")):
        ended = command(*arguments)
        assert ended.status == 0, ended.err
        assert said in " ".join(ended.out.split())
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["notes"][0].startswith("The training part of ")
    assert said in " ".join(command("diagnose", tmp_path / "run", "--device", "cpu").out.split())
    assert command("train", recipe_of_table(tmp_path, "abcabc", "112233"), "--out", tmp_path / "all").status == 0
    assert json.loads((tmp_path / "all" / "metrics.json").read_text())["notes"] == []


def test_help_comes_without_torch_and_in_an_instant() -> None:
    program = (
        "import sys\n"
        "from fusionkit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'pydantic_core', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    durations = []
    for _ in range(3):
        started = time.perf_counter()
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        durations.append(time.perf_counter() - started)
        assert ended.returncode == 0, ended.stderr
        assert "experiment" in ended.stdout
    assert min(durations) < 2.0  # 0.12 s where the machine is not busy


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("fusionkit tr", {"train"}),
        ("fusionkit train quickstart/re", {"quickstart/recipe"}),
        ("fusionkit recipes copy sensors/", {"sensors/basic_motions", "sensors/basic_motions_experiment"}),
    ],
)
def test_the_shell_completes_commands_and_shipped_recipes_without_torch(words: str, completed: set[str]) -> None:
    program = (
        "import sys\n"
        "from fusionkit.cli import main\n"
        "try: main([])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    asked = {"_FUSIONKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, **asked}
    )
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) == completed


COMPUTING = ("train", "experiment", "evaluate", "calibrate", "verify", "diagnose", "stress", "compare", "check", "demo")


@pytest.mark.parametrize("name", COMPUTING)
def test_every_command_that_computes_takes_a_device_and_refuses_one_that_is_not_there(
    command: Any, tmp_path: Path, name: str
) -> None:
    out = ["--out", tmp_path / "out"] if name in ("train", "experiment", "compare") else []
    subject = [] if name == "demo" else ["quickstart/recipe"]

    ended = command(name, *subject, *out, "--device", "cuda:99")

    assert (ended.status, ended.err.split(";")[0]) == (
        2,
        "fusionkit: device 'cuda:99': this machine has none of that name",
    )
    assert not (tmp_path / "out").exists()


def test_a_device_is_that_of_the_command_alone_and_of_its_training_evaluation_and_workers(
    command: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    seen = list[str | None]()
    monkeypatch.setattr(
        "fusionkit.training.train", lambda *_, **__: seen.append(os.environ.get("FUSIONKIT_DEVICE")) or sys.exit(3)
    )

    assert command("train", tiny, "--out", tmp_path / "run", "--device", "cpu").status == 3
    assert command("train", tiny, "--out", tmp_path / "run").status == 3

    assert seen == ["cpu", None]
    with use_device("cpu"):
        assert choose_device(None) == torch.device("cpu")
        assert make_fabric(load_recipe(tiny)).device == torch.device("cpu")
        assert count_runs_at_a_time() == count_processors()
    assert choose_device(None) == torch.device("cuda")


@pytest.mark.parametrize("name", ["prepare", "demo", "experiment"])
def test_processes_are_called_what_they_are_in_every_command(command: Any, name: str) -> None:
    said = " ".join(command(name, "--help").out.split())
    assert "Processes at the same time; one per core when left out." in said


def test_version_is_that_of_the_package(command: Any) -> None:
    assert command("--version").out.strip() == f"fusionkit {fusionkit.__version__}"


def test_train_leaves_a_card_and_prints_its_figures(command: Any, tiny: Path, tmp_path: Path) -> None:
    ended = command("train", tiny, "--out", tmp_path / "run", "train.epochs=1")

    assert ended.status == 0, ended.err
    card = json.loads((tmp_path / "run" / "metrics.json").read_text())
    accuracy = card["targets"]["label"]["branches"]["fused"]["metrics"]["accuracy"]["value"]
    assert f"{accuracy:.3f}" in ended.out
    assert card["protocol"]["label"] in ended.out
    assert "Trained together with the fused branch: motion, posture." in ended.out
    assert str(tmp_path / "run" / "metrics.json") in ended.out.replace("\n", "")
    assert (tmp_path / "run" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    assert RunFolder.open(tmp_path / "run").recipe.train.epochs == 1
    assert max(map(len, ended.out.splitlines()[:-2])) <= 80  # the last two lines are paths


def test_json_of_train_evaluate_and_verify_can_be_read(command: Any, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    trained = command("train", tiny, "--out", run, "--json").record
    evaluated = command("evaluate", run, "--json").record
    verified = command("verify", run / "metrics.json", "--json")

    assert trained["targets"] == evaluated["targets"]
    assert verified.status == 0
    assert verified.record["holds"] is True


def test_verify_names_a_figure_that_does_not_hold_and_ends_with_1(command: Any, tiny: Path, tmp_path: Path) -> None:
    command("train", tiny, "--out", tmp_path / "run")
    file = tmp_path / "run" / "metrics.json"
    card = json.loads(file.read_text())
    card["targets"]["label"]["branches"]["fused"]["metrics"]["accuracy"]["value"] += 0.1
    file.write_text(json.dumps(card))

    ended = command("verify", file)

    assert ended.status == 1
    assert "targets.label.branches.fused.metrics.accuracy.value" in ended.out


def test_experiment_prints_its_table_and_names_its_files(command: Any, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(
        "schema: 1\nrecipe: tiny.yaml\nvariants:\n  late: {overrides: [train.strategy=late_fusion]}\n  joint: {}\n"
    )

    ended = command("experiment", file, "--out", tmp_path / "out", "train.epochs=1", "--processes", "1")

    assert ended.status == 0, ended.err
    assert "ensemble" in ended.out
    assert (tmp_path / "out" / "table.md").is_file()
    assert "table.md" in ended.out
    assert "results.json" in ended.out
    assert ended.out.splitlines()[-1] == f"Open this page: {tmp_path / 'out' / 'report.html'}"
    again = command("experiment", file, "--out", tmp_path / "out", "train.epochs=1", "--processes", "1", "--json")
    assert set(again.record["summary"]) >= {"late", "joint", "ensemble"}


TWO = TINY.replace("    groups: 4", "    groups: 4\n    regression: true").replace(
    "{label: classification}", "{label: classification, strength: regression}"
)


def test_every_target_of_an_experiment_has_its_part_of_one_page_and_overwrites_no_other(
    command: Any, tmp_path: Path
) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    file, out = tmp_path / "experiment.yaml", tmp_path / "out"
    file.write_text("schema: 1\nrecipe: two.yaml\nvariants:\n  late: {overrides: [train.strategy=late_fusion]}\n")
    run = ("experiment", file, "--out", out, "train.epochs=1", "folds=[0]", "--processes", "1", "--json")

    assert command(*run, "target=strength").record["target"] == "strength"
    first = (out / "results.json").read_bytes()
    assert command(*run, "target=label").record["target"] == "label"

    assert (out / "results.json").read_bytes() == first
    assert json.loads((out / "results.label.json").read_bytes())["target"] == "label"
    page = (out / "report.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ") and "in short" in line] == [
        "## strength: in short",
        "## label: in short",
    ]
    assert "(figures/label/folds.png)" in page
    assert "(figures/folds.png)" in page

    # Nothing depends on who loads the data, so it is still the same experiment.
    second = (out / "results.label.json").read_bytes()
    assert command(*run, "target=strength", "data.workers=1", "data.cache=true").record["target"] == "strength"
    assert (out / "results.label.json").read_bytes() == second
    assert json.loads((out / "results.json").read_bytes())["target"] == "strength"

    both = command(*run)
    assert list(both.record) == ["strength", "label"]
    assert sorted(path.name for path in out.glob("results*.json")) == ["results.json", "results.label.json"]
    assert (out / "table.label.md").is_file()

    ended = command(*run[:-1])
    text = " ".join(ended.out.split())
    assert text.count("A star and the row 'single better' mark") == 1  # what holds of both tables is said once
    assert "Confusion matrices: not drawn" not in text  # numbers have none, and nobody expects them
    assert not re.search(r"-0(\.0*)?(?![.\d])", text)

    # A copy that a user keeps is neither a target's nor stale, and results of other recipes are.
    kept = {name: (out / name).write_bytes(second) for name in ("results.backup.json", "results....json")}
    assert [line for line in ended.out.splitlines() if "Open this page" in line]
    assert command("report", out).status == 0
    assert (out / "report.md").read_text().count(": in short\n") == 2
    assert sorted(path.name for path in (out / "figures").iterdir() if path.is_dir()) == ["label"]
    shutil.rmtree(out / "runs")
    assert command(*run, "target=label", "train.seed=1").record["target"] == "label"
    assert sorted(path.name for path in out.glob("*.json")) == sorted(["results.json", *kept])


def test_a_wrong_target_is_told_with_all_other_problems(command: Any, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    file = tmp_path / "experiment.yaml"
    file.write_text(
        "schema: 1\nrecipe: two.yaml\ntarget: [lable, strength]\nvariants:\n"
        "  one: {overrides: [model.fusion=conact]}\n  two: {overrides: [train.epochs=0]}\n"
    )

    ended = command("experiment", file, "--out", tmp_path / "out")

    assert ended.status == 2
    assert "3 problems" in ended.err
    assert all(said in ended.err for said in ("did you mean 'label'?", "did you mean 'concat'", "variants.two: "))
    several = command("compare", file, "--out", tmp_path / "out", "budget={epochs: 1}", "target=[label, strength]")
    assert "a comparison tunes for one, given label, strength; write target: label" in several.err
    metric = command("experiment", file, "--out", tmp_path / "out", "metric=loss", "target=[label, strength]")
    assert (
        "metric: 'loss' is given, but of label, strength each is compared by its own; leave it out, or compare one "
        "target: target=label"
    ) in metric.err


def test_every_mistake_of_a_recipe_is_reported_at_once_without_a_traceback(
    command: Any, tiny: Path, tmp_path: Path
) -> None:
    ended = command("train", tiny, "--out", tmp_path / "run", "train.epoch=3", "model.fusion=nrpm", "train.seed=-1")

    assert ended.status == 2
    assert ended.out == ""
    for said in ("3 problems", "did you mean 'epochs'?", "unknown fusion 'nrpm'", "train.seed"):
        assert said in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "quickstart/recepi", "--out", "x"), "did you mean 'quickstart/recipe'"),
        (("train", "quickstart/recipe"), "--out"),
        (("evaluate", "nowhere"), "nowhere: is no run"),
        (("calibrate", "nowhere"), "nowhere: is no run"),
        (("share", "nowhere"), "give either --out FOLDER, or --to hf://owner/name"),
        (("verify", "nowhere"), "nowhere"),
        (("experiment", "nowhere", "--out", "x"), "shipped recipes"),
        (("list", "encodes"), "did you mean 'encoder'?"),
        (("show", "encoder", "log_mell"), "did you mean 'log_mel'?"),
        (("check", "quickstart/recipe", "--length", "motion"), "--length audio=48000"),
        (("check", "quickstart/recipe", "--length", "motions=5"), "did you mean 'motion'?"),
        (("recipes", "copy", "quickstat"), "did you mean 'quickstart'"),
        (("recipes", "copy", "quickstart", "--to", "/dev/null"), "/dev/null: cannot be made a folder"),
        (("check", "."), ".: is a folder, not a recipe; it holds no .yaml file"),
        (("experiment", "quickstart/experiment", "--out", "n" * 300, "--dry-run"), "File name too long"),
        (("experiment", "quickstart/experiment", "--out", f"new/{'n' * 300}", "--dry-run"), "File name too long"),
        (("experiment", "quickstart/experiment", "--out", "/dev/null/x", "--dry-run"), "/dev/null: is a file, so no"),
        (("compare", "quickstart/comparison", "--out", "n" * 300, "--dry-run"), "File name too long"),
        (("experiment", "quickstart/experiment", "--out", "x", "target="), "override 'target=': gives no value"),
        (("check", "quickstart/experiment"), "is an experiment, not a recipe; run it with `fusionkit experiment`"),
        (("experiment", "quickstart/recipe", "--out", "x"), "is a recipe, not an experiment"),
        (("check", "quickstart/recipe", f"train.seed={10**23}"), "train.seed: a number below 4294967296 is expected"),
        (("check", "quickstart/recipe", f"data.folds.seed={10**23}"), "data.folds.seed: a number below 4294967296"),
        (("train", "", "--out", "x"), "an argument: is empty; give a value or leave it out"),
        (("train", "quickstart/recipe", "--out", ""), "--out: is empty; give a value or leave it out"),
        (("train", "quickstart/recipe", "--out="), "--out: is empty; give a value or leave it out"),
        (("evaluate", ""), "an argument: is empty"),
        (("report", "x", "--out", ""), "--out: is empty"),
        (("recipes", "copy", "quickstart", "--to", ""), "--to: is empty"),
        (("trian",), "trian"),
    ],
)
def test_a_mistake_ends_with_2_and_says_what_would_be_right(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)

    ended = command(*arguments)

    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_folder_whose_name_is_no_utf_8_is_refused_in_words(command: Any, tiny: Path, tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/b\xff/run")

    ended = command("train", tiny, "--out", out)

    assert ended.status == 2
    assert ended.err == f"fusionkit: {tmp_path}/b\\udcff/run: is no UTF-8 text; give a name in UTF-8\n"
    assert list(tmp_path.iterdir()) == [tiny]


def test_check_prints_shapes_from_input_to_fusion_in_80_columns(command: Any) -> None:
    ended = command("check", "aver/ravdess_action_units")

    assert ended.status == 0, ended.err
    for said in ("log_mel", "(64,)", "action_units", "mrpn", "Parameters", "FLOPs per sample", "audio 48,000"):
        assert said in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_check_takes_other_lengths_and_prints_json(command: Any) -> None:
    short = command("check", "aver/ravdess_action_units", "--length", "audio=16000", "--json", "--no-timing").record
    long = command("check", "aver/ravdess_action_units", "--length", "audio=32000", "--json", "--no-timing").record

    assert short["modalities"]["audio"]["length"] == 16000
    assert (
        1.8 < long["modalities"]["audio"]["parts"][0]["flops"] / short["modalities"]["audio"]["parts"][0]["flops"] < 2.2
    )
    assert short["memory"]["total"] == sum(value for name, value in short["memory"].items() if name != "total")


def test_check_times_training_and_prediction_and_says_from_how_many_clips(command: Any, tiny: Path) -> None:
    said = command("check", tiny, "--device", "cpu", "train.strategy=late_fusion")
    speed = command("check", tiny, "--device", "cpu", "train.strategy=late_fusion", "--json").record["speed"]

    assert said.status == 0, said.err
    assert max(map(len, said.out.splitlines())) <= 80
    table = said.out[said.out.index("Speed on cpu") :]
    for words in ("a step of 16", "clips/s", "timed clips", "motion", "posture", "fusion", "(prediction)"):
        assert words in table
    assert speed["device"] == "cpu"
    assert [stage["name"] for stage in speed["stages"]] == ["motion", "posture", "fusion"]
    for stage in speed["stages"]:
        assert 2 <= stage["timed_samples"] <= speed["batch"] == 16
        assert stage["clips_per_second"] == pytest.approx(stage["step_samples"] / stage["step_seconds"])
    assert speed["predicted_per_second"] > 0


def test_check_leaves_the_speed_out_where_it_is_not_wanted_or_not_for_this_device(command: Any, tiny: Path) -> None:
    assert "Speed" not in command("check", tiny, "--no-timing").out
    assert command("check", tiny, "--no-timing", "--json").record["speed"] is None

    elsewhere = command("check", tiny, "--device", "cpu", "train.precision=16-mixed")
    assert elsewhere.status == 0
    assert "The speed was not timed: train.precision: '16-mixed' needs a CUDA device" in " ".join(elsewhere.out.split())

    absent = command("check", tiny, "--device", "abacus")
    assert absent.status == 2
    assert "device 'abacus': this machine has none of that name" in absent.err


def test_a_device_that_there_is_not_is_answered_by_those_that_are(command: Any, tiny: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused = command("check", tiny, "--device", "gpu")
    assert refused.status == 2
    if not torch.backends.mps.is_available():
        assert "this machine has none of that name; known: cpu (PyTorch sees no GPU here)" in refused.err
    assert "did you mean" not in refused.err


def test_a_length_is_asked_for_in_the_words_of_the_help(command: Any, tiny: Path) -> None:
    assert "is not MODALITY=N; for example --length audio=48000" in command("check", tiny, "--length", "motion").err


def test_prepare_says_that_it_takes_comparisons_too(command: Any) -> None:
    assert "experiment or comparison" in " ".join(command("prepare", "--help").out.split())


def test_a_table_that_is_not_there_is_the_first_thing_that_check_says(command: Any, tmp_path: Path) -> None:
    made = tmp_path / "recipe.yaml"
    dataset = {"type": "manifest", "path": str(tmp_path / "none.csv"), "modalities": {"a": ["x"]}, "targets": ["y"]}
    targets = {"y": "regression"}
    model = {"modalities": {"a": {"encoder": "mlp"}}, "targets": targets}
    made.write_text(json.dumps({"schema": 1, "data": {"dataset": dataset}, "model": model}))
    first, second = [line for line in command("check", made).err.splitlines() if line.startswith("  - ")]
    assert first.endswith("none.csv: no such file")
    assert "the recipe: leaves model.modalities.a.shape to the dataset, which cannot be opened; state" in second


def test_check_opens_the_data_where_the_recipe_does_not_state_the_shapes(command: Any, tiny: Path) -> None:
    assert command("check", tiny, "--json").record["modalities"]["motion"]["in_shape"] == [3]


def test_check_says_which_keys_to_state_where_the_data_are_absent(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "schema: 1\ndata: {dataset: {type: ts, train: absent.ts}}\n"
        "model: {modalities: {series: {encoder: mlp}}, targets: {label: classification}}\n"
    )

    ended = command("check", file)

    assert ended.status == 2
    assert "model.modalities.series.shape, model.targets.label.classes" in ended.err
    assert "\n  - absent.ts: no such file" in ended.err


def test_list_and_show_know_every_component(command: Any) -> None:
    listed = command("list", "--json").record

    assert set(listed) == set(REGISTRIES)
    for kind, components in listed.items():
        for name, summary in components.items():
            page = command("show", kind, name, "--json").record
            assert page["summary"] == summary
            assert all(option["description"] for option in page["options"]), (kind, name)


def test_a_plugin_is_listed_shown_and_in_the_schema() -> None:
    examples = Path(__file__).parents[2] / "examples"

    def said(*words: str) -> str:
        call = [sys.executable, "-m", "fusionkit", *words, "--plugin", "custom_encoder"]
        environment = {**os.environ, "PYTHONPATH": str(examples)}
        return subprocess.run(call, capture_output=True, text=True, check=True, env=environment).stdout

    assert "differences" in json.loads(said("list", "encoder", "--json"))["encoder"]
    assert "What the differences are multiplied by" in said("show", "encoder", "differences")
    assert '"differences"' in said("schema")


def test_a_plugin_that_cannot_be_imported_is_named(command: Any) -> None:
    ended = command("list", "--plugin", "no_such_module")
    assert ended.status == 2
    assert "no_such_module" in ended.err


def test_show_prints_formula_options_bounds_and_source_in_80_columns(command: Any) -> None:
    ended = command("show", "aggregator", "gru")

    for said in ("Formula", "hidden", "integer, > 0", "128", "Source", "Cho et al. 2014"):
        assert said in ended.out
    prose = [line for line in ended.out.splitlines() if not line.startswith("  ")]
    assert max(map(len, prose)) <= 80


def test_copied_recipes_are_valid_and_bring_the_schema_that_they_name(command: Any, tmp_path: Path) -> None:
    ended = command("recipes", "copy", "quickstart", "--to", tmp_path / "mine")

    assert ended.status == 0
    for file in ("recipe.yaml", "experiment.yaml"):
        first = (tmp_path / "mine" / file).read_text().splitlines()[0]
        named = first.removeprefix("# yaml-language-server: $schema=")
        assert json.loads((tmp_path / "mine" / named).read_text())["properties"]["schema"]["const"] == 1
    assert command("check", tmp_path / "mine" / "recipe.yaml").status == 0
    assert "exists already" in command("recipes", "copy", "quickstart", "--to", tmp_path / "mine").err


def test_a_copied_experiment_of_films_can_be_read_and_keeps_the_schema_of_the_users_own_components(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fusionkit.schema.json").write_text("{}")

    written = command("recipes", "copy", "quickstart/films_experiment", "--json").record

    assert written == [
        *("films_experiment.yaml", "films.yaml"),
        *("fusionkit.experiment.schema.json", "fusionkit.comparison.schema.json"),
    ]
    assert (tmp_path / "fusionkit.schema.json").read_text() == "{}"
    refused = command("experiment", "films_experiment.yaml", "--out", "out", "--dry-run", "data.dataset.root=nowhere")
    assert "nowhere" in refused.err
    assert "films.yaml" not in refused.err


def test_recipes_that_may_not_be_written_are_refused_in_one_line_and_none_is_left(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile, copied = shutil.copyfile, list[Path]()

    def refusing(source: Path, copy: Path) -> None:
        if copied:
            raise PermissionError(errno.EACCES, "Permission denied", str(copy))
        copied.append(copyfile(source, copy))

    monkeypatch.setattr(shutil, "copyfile", refusing)

    ended = command("recipes", "copy", "quickstart", "--to", tmp_path)

    assert ended.status == 2
    assert ended.err == f"fusionkit: {tmp_path}: cannot be written (Permission denied); choose another folder\n"
    assert copied
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    (tmp_path / "fusionkit.schema.json").mkdir()  # a schema that cannot be written, whoever asks
    schema = command("recipes", "copy", "quickstart", "--to", tmp_path)
    assert schema.status == 2
    assert "fusionkit.schema.json: cannot be written" in schema.err


@pytest.mark.parametrize(
    ("arguments", "inside"),
    [
        (("check", "quickstart/recipe"), "fusionkit.config.recipe.load_recipe"),
        (("diagnose", "run"), "fusionkit.evaluation.diagnosis.find_runs"),
        (("stress", "run"), "fusionkit.evaluation.robustness.stress"),
        (("evaluate", "run"), "fusionkit.storage.run_folder.RunFolder.open"),
        (("verify", "run"), "fusionkit.evaluation.verify"),
    ],
)
def test_a_command_that_is_interrupted_says_that_it_stopped(
    command: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], inside: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inside, interrupted)

    ended = command(*arguments)

    assert ended.status == 130
    assert ended.err.strip() == "fusionkit: stopped"


def test_schema_knows_components_and_experiments(command: Any) -> None:
    recipe = command("schema").record
    experiment = command("schema", "--experiment").record

    assert "log_mel" in json.dumps(recipe["$defs"]["EncoderSpec"])
    assert "variants" in experiment["properties"]


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_status_of_its_signal_and_can_go_on(tiny: Path, tmp_path: Path) -> None:
    program = [
        sys.executable,
        "-m",
        "fusionkit",
        "train",
        str(tiny),
        "--out",
        str(tmp_path / "run"),
        "train.epochs=4000",
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "log.jsonl").is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 143
    assert b"Traceback" not in said
    assert b"stopped; the same command goes on where it was" in said
    assert RunFolder.open(tmp_path / "run").checkpoints.load() is not None
