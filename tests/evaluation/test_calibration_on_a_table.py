"""A run is calibrated on a labelled table of groups that its training did not see, and says which."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_tables import finished_run, write_table

import fusionkit
from fusionkit.data.assembly import assemble
from fusionkit.errors import RunError
from fusionkit.evaluation.calibration import calibrate
from fusionkit.report.text.calibration import sentences
from fusionkit.storage.calibration_file import locate_figure, read_calibration
from fusionkit.storage.run_folder import RunFolder

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("known")
    return finished_run(folder / "run", write_table(folder / "table", 24))


@pytest.fixture
def own(run: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the run, which a calibration may change."""
    return RunFolder(shutil.copytree(run.path, tmp_path / "own"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of other people than the run's: q0 to q7."""
    file = write_table(tmp_path_factory.mktemp("new") / "table", 24, seed=1)
    return rewrite(file, lambda rows: [{**row, "person": row["person"].replace("p", "q")} for row in rows])


def rewrite(file: Path, change: Callable[[Rows], Rows], name: str = "labelled.csv") -> Path:
    with file.open(newline="") as stream:
        rows = change(list(csv.DictReader(stream)))
    changed = file.with_name(name)
    with changed.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return changed


def read_states(file: Path) -> Sequence[str]:
    with file.open(newline="") as stream:
        return [row["state"] for row in csv.DictReader(stream)]


def test_thresholds_are_those_of_the_table_and_coverage_that_of_the_test_part(own: RunFolder, table: Path) -> None:
    calibration = calibrate(own, 0.8, table=table, device="cpu")

    said = [
        [answer.targets["state"].probabilities[name] for name in "ab"]
        for answer in fusionkit.load(own.path, device="cpu").predict(table)
    ]
    scores = np.array([1 - row["ab".index(state)] for row, state in zip(said, read_states(table), strict=True)])
    order = np.argsort(scores)
    learned = calibration.branches["fused"]["state"].everything
    assert learned.scores == pytest.approx(scores[order].tolist(), abs=1e-6)
    assert learned.weights == pytest.approx([1 / (9 * 3)] * 24)  # eight people of three samples each

    stored, about = own.read_predictions()
    tested = stored["distribution/state/fused"].double().numpy()
    truth, groups = stored["target/state"].numpy(), np.array(json.loads(about["groups"]))
    masks = {name: stored[f"present/{name}"].numpy() for name in ("motion", "sound", "room")}
    right = []
    for row, label in enumerate(truth):
        of = calibration.branches["fused"]["state"].subsets.get("+".join(name for name in masks if masks[name][row]))
        of = learned if of is None or of.groups < 4 else of
        threshold = of.scores[int(np.argmax(np.cumsum(of.weights) >= 0.8 - 1e-12))]
        right.append(1 - tested[row, label] <= threshold or label == tested[row].argmax())
    held = np.array(right)
    covered = np.mean([held[groups == group].mean() for group in np.unique(groups)])
    assert calibration.held["fused"]["state"]["all"].coverage.value == pytest.approx(covered, abs=1e-12)
    assert calibration.test.groups == len(np.unique(groups))


def test_its_origin_is_kept_and_told_where_it_is_used(
    command: Any, own: RunFolder, table: Path, tmp_path: Path
) -> None:
    ended = command("calibrate", own.path, "--data", table, "--level", "0.8", "--device", "cpu")

    assert ended.status == 0
    words = " ".join(ended.out.split())
    assert "Learned on 24 samples of 8 groups of labelled.csv." in words
    assert "if they are like those of labelled.csv" in words
    assert "set aside" not in words
    kept = read_calibration(own)
    assert kept is not None
    assert kept.table is not None
    assert (kept.table.name, kept.table.compared) == ("labelled.csv", True)
    assert kept.table.sha256 == hashlib.sha256(table.read_bytes()).hexdigest()
    assert str(table.parent) not in (own.path / "calibration.json").read_text()

    origin = "24 samples of 8 groups of labelled.csv"
    shown = command("predict", own.path, "motion=" + str(table.parent / "m0.npy"), "--set", "0.8", "--device", "cpu")
    assert f"Sets and intervals of level 0.8 are calibrated on {origin}." in " ".join(shown.out.split())
    options = ["--set", "0.8", "--out", tmp_path / "said.csv", "--json", "--device", "cpu"]
    assert command("predict", own.path, table, *options).record["calibrated_on"] == origin
    plain = command("predict", own.path, table, *options[2:], "--overwrite")
    assert "calibrated_on" not in plain.record


def test_people_who_were_trained_on_are_refused(own: RunFolder, table: Path) -> None:
    trained = {row.group for row in assembled(own).dataset.rows if row.id in set(assembled(own).split.train)}
    known = sorted(str(group) for group in trained)[:2]
    mixed = rewrite(
        table,
        lambda rows: [*({**row, "person": name} for row, name in zip(rows, known, strict=False)), *rows[2:]],
        "mixed.csv",
    )

    with pytest.raises(RunError, match=rf"mixed.csv: 2 of its 10 groups were trained on: {', '.join(known)}; leave th"):
        calibrate(own, 0.8, table=mixed, device="cpu")
    assert not (own.path / "calibration.json").exists()


def test_files_that_were_trained_on_under_another_name_are_refused(own: RunFolder, table: Path) -> None:
    assembly = assembled(own)
    source = next(of[0] for name in assembly.split.train if (of := assembly.dataset.sources.get(name)))
    shutil.copy(source, table.parent / f"copied{source.suffix}")
    column = "motion" if source.suffix == ".npy" else "sound"
    copied = rewrite(table, lambda rows: [{**rows[0], column: f"copied{source.suffix}"}, *rows[1:]], "copied.csv")

    with pytest.raises(RunError, match=r"copied.csv: 1 of its files were trained on: copied\.\w+; leave their samples"):
        calibrate(own, 0.8, table=copied, device="cpu")


def test_people_of_the_test_part_are_not_measured_on_when_they_are_in_the_table(own: RunFolder, table: Path) -> None:
    assembly = assembled(own)
    tested = sorted({str(row.group) for row in assembly.dataset.rows if row.id in set(assembly.test_ids)})
    assert len(tested) > 1
    mixed = rewrite(
        table, lambda rows: [{**row, "person": row["person"].replace("q0", tested[0])} for row in rows], "tested.csv"
    )

    calibration = calibrate(own, 0.8, table=mixed, device="cpu")

    assert calibration.test.groups == len(tested) - 1
    assert "1 groups of the test part are in tested.csv, and were not measured on." in calibration.notes


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        (lambda rows: rows, 0.9, r"has 8 groups, and level 0.9 needs 9; give --level 0.88 or less, or bring more gro"),
        (lambda rows: rows[:2], 0.8, r"has 2 groups, and level 0.8 needs 4; give --level 0.66 or less"),
        (lambda rows: [{**rows[0], "person": ""}, *rows[1:]], 0.8, r"1 of 24 samples have no person: clip 0; fill the"),
    ],
)
def test_a_table_that_is_too_little_is_refused(
    own: RunFolder, table: Path, change: Callable[[Rows], Rows], level: float, said: str
) -> None:
    with pytest.raises(RunError, match=rf"few.csv: {said}"):
        calibrate(own, level, table=rewrite(table, change, "few.csv"), device="cpu")


def test_without_the_data_of_the_training_it_is_learned_and_says_that_nothing_was_measured(
    own: RunFolder, run: RunFolder, table: Path, command: Any
) -> None:
    data = Path(str(run.recipe.data.dataset.options["path"])).parent
    moved = data.rename(data.with_name("moved"))
    try:
        ended = command("calibrate", own.path, "--data", table, "--level", "0.8", "--device", "cpu")
    finally:
        moved.rename(data)

    assert ended.status == 0
    words = " ".join(ended.out.split())
    assert "The data of the training are not here. Whether any groups of labelled.csv were trained on" in words
    kept = read_calibration(own)
    assert kept is not None
    assert kept.table is not None
    assert (kept.table.compared, kept.test.samples, kept.held["fused"]["state"]) == (False, 0, {})
    assert kept.branches["fused"]["load"].spread == [1.0]
    assert not locate_figure(own).exists()
    (answer,) = fusionkit.load(own.path, device="cpu").predict({"room": [21.0, 0.5]}, level=0.8)
    ((low, high),) = answer.targets["load"].interval or ()
    assert low < float(answer.targets["load"].prediction) < high  # type: ignore[arg-type]


def test_where_every_answer_is_right_the_temperature_stays_one_and_it_is_told(own: RunFolder, table: Path) -> None:
    answers = fusionkit.load(own.path, device="cpu").predict(table)
    named = {answer.id: str(answer.targets["state"].prediction) for answer in answers}
    right = rewrite(table, lambda rows: [{**row, "state": named[row["name"]]} for row in rows], "right.csv")

    calibration = calibrate(own, 0.8, table=right, device="cpu", novelty=False)

    assert calibration.branches["fused"]["state"].everything.temperature == 1
    said = "state: every answer to the samples of the calibration is right, so they do not tell how sure it may be"
    assert any(note.startswith(said) for note in calibration.notes)
    assert any("The temperature stays 1." in sentence for sentence in sentences(calibration))
    other = {"a": "b", "b": "a"}
    wrong = rewrite(right, lambda rows: [{**rows[0], "state": other[rows[0]["state"]]}, *rows[1:]], "wrong.csv")
    assert not any("stays 1" in note for note in calibrate(own, 0.8, table=wrong, device="cpu", novelty=False).notes)


def test_options_of_a_table_are_refused_without_one(command: Any, own: RunFolder) -> None:
    refused = command("calibrate", own.path, "--group", "person")
    assert (refused.status, refused.err) == (2, "fusionkit: --group: only with --data\n")
    refused = command("calibrate", own.path)
    assert refused.status == 2
    assert "calibrate it on other samples with --data" in " ".join(refused.err.split())


def assembled(run: RunFolder) -> Any:
    return assemble(run.recipe)
