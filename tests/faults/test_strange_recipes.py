"""A recipe of any encoding or with any number is read, or refused in one line before the data are touched."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import recipe

from fusionkit.cli import main
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError

PLAIN = """\
schema: 1
data: {dataset: {type: manifest, path: nowhere.csv, modalities: {audio: a, video: v}}}
model:
  modalities:
    audio: {shape: [8], encoder: mlp}
    video: {shape: [4]}
  targets:
    emotion: {type: classification, classes: [calm, "happy\u00e9"]}
train:
  optimizer: {type: adamw, lr: 1e-3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(PLAIN, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [PLAIN.encode("utf-8-sig"), PLAIN.replace("\n", "\r\n").encode(), PLAIN.encode() + b"\n\n# end"],
    ids=["a byte order mark", "lines of Windows", "no last line break"],
)
def test_what_editors_make_of_a_text_is_read(file: Path, content: bytes) -> None:
    expected = load_recipe(file)
    file.write_bytes(content)

    assert load_recipe(file) == expected
    assert expected.train.optimizer.options["lr"] == 0.001


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode("utf-16"),
        PLAIN.encode("latin-1"),
        PLAIN.encode() + b"\0",
        PLAIN.replace("  audio", "\taudio").encode(),
        PLAIN.encode() + b"train: {}\n",
        b"a: " * 5000,
        b"[" * 5000,
        b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9) if n else b"1") for n in range(40)),
    ],
    ids=["UTF-16", "Latin-1", "a zero byte", "a tab", "a key twice", "5000 keys", "5000 levels", "a bomb of aliases"],
)
def test_what_is_no_recipe_is_refused_within_a_second_in_one_line_with_its_name(
    file: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(content)
    started = time.process_time()

    with pytest.raises(SystemExit) as left:
        main(["check", str(file)])

    assert time.process_time() - started < 1
    assert left.value.code == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"fusionkit: {file}: ")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.optimizer.lr=-0.001", "above 0"),
        ("train.optimizer.lr=.nan", "finite"),
        ("train.optimizer.lr=.inf", "finite"),
        ("train.optimizer={type: sgd, momentum: 1.5}", "below 1"),
        ("data.batch_size=0", "above 0"),
        ("data.budget=0", "above 0"),
        ("data.workers=-1", "at least 0"),
        ("data.folds={type: group_kfold, folds: 1}", "at least 2"),
        ("data.folds={type: holdout, test: 1.5}", "below 1"),
        ("train.epochs=0", "above 0"),
        ("train.warmup=1.5", "below 1"),
        ("train.clip_norm=0", "above 0"),
        ("train.accumulate=0", "above 0"),
        ("train.seed=-1", "at least 0"),
        ("model.dropout=1", "below 1"),
        ("model.modalities.audio.chunk=0", "above 0"),
        ("model.modalities.audio.encoder={type: spectrogram, hop: 0}", "above 0"),
    ],
)
def test_a_number_out_of_range_is_refused_before_the_data_are_touched(file: Path, override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told) as refused:
        load_recipe(file, [override])

    (problem,) = refused.value.problems
    assert override.split("=", maxsplit=1)[0] in problem.place


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("{type: spectrogram, window: 100, hop: 200}", "hop: 200 exceeds the window 100"),
        ("{type: log_mel, window: 100, hop: 200}", "200"),
    ],
)
def test_options_that_do_not_go_together_are_refused_by_the_check_before_the_data_are_touched(
    file: Path, encoder: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [f"model.modalities.audio.encoder={encoder}", "model.modalities.audio.shape=[]"]

    with pytest.raises(SystemExit) as left:
        main(["check", str(file), *overrides])

    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "model.modalities.audio" in said
    assert told in said
    assert "nowhere.csv" not in said


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ({"type": "synthetic", "groups": 10**30}, "at most 1,000,000; lower groups or samples"),
        ({"type": "synthetic", "groups": 10**5, "samples": 10**5}, "at most 1,000,000; lower groups or samples"),
        ({"type": "gaussian_views", "samples": 2**31}, "at most 1,000,000; lower groups or samples"),
        ({"type": "synthetic", "modalities": {"a": {"max_length": 10**30}}}, "at most 1000000000"),
        ({"type": "synthetic", "modalities": {"a": {"features": 10**30}}}, "at most 1000000000"),
    ],
)
def test_made_data_that_no_machine_holds_are_refused_at_once(
    dataset: dict[str, object], told: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe(data={"dataset": dataset})))

    assert told in refused("check", tmp_path / "recipe.json", "--no-timing")


@pytest.mark.parametrize("command", ["check", "train"])
def test_more_folds_than_groups_are_refused_with_both_numbers(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe(data={"folds": {"type": "group_kfold", "folds": 9}})))

    with pytest.raises(SystemExit) as left:
        main([command, str(path), *(["--out", str(tmp_path / "run")] if command == "train" else [])])

    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "9" in said
    assert "4" in said
    assert not (tmp_path / "run").exists()


def test_a_file_of_100_mb_is_refused_at_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with file.open("r+b") as opened:
        opened.truncate(10**8)
    started = time.process_time()

    with pytest.raises(SystemExit) as left:
        main(["check", str(file)])

    assert time.process_time() - started < 1
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(f"fusionkit: {file}: ")
