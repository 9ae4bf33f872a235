"""The command init: from a table of one's own to files that check, train and compare as they stand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fusionkit.cli import main


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs ``fusionkit`` in the folder of the table; gives status, output and errors, each in one line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), " ".join(out.split()), " ".join(err.split())

    return run


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A table with sound, motion and numbers of four speakers, two targets, and gaps in all of them."""
    generator, rows = np.random.default_rng(0), []
    for number in range(16):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * generator.normal(size=1000 + 10 * number), 8000)
        np.save(tmp_path / f"{number}.npy", generator.normal(size=(20 + number, 3)).astype("f4"))
        posture = generator.normal(size=2).round(2) if number % 3 else ["", 0.5]
        emotion = ("calm", "happy")[number // 2 % 2] if number % 5 else ""
        sound = f"{number}.wav" if number % 4 else ""
        rows.append(
            [f"k{number}", f"S{number // 4}", sound, f"{number}.npy", *posture, emotion, 90_000 + 37.5 * number]
        )
    header = ["clip", "speaker", "sound", "motion", "posture_x", "posture_y", "emotion", "outcome"]
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return tmp_path / "samples.csv"


def test_a_table_becomes_files_that_check_and_compare_all_targets_as_they_stand(command: Any, samples: Path) -> None:
    status, said, err = command("init", samples.name)

    assert status == 0, err
    assert "Written: samples.yaml, samples_experiment.yaml" in said
    assert "fusionkit experiment samples_experiment.yaml --out runs/samples_experiment" in said
    text = (samples.parent / "samples.yaml").read_text()
    assert "# - Target outcome: numbers from 90000 to 90562.5: regression, in their own unit" in text
    assert "# - Modality sound: sounds of column sound" in text
    assert command("check", "samples.yaml", "--no-timing")[0] == 0

    small = ("train.epochs=1", "folds=[0]", "seeds=[0]", "--processes", "1", "--json")
    status, said, err = command("experiment", "samples_experiment.yaml", "--out", "runs", *small)

    assert status == 0, err
    results = json.loads(said)
    assert list(results) == ["emotion", "outcome"]
    usual = ["ensemble", "sound", "motion", "posture", "late fusion", "N0", "N1", "N2"]
    assert list(results["emotion"]["experiment"]["variants"]) == usual
    page = (samples.parent / "runs" / "report.md").read_text()
    assert "## emotion: in short" in page
    assert "## outcome: in short" in page


def test_files_that_are_there_stay_and_what_was_written_is_data_too(command: Any, samples: Path) -> None:
    status, said, _ = command("init", samples.name, "--target", "emotion", "--ignore", "outcome", "--json")
    assert status == 0
    record = json.loads(said)
    assert record["recipe"] == "samples.yaml"
    assert record["remarks"][0] == "Target emotion: 2 classes (calm, happy)."

    status, _, err = command("init", samples.name)
    assert status == 2
    assert "samples.yaml: exists already; choose another folder with --out, or replace it with --overwrite" in err
    assert command("init", samples.name, "--overwrite")[0] == 0
    assert command("init", samples.name, "--out", "a folder/in it")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.csv"], "nothing.csv: no such file"),
        (["samples.csv", "--target", "wear"], "samples.csv: --target: no column 'wear'"),
        (["samples.csv", "--target", "motion"], "column 'motion': holds files, so it is no target"),
        (["samples.csv", "--group", "clip", "--root", "elsewhere"], "2 problems"),
        (["samples.csv", "--out", "samples.csv/in"], "cannot be made a folder"),
        (["0.wav"], "cannot read tables that end in '.wav'"),
    ],
)
def test_a_mistake_ends_with_status_2_and_leaves_nothing_behind(
    arguments: list[str], said: str, command: Any, samples: Path
) -> None:
    before = sorted(samples.parent.rglob("*"))

    status, _, err = command("init", *arguments)

    assert status == 2
    assert said in err
    assert sorted(samples.parent.rglob("*")) == before


@pytest.mark.parametrize(("name", "said"), [("a.csv.gz", "is packed (.gz); unpack"), ("a.xlsx", "is a spreadsheet")])
def test_packed_tables_and_spreadsheets_are_told_how_to_be_read(
    name: str, said: str, command: Any, samples: Path
) -> None:
    samples.with_name(name).write_bytes(samples.read_bytes())

    status, _, err = command("init", name)

    assert status == 2
    assert f"{name}: {said}" in err


def test_a_table_of_more_columns_than_a_recipe_can_name_is_refused_at_once(command: Any, tmp_path: Path) -> None:
    names = ["label", *(f"f{number}" for number in range(10_000))]
    lines = [",".join(names), *(",".join(["ab"[row % 2], *["1"] * 10_000]) for row in range(4))]
    (tmp_path / "wide.csv").write_text("\n".join(lines))

    status, _, err = command("init", "wide.csv", "--target", "label")

    assert status == 2
    assert "wide.csv: has 10,001 columns; a draft takes 10,000 at most; keep the numbers of a row in an array" in err
