"""The command that uses a trained network: tables, files, folders; answers that go on where they were stopped."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_tables

import fusionkit
from fusionkit.inference import answer_file
from fusionkit.inference.predictor import Predictor
from fusionkit.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tables.write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def run(table: Path) -> RunFolder:
    return small_tables.finished_run(table.parent / "run", table)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_table_becomes_a_table_of_answers(run: RunFolder, table: Path, tmp_path: Path, command: Any):
    ended = command("predict", run.path, table, "--out", tmp_path / "answers.csv", "--processes", 0)
    assert ended.status == 0, ended.err
    expected = fusionkit.load(run.path, device="cpu").predict(table)
    rows = rows_of(tmp_path / "answers.csv")
    assert [row["id"] for row in rows] == [f"clip {number}" for number in range(16)]
    for row, answer in zip(rows, expected, strict=True):
        assert row["state"] == answer.targets["state"].prediction
        assert float(row["load"]) == answer.targets["load"].prediction
        assert [float(row[f"state.{label}"]) for label in "ab"] == list(answer.targets["state"].probabilities.values())
        assert row["present"] == "+".join(answer.present)
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_the_command_loads_nothing_of_the_training_but_what_a_recipe_names(run: RunFolder, table: Path, tmp_path: Path):
    asked = ["predict", str(run.path), str(table), "--out", str(tmp_path / "answers.csv"), "--json"]
    program = (
        "import sys\n"
        "from fusionkit.cli import main\n"
        f"try: main({asked!r})\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "heavy = {'lightning_fabric', 'fusionkit.training.loop', 'matplotlib', 'timm', 'torchvision', 'av'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "answers.csv").exists()


def test_every_kind_of_file_says_the_same(run: RunFolder, table: Path, tmp_path: Path, command: Any):
    from pyarrow import parquet

    for suffix in answer_file.SUFFIXES:
        ended = command("predict", run.path, table, "--out", tmp_path / f"a{suffix}", "--branches", "--processes", 0)
        assert ended.status == 0, ended.err
    rows = rows_of(tmp_path / "a.csv")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    columns = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    for row, line, column in zip(rows, lines, columns, strict=True):
        assert float(row["load"]) == line["targets"]["load"]["prediction"] == column["load"]
        assert row["sound/state"] == (column["sound/state"] or "")
        assert ("sound" in line["branches"]) == bool(row["sound/state"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_command_that_was_killed_goes_on_to_the_same_answers(
    suffix: str, run: RunFolder, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
):
    table = run.path.parent / "samples.csv"
    whole, stopped = tmp_path / f"whole{suffix}", tmp_path / f"stopped{suffix}"
    arguments = ("--processes", 0)
    assert command("predict", run.path, table, "--out", whole, *arguments).status == 0
    say, batches = Predictor.say, 0

    def die_at_the_fourth(self: Predictor, batch: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 4:
            raise KeyboardInterrupt
        return say(self, batch)

    monkeypatch.setattr(Predictor, "say", die_at_the_fourth)
    assert command("predict", run.path, table, "--out", stopped, *arguments).status == 130
    assert not stopped.exists()
    unfinished = stopped.with_name(f".{stopped.name}.unfinished")
    content = unfinished.read_bytes()
    assert content.count(b"\n") == 1 + 9
    for cut in (len(content), len(content) - 1, len(content) // 2, 30, 0):  # wherever the machine failed
        unfinished.write_bytes(content[:cut])
        batches = 4
        ended = command("predict", run.path, table, "--out", stopped, *arguments)
        assert ended.status == 0
        assert stopped.read_bytes() == whole.read_bytes()
        kept = max(0, content[:cut].count(b"\n") - 1) // 3
        assert batches - 4 == 6 - kept
        stopped.unlink()


def test_unfinished_answers_to_something_else_are_not_gone_on_with(
    run: RunFolder, table: Path, tmp_path: Path, command: Any
):
    out = tmp_path / "a.csv"
    assert command("predict", run.path, table, "--out", out, "--processes", 0).status == 0
    expected = out.read_bytes()
    unfinished = tmp_path / ".a.csv.unfinished"
    unfinished.write_text('{"answers_to": "others"}\n["wrong", "row"]\n')
    assert command("predict", run.path, table, "--out", out, "--processes", 0, "--overwrite").status == 0
    assert out.read_bytes() == expected


@pytest.mark.filterwarnings("default::fusionkit.errors.FusionKitWarning")
def test_rows_that_cannot_be_used_stand_in_the_table_and_in_the_status(
    run: RunFolder, table: Path, tmp_path: Path, command: Any
):
    (tmp_path / "new.csv").write_text("name,motion,warmth,damp\nx,nowhere.npy,,\ny,,21,0.5\nz,,,\n")
    ended = command("predict", run.path, tmp_path / "new.csv", "--out", tmp_path / "a.csv", "--processes", 0)
    assert ended.status == 1
    assert "3 answers, 2 without one" in ended.out
    assert "new.csv has no column 'sound' (sound)" in ended.err
    rows = rows_of(tmp_path / "a.csv")
    assert [row["id"] for row in rows] == ["x", "y", "z"]
    assert "no such file" in rows[0]["failure"]
    assert rows[1]["failure"] == "" != rows[1]["state"]
    assert "holds no modality" in rows[2]["failure"]
    ended = command("predict", run.path, tmp_path / "new.csv", "--json", "--processes", 0)
    assert ended.status == 1
    assert [bool(json.loads(line)["failure"]) for line in ended.out.splitlines()] == [True, False, True]


def test_single_files_and_samples_are_shown(run: RunFolder, table: Path, tmp_path: Path, command: Any):
    np.save(tmp_path / "m.npy", np.zeros((4, 2), "float32"))
    ended = command("predict", run.path, tmp_path / "m.npy", "--processes", 0)
    assert ended.status == 0, ended.err
    assert "motion" in ended.out
    pair = (f"motion={tmp_path / 'm.npy'}", f"sound={table.parent / 's0.wav'}")
    ended = command("predict", run.path, *pair, "--branches", "--processes", 0)
    assert ended.status == 0, ended.err
    assert "motion, sound" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["m.npy", "--out", "a.txt"], "cannot write files that end in '.txt'; known: .csv, .jsonl, .parquet"),
        (["m.npy", "--out", "nowhere/a.csv"], "its folder is not there"),
        (["m.npy", "--out", "taken.csv"], "exists; give --overwrite"),
        (["motion=m.npy", "motion=m.npy"], "motion given twice"),
        (["motion=m.npy", "m.npy"], "not both"),
        (["m.npy", "new.csv"], "one table or folder at a time"),
        (["gaze=m.npy"], "no modality 'gaze'"),
        (["nowhere.csv"], "no such file"),
        (["m.npy", "--variant", "late"], "is one run"),
        (["m.npy", "--branch", "fusde"], "did you mean 'fused'"),
    ],
)
def test_mistakes_end_with_status_2_and_what_would_be_right(
    arguments: list[str],
    reason: str,
    *,
    run: RunFolder,
    tmp_path: Path,
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", np.zeros((4, 2), "float32"))
    Path("taken.csv").write_text("mine")
    Path("new.csv").write_text("motion\nm.npy\n")
    ended = command("predict", run.path, *arguments)
    assert ended.status == 2
    assert reason in ended.err
    assert "Traceback" not in ended.err
    assert Path("taken.csv").read_text() == "mine"


def test_what_is_no_run_is_refused(tmp_path: Path, command: Any):
    os.mkdir(tmp_path / "empty")
    ended = command("predict", tmp_path / "empty", "a.csv")
    assert (ended.status, "holds neither a run" in ended.err) == (2, True)


def test_a_run_is_measured_on_a_labelled_table(run: RunFolder, table: Path, command: Any):
    fresh = small_tables.write_table(table.parent / "fresh", 10, seed=5)
    ended = command("evaluate", run.path, "--data", fresh, "--json")
    assert ended.status == 0, ended.err
    card = ended.record
    assert card["protocol"]["new_data"] is True
    assert card["protocol"]["label"] == "new data (person-dependent)"
    assert (card["protocol"]["train"], card["protocol"]["test"]) == (0, 10)
    assert any("groups were trained on: p" in note for note in card["notes"])
    # The figures are those of the answers, restated.
    answers = fusionkit.load(run.path, device="cpu").predict(fresh)
    rows = rows_of(fresh)
    right = [answer.targets["state"].prediction == row["state"] for answer, row in zip(answers, rows, strict=True)]
    assert card["targets"]["state"]["branches"]["fused"]["metrics"]["accuracy"]["value"] == pytest.approx(
        np.mean(right)
    )
    error = [
        abs(answer.targets["load"].prediction - float(row["load"])) for answer, row in zip(answers, rows, strict=True)
    ]
    assert card["targets"]["load"]["branches"]["fused"]["metrics"]["mae"]["value"] == pytest.approx(np.mean(error))
    assert (run.path / "metrics.samples.json").is_file()
    ended = command("verify", run.path / "metrics.samples.json")
    assert (ended.status, "is a card of new data" in ended.err) == (2, True)


def test_new_data_without_the_training_have_no_constant_answer(
    run: RunFolder, table: Path, tmp_path: Path, command: Any
):
    import shutil

    moved = tmp_path / "received"
    shutil.copytree(run.path, moved)
    recipe = moved / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(table), "/gone/samples.csv"))
    ended = command("evaluate", moved, "--data", table, "--json")
    assert ended.status == 0, ended.err
    assert "constant" not in ended.record["targets"]["state"]["branches"]
    assert ended.record["protocol"]["label"] == "new data (overlap with the training not known)"
    assert "Target state, on samples.csv" in command("evaluate", moved, "--data", table).out
    assert command("evaluate", moved, "--group", "person").status == 2
