"""Runs whose files are lost, cut short or another's: each command names the file, what is wrong and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import small_tables

import fusionkit
from fusionkit.errors import RunError
from fusionkit.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("trained")
    table = small_tables.write_table(folder)
    return small_tables.finished_run(folder / "run", table, select="inner", epochs=1)


@pytest.fixture
def run(trained: RunFolder, tmp_path: Path) -> Path:
    shutil.copytree(trained.path, tmp_path / "run")
    return tmp_path / "run"


COMMANDS = {
    "predict": ("predict", "{run}", "{table}"),
    "timeline": ("timeline", "{run}", "sound={run}/../s0.wav"),
    "live": ("live", "{run}"),
    "serve": ("serve", "{run}", "--port", "0"),
    "export": ("export", "{run}", "--out", "{run}/../exported"),
    "share": ("share", "{run}", "--out", "{run}/../shared"),
    "calibrate": ("calibrate", "{run}"),
    "evaluate": ("evaluate", "{run}"),
    "evaluate on new data": ("evaluate", "{run}", "--data", "{table}"),
}


def lose(run: Path) -> None:
    (run / "weights.safetensors").unlink()


def lose_early(run: Path) -> None:
    (run / "weights.safetensors").unlink()
    (run / "metrics.json").unlink()


def cut(run: Path) -> None:
    whole = (run / "weights.safetensors").read_bytes()
    (run / "weights.safetensors").write_bytes(whole[: len(whole) // 2])


def empty(run: Path) -> None:
    (run / "weights.safetensors").write_bytes(b"")


WEIGHTS = {
    lose: ("run/weights.safetensors: is not there, though the run was evaluated", "restore it from a copy, or train"),
    lose_early: ("run: its training has not finished", "or restore weights.safetensors if it is lost"),
    cut: ("run/weights.safetensors: is damaged", "restore it from a copy, or delete it and train the run again"),
    empty: ("run/weights.safetensors: is damaged", "restore it from a copy, or delete it and train the run again"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("damage", WEIGHTS, ids=lambda damage: damage.__name__)
def test_weights_that_are_lost_or_cut_are_named_with_what_to_do(
    damage: Any, arguments: tuple[str, ...], run: Path, trained: RunFolder, command: Any
):
    damage(run)
    table = trained.path.parent / "samples.csv"

    ended = command(*(each.format(run=run, table=table) for each in arguments))

    assert ended.status == 2
    assert all(said in ended.err for said in WEIGHTS[damage])
    assert ended.err.count("\n") == 1
    assert not [each for each in run.parent.iterdir() if each.name in ("exported", "shared")]


@pytest.mark.parametrize("damage", WEIGHTS, ids=lambda damage: damage.__name__)
def test_load_says_the_same_of_weights(damage: Any, run: Path):
    damage(run)

    with pytest.raises(RunError) as refused:
        fusionkit.load(run, device="cpu")

    assert all(said in str(refused.value) for said in WEIGHTS[damage])


CONTENTS = {
    "empty": ("", "is empty"),
    "cut": ('{"format": 1, "mod', "it is cut short"),
    "cut behind a key": ('{"format": 1,\n "a":', "it is cut short"),
    "no JSON": ("hello", "cannot be read as JSON"),
    "a list": ("[1]", "is damaged (it holds a list, no mapping)"),
    "another document": ('{"format": 1, "colour": "red"}', "is damaged; it is no {title} (no "),
    "no format": ('{"colour": "red"}', "is damaged; it is no {title} (no format)"),
    "a later format": ('{"format": 99, "x": 1}', " of format 99; this version reads format"),
    "an odd format": ('{"format": "1"}', " of format '1'; this version reads format"),
}
DOCUMENTS = {
    "inputs.json": ("description of inputs", "restore it from a copy, or remove it where the data of the training"),
    "calibration.json": ("calibration", "remove it, or make it again with `fusionkit calibrate`"),
    "metrics.json": ("card", "`fusionkit evaluate` makes it again"),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("file", DOCUMENTS)
def test_a_document_of_a_run_that_is_damaged_is_named_with_what_to_do(
    file: str, content: str, run: Path, trained: RunFolder, command: Any
):
    text, wrong = CONTENTS[content]
    title, remedy = DOCUMENTS[file]
    (run / file).write_text(text)

    told = [command("share", run, "--out", run.parent / "shared").err]
    if file != "metrics.json":  # which no answer needs
        told.append(command("predict", run, trained.path.parent / "samples.csv").err)

    for each in told:
        assert each.startswith(f"fusionkit: {run / file}: ")
        assert wrong.format(title=title) in each
        assert remedy in each
        assert ("update fusionkit if a later version wrote it" in each) == ("format" in content and content[0] == "a")


@pytest.mark.parametrize("text", ["", "{", "hello", "[1]", '{"format": 1, "modalities": {}}'])
def test_a_damaged_environment_is_named_with_what_to_do(text: str, run: Path, command: Any):
    (run / "environment.json").write_text(text)

    ended = command("evaluate", run)

    assert ended.status == 2
    assert ended.err.startswith(f"fusionkit: {run / 'environment.json'}: ")
    assert ended.err.endswith("; restore it from a copy\n")


@pytest.mark.parametrize("file", ["recipe.yaml", "environment.json"])
def test_a_run_that_lost_the_file_that_makes_it_one_is_told_which(file: str, run: Path, command: Any):
    (run / file).unlink()

    for arguments in (("predict", run, "a.csv"), ("evaluate", run), ("export", run, "--out", run.parent / "exported")):
        ended = command(*arguments)
        assert ended.status == 2
        assert ended.err.startswith(f"fusionkit: {run / file}: is not there, and without it the folder is no run")


@pytest.mark.parametrize("name", ["verify", "evaluate"])
def test_a_relative_path_of_the_recipe_that_leads_nowhere_says_where_it_starts(
    name: str, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
):
    begun, elsewhere = tmp_path / "begun", tmp_path / "elsewhere"
    elsewhere.mkdir()
    small_tables.write_table(begun)
    monkeypatch.chdir(begun)
    small_tables.finished_run(begun / "run", Path("samples.csv"), epochs=1)
    assert command(name, "run").status == 0
    monkeypatch.chdir(elsewhere)

    ended = command(name, "../begun/run")

    hint = f"a relative path in a recipe starts where the command is called, {elsewhere}; call it where the run began"
    assert (ended.status, ended.err) == (2, f"fusionkit: samples.csv: no such file; {hint}\n")
