"""What a user gives to predict: ids that stand twice, single samples that fail, mistakes on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import small_tables

import fusionkit
from fusionkit.errors import DataError
from fusionkit.inference.predictor import Predictor
from fusionkit.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("given")
    return small_tables.finished_run(folder / "run", small_tables.write_table(folder), epochs=1)


@pytest.fixture(scope="module")
def predictor(run: RunFolder) -> Predictor:
    return fusionkit.load(run.path, device="cpu")


@pytest.fixture(autouse=True)
def _beside_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", np.zeros((4, 2), "float32"))


TWICE = "name,motion,sound,warmth,damp\nx,m.npy,,,\nx (2),,,20,0\nx,,,21,0.5\ny,,,22,0\nx,gone.npy,,,\n"
TOLD = "2 of 5 samples have the id of an earlier one: a number is behind it, and their notes say whose it is."


def test_ids_that_stand_twice_are_numbered_told_and_none_is_taken_from_a_sample(run: RunFolder, command: Any):
    Path("twice.csv").write_text(TWICE)

    ended = command("predict", run.path, "twice.csv", "--out", "a.csv", "--processes", 0)

    assert TOLD in " ".join(ended.out.split())
    rows = list(csv.DictReader(Path("a.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == ["x", "x (2)", "x (3)", "y", "x (4)"]
    assert [row["notes"] for row in rows] == [
        *("", "", "the id 'x' is that of twice.csv, line 2 too", "", "the id 'x' is that of twice.csv, line 2 too")
    ]
    assert "gone.npy: no such file" in rows[4]["failure"]
    ended = command("predict", run.path, "twice.csv", "--out", "b.csv", "--processes", 0, "--json")
    assert (ended.record["renamed"], ended.record["failed"]) == (2, 1)
    ended = command("predict", run.path, "twice.csv", "--processes", 0)
    assert TOLD in " ".join(ended.out.split())


def test_a_command_that_goes_on_gives_the_same_names_to_ids_that_stand_twice(
    run: RunFolder, command: Any, monkeypatch: pytest.MonkeyPatch
):
    Path("twice.csv").write_text(TWICE)
    arguments = ("predict", run.path, "twice.csv", "--processes", 0, "--batch-size", 1, "--out")
    command(*arguments, "whole.csv")
    say, batches = Predictor.say, 0

    def die_at_the_third(self: Predictor, batch: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 3:
            raise KeyboardInterrupt
        return say(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "say", die_at_the_third)
        assert command(*arguments, "stopped.csv").status == 130
    command(*arguments, "stopped.csv")

    assert Path("stopped.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_a_single_sample_that_fails_prints_the_reason_alone(run: RunFolder, command: Any):
    np.save("wide.npy", np.zeros((4, 7), "float32"))
    for given in (["motion=wide.npy"], ["one.csv"]):
        Path("one.csv").write_text("name,motion,sound,warmth,damp\nx,wide.npy,,,\n")
        ended = command("predict", run.path, *given, "--processes", 0)
        assert (ended.status, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert ended.err.startswith("fusionkit: ")
        assert "wide.npy: elements of shape (7,), the network takes (2,)" in ended.err
        ended = command("predict", run.path, *given, "--processes", 0, "--json")
        assert (ended.status, bool(json.loads(ended.out)["failure"])) == (1, True)


MISTAKES = {
    "motion=": "names no file; write motion=FILE, or leave it out where the sample lacks it",
    "=m.npy": "names no modality; write MODALITY=FILE; known: motion, sound, room",
    "motion==m.npy": "no such file; write motion=m.npy",
    "MOTION=m.npy": "no modality 'MOTION'; did you mean 'motion'?",
    "gaze=m.npy": "no modality 'gaze'; known: motion, room, sound",
    "sound=gone.wav": "no such file",
    "sound=folder": "is a folder, not a file",
    "sound=$NOT_SET_HERE/a.wav": "NOT_SET_HERE",
    "m.npy": "is no MODALITY=FILE; give one sample by modality, or paths, not both",
}


@pytest.mark.parametrize("name", ["predict", "timeline"])
def test_every_mistake_of_a_sample_on_the_command_line_is_told_at_once(name: str, run: RunFolder, command: Any):
    Path("folder").mkdir()
    for given, said in MISTAKES.items():
        if given != "m.npy":
            ended = command(name, run.path, given)
            assert ended.status == 2
            assert ended.err.startswith(f"fusionkit: {given}: ")
            assert said in ended.err

    ended = command(name, run.path, "motion=m.npy", "motion=m.npy", *MISTAKES)

    lines = ended.err.splitlines()
    assert ended.status == 2
    assert "  - motion=m.npy: motion given twice; each modality of a sample has one file" in lines
    for given, said in MISTAKES.items():
        assert any(line.startswith(f"  - {given}: ") and said in line for line in lines)


KINDS = {
    "samples.yaml": "files that end in '.yaml' are not read; give a table (.csv, ",
    "samples": "has no ending that says what it is; give a table (.csv, ",
    "new.csv.gz": "is packed (.gz); unpack it first",
    "new.xlsx": "is a spreadsheet (.xlsx); save it as .csv",
}


@pytest.mark.parametrize("file", KINDS)
def test_a_file_of_another_kind_is_named_once_with_what_is_read(
    file: str, run: RunFolder, predictor: Predictor, command: Any
):
    Path(file).write_bytes(b"schema: 1\n")

    ended = command("predict", run.path, file)

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"fusionkit: {file}: {KINDS[file]}")
    assert ended.err.count(file) == 1
    with pytest.raises(DataError):
        predictor.predict(file)
    several = predictor.predict([file, "m.npy"])
    assert (several[0].failure.count(file), several[1].failure) == (1, "")


def test_files_of_a_folder_that_are_of_no_modality_are_named_once(run: RunFolder, predictor: Predictor):
    Path("folder").mkdir()
    np.save("folder/wide.npy", np.zeros((4, 7), "float32"))

    assert predictor.predict("folder")[0].failure.startswith("folder/wide.npy: is of no modality of the network")


def test_the_index_of_a_pandas_table_names_its_answers(predictor: Predictor):
    rows = {"warmth": [20, 21, 22], "damp": [0.0, 0.5, 0.0], "motion": None, "sound": None}
    counted = pandas.DataFrame(rows)
    for table, expected in (
        (counted, ["1", "2", "3"]),
        (counted.set_index(pandas.Index(["p", "q", "p"])), ["p", "q", "p (2)"]),
        (counted.rename_axis("machine"), ["0", "1", "2"]),
        (counted[counted.warmth > 20], ["1", "2"]),
        (counted.set_index(pandas.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])), ["a/1", "a/2", "b/1"]),
        (counted.assign(name=["u", "v", "w"]).set_index("name"), ["u", "v", "w"]),
        (counted.assign(name=["u", "v", "w"]).set_index(pandas.Index(["p", "q", "r"])), ["u", "v", "w"]),
    ):
        answers = predictor.predict(table)
        assert [answer.id for answer in answers] == expected
        assert not any(answer.failure for answer in answers)


def test_a_table_with_other_separators_is_told_how_to_save_it(run: RunFolder, command: Any):
    Path("semi.csv").write_text("name;motion;sound\nx;m.npy;\n")
    for arguments in (
        ("predict", run.path, "semi.csv"),
        ("evaluate", run.path, "--data", "semi.csv"),
        ("init", "semi.csv"),
    ):
        ended = command(*arguments)
        assert ended.status == 2
        assert "semi.csv, line 1: its cells are not divided by commas; save it with commas between cells" in ended.err


@pytest.mark.filterwarnings("default::fusionkit.errors.FusionKitWarning")
def test_a_column_that_differs_in_case_is_pointed_at(run: RunFolder, command: Any):
    Path("case.csv").write_text("name,MOTION,warmth,damp\nx,m.npy,20,0\n")
    ended = command("predict", run.path, "case.csv", "--processes", 0)
    assert "has no column 'motion' (motion; did you mean 'MOTION'?), 'sound' (sound): " in ended.err
