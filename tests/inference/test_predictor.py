"""A trained network in use gives the answers of its evaluation, whatever its samples are given as."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import small_tables
import soundfile
import torch

import fusionkit
from fusionkit.data.assembly import assemble
from fusionkit.data.loading import feed
from fusionkit.data.readers import media
from fusionkit.errors import DataError, FusionKitError, FusionKitWarning, RunError
from fusionkit.evaluation import evaluate
from fusionkit.inference import requests
from fusionkit.inference.answers import Answer
from fusionkit.inference.predictor import Predictor
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tables.write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def run(table: Path) -> RunFolder:
    return small_tables.finished_run(table.parent / "run", table)


@pytest.fixture(scope="module")
def predictor(run: RunFolder) -> Predictor:
    return fusionkit.load(run.path, device="cpu")


def rows_of(answers: Sequence[Answer], target: str) -> torch.Tensor:
    """The probabilities or numbers of answers, as evaluation stores them."""
    said = [answer.targets[target] for answer in answers]
    return torch.tensor([list(one.probabilities.values()) or [one.prediction] for one in said], dtype=torch.float64)


def rows_of_run(run: RunFolder) -> list[float]:
    """The numbers that the evaluation of a run stored."""
    return [float(row[0]) for row in small_tables.stored_distribution(run, "load", "fused")]


def samples_of(run: RunFolder) -> list[dict[str, Any]]:
    """The samples of the test part of a run as values."""
    assembly = assemble(run.recipe)
    place = {row.id: position for position, row in enumerate(assembly.dataset.rows)}
    return [dict(assembly.dataset.load(place[name])) for name in assembly.test_ids]


def test_answers_to_the_test_part_are_those_of_the_evaluation_bit_for_bit(
    run: RunFolder, predictor: Predictor, table: Path, tmp_path: Path
):
    names = set(assemble(run.recipe).test_ids)
    with table.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["name"] in names]
    for name in ("state", "load", "person"):  # neither targets nor groups are needed
        for row in rows:
            del row[name]
    new = table.parent / "new.csv"
    with new.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    answers = predictor.predict(new)
    assert [answer.id for answer in answers] == [row["name"] for row in rows]
    for target in ("state", "load"):
        assert torch.equal(rows_of(answers, target), small_tables.stored_distribution(run, target, "fused"))


@pytest.mark.parametrize("strategy", ["late_fusion", "unimodal"])
def test_every_branch_is_answered_as_it_was_evaluated(strategy: str, tmp_path: Path, table: Path):
    run = small_tables.finished_run(tmp_path / "run", table, strategy=strategy)
    predictor = fusionkit.load(run.path, device="cpu")
    answers = predictor.predict(samples_of(run), branches=True)
    for branch in [name for name in predictor.branches.names if name not in ("constant", predictor.main)]:
        stored = small_tables.stored_distribution(run, "state", branch)
        for row, answer in zip(stored, answers, strict=True):
            if branch not in answer.branches:
                assert row.isnan().all()
            else:
                assert list(answer.branches[branch]["state"].probabilities.values()) == row.tolist()
    assert torch.equal(rows_of(answers, "load"), small_tables.stored_distribution(run, "load", predictor.main))


def forms(samples: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The same samples as a user may have them."""
    import pandas
    import polars

    names = ("motion", "sound", "room")
    files: list[dict[str, Any]] = []
    for position, sample in enumerate(samples):
        own: dict[str, Any] = {}
        for name, values in sample.items():
            own[name] = folder / name / f"{position:02}{'.wav' if name == 'sound' else '.npy'}"
            own[name].parent.mkdir(exist_ok=True, parents=True)
            if name == "sound":
                soundfile.write(own[name], values.numpy(), small_tables.RATE, subtype="FLOAT")
            else:
                np.save(own[name], (values[0] if name == "room" else values).numpy())
        files.append(own)
    records = [
        {
            **{name: str(row[name]) if name in row else None for name in ("motion", "sound")},
            **dict(
                zip(("warmth", "damp"), samples[at]["room"][0].tolist() if "room" in row else [None] * 2, strict=True)
            ),
        }
        for at, row in enumerate(files)
    ]
    shapes = {"motion": (2,), "sound": (), "room": (2,)}
    packed = {
        name: Jagged.from_list([sample.get(name, torch.zeros(0, *shapes[name])).float() for sample in samples])
        for name in names
    }
    return {
        "tensors": samples,
        "arrays of doubles": [{name: of.double().numpy() for name, of in sample.items()} for sample in samples],
        "nested lists": [{name: of.tolist() for name, of in sample.items()} for sample in samples],
        "static without time": [
            {name: of[0] if name == "room" else of for name, of in sample.items()} for sample in samples
        ],
        "None for missing": [{name: sample.get(name) for name in names} for sample in samples],
        "length 0 for missing": [
            {name: sample.get(name, torch.zeros(0, *shapes[name])) for name in names} for sample in samples
        ],
        "packed": packed,
        "paths": files,
        "folder": folder,
        "pandas": pandas.DataFrame(records),
        "polars": polars.DataFrame(records),
    }


@pytest.mark.parametrize(
    "form",
    [
        *("tensors", "arrays of doubles", "nested lists", "static without time", "None for missing"),
        *("length 0 for missing", "packed", "paths", "folder", "pandas", "polars"),
    ],
)
def test_a_sample_has_one_answer_whatever_it_is_given_as(
    form: str, run: RunFolder, predictor: Predictor, tmp_path: Path
):
    samples = samples_of(run)
    answers = predictor.predict(forms(samples, tmp_path)[form])
    assert [answer.present for answer in answers] == [
        tuple(name for name in predictor.modalities if name in sample) for sample in samples
    ]
    assert torch.equal(rows_of(answers, "state"), small_tables.stored_distribution(run, "state", "fused"))


def test_a_table_in_memory_has_all_columns(predictor: Predictor, run: RunFolder):
    answers = predictor.predict(samples_of(run), branches=True)
    frame = answers.to_pandas()
    assert list(frame.columns) == predictor.list_columns(branches=True)
    assert frame["state"].tolist() == [answer.targets["state"].prediction for answer in answers]
    for position, answer in enumerate(answers):
        for branch in ("motion", "sound", "room"):
            assert (branch in answer.branches) == (branch in answer.present)
            stated = frame[f"{branch}/load"][position]
            assert (
                math.isnan(stated)
                if branch not in answer.present
                else stated == answer.branches[branch]["load"].prediction
            )
    assert len(answers[:2]) == 2
    assert repr(answers) == f"Answers({len(answers)} samples)"


def test_a_sample_that_cannot_be_used_says_why_and_the_others_go_on(
    predictor: Predictor, run: RunFolder, tmp_path: Path
):
    whole = samples_of(run)[0]
    good = predictor.predict(whole)[0]
    (tmp_path / "broken.npy").write_bytes(b"junk")
    np.save(tmp_path / "wide.npy", np.zeros((4, 3), "float32"))
    soundfile.write(tmp_path / "cut.wav", np.zeros(900), 800)
    os.truncate(tmp_path / "cut.wav", 400)
    wrong: list[tuple[Any, str]] = [
        ({**whole, "motion": tmp_path / "nowhere.npy"}, "no such file"),
        ({**whole, "motion": tmp_path / "broken.npy"}, "cannot be read as npy"),
        ({**whole, "motion": tmp_path / "wide.npy"}, "elements of shape (3,), the network takes (2,)"),
        ({**whole, "motion": np.zeros((4, 3))}, "an array of shape (4, 3); one element is (2)"),
        ({**whole, "motion": np.full((4, 2), np.nan)}, "NaN"),
        ({**whole, "motion": "cat"}, "no such file"),
        ({**whole, "motion": [["a", "b"]]}, "no array of numbers"),
        ({**whole, "sound": tmp_path / "cut.wav"}, "truncated"),
        ({}, "holds no modality of the network"),
        ({"motion": None}, "holds no modality of the network"),
        ({"gaze": [1.0]}, "no modality 'gaze'"),
        (3, "cannot take int"),
    ]
    answers = predictor.predict([each for sample, _ in wrong for each in (sample, whole)])
    for position, (_, reason) in enumerate(wrong):
        failed, beside = answers[2 * position : 2 * position + 2]
        assert reason in failed.failure, failed
        assert not failed.targets
        assert beside.targets["state"].probabilities == pytest.approx(good.targets["state"].probabilities, rel=1e-6)
    assert "could not be used" in repr(answers)


def test_the_only_sample_raises_what_is_wrong_with_it(predictor: Predictor, tmp_path: Path):
    with pytest.raises(DataError, match=r"one element is \(2\)"):
        predictor.predict({"motion": np.zeros((4, 5))})
    with pytest.raises(DataError, match="did you mean 'motion'"):
        predictor.predict({"motoin": np.zeros((4, 2))})
    with pytest.raises(DataError, match="no such file"):
        predictor.predict({"motion": tmp_path / "a.npy"})
    with pytest.raises(DataError, match="no such file"):
        predictor.predict(tmp_path / "a.npy")
    with pytest.raises(DataError, match="cannot take int"):
        predictor.predict(7)
    with pytest.raises(DataError, match="hold no sample"):
        predictor.predict([])


def test_values_that_are_no_whole_real_numbers_of_a_place_are_not_taken_in_part(predictor: Predictor):
    with pytest.raises(DataError, match=r"motion: Tensor that is no array of numbers \(of dtype torch.complex64\)"):
        predictor.predict({"motion": torch.zeros(4, 2, dtype=torch.complex64)})
    with pytest.raises(DataError, match="motion: Tensor that is no array of numbers"):
        predictor.predict({"motion": torch.zeros(4, 2, device="meta")})
    hidden = np.ma.masked_array(np.ones((4, 2)), mask=[[False, False]] * 3 + [[False, True]])
    with pytest.raises(DataError, match="motion: 1 of 8 numbers are NaN"):
        predictor.predict({"motion": hidden})
    assert predictor.predict({"motion": hidden[:3]})[0] == predictor.predict({"motion": np.ones((3, 2))})[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": "3"}, "batches: '3' is no whole number; a batch holds at least 1"),
        ({"budget": 2.5}, "batches: 2.5 is no whole number; a batch holds at least 1"),
        ({"batch_size": True}, "batches: True is no whole number; a batch holds at least 1"),
        ({"workers": -1}, "workers: -1 is no number of processes; give 0 or more, or None"),
        ({"workers": "2"}, "workers: '2' is no number of processes; give 0 or more, or None"),
    ],
)
def test_options_of_a_wrong_kind_are_sentences(predictor: Predictor, options: dict[str, Any], sentence: str):
    with pytest.raises(DataError, match=sentence):
        predictor.predict({"motion": np.ones((3, 2))}, **options)


def test_tables_of_other_columns_are_refused_with_those_that_are_wanted(predictor: Predictor, tmp_path: Path):
    (tmp_path / "other.csv").write_text("motoin,temperature\na.npy,3\n")
    with pytest.raises(DataError, match="no column 'motion'; did you mean 'motoin'"):
        predictor.predict(tmp_path / "other.csv")
    (tmp_path / "half.csv").write_text("motion,warmth\na.npy,3\n")
    with pytest.raises(DataError, match="room: no column 'damp'"):
        predictor.predict(tmp_path / "half.csv")


def test_cells_of_numbers_are_checked_row_by_row(predictor: Predictor, tmp_path: Path):
    (tmp_path / "new.csv").write_text('warmth,damp\n21,0.5\n21,\nwarm,0.5\n"21,5",0.5\nNA,NA\n')
    with pytest.warns(FusionKitWarning, match=r"has no column 'motion' \(motion\), 'sound' \(sound\): all of its"):
        answers = predictor.predict(tmp_path / "new.csv")
    assert [bool(answer.failure) for answer in answers] == [False, True, True, True, True]
    assert "empty columns: damp" in answers[1].failure
    assert "column 'warmth'" in answers[2].failure
    assert "holds no modality" in answers[4].failure


def test_a_branch_without_its_modality_says_which_it_lacks(run: RunFolder):
    predictor = fusionkit.load(run.path, branch="sound", device="cpu")
    with pytest.raises(DataError, match="has no sound, by which the branch sound answers"):
        predictor.predict({"motion": np.zeros((4, 2))})


def test_a_misspelt_column_is_told_with_those_that_are_not_used(predictor: Predictor, tmp_path: Path):
    np.save(tmp_path / "m.npy", np.zeros((3, 2), "float32"))
    (tmp_path / "new.csv").write_text("motion,audio,warmth,damp,state\nm.npy,s.wav,20,0.5,a\n")
    with pytest.warns(FusionKitWarning, match=r"no column 'sound' \(sound\).*; not used: 'audio'$"):
        predictor.predict(tmp_path / "new.csv")


def test_empty_cells_are_filled_and_marked_as_in_training_and_others_are_told(tmp_path: Path, table: Path):
    text = table.read_text().splitlines()
    rows = [line.split(",") for line in text]
    at = {name: rows[0].index(name) for name in rows[0]}
    rows[2][at["warmth"]] = ""  # of the two columns only this one is ever empty beside the other
    rows[2][at["damp"]] = "0.5"
    filled = table.parent / "filled.csv"
    filled.write_text("\n".join(",".join(row) for row in rows) + "\n")
    recipe = small_tables.recipe_of(filled)
    room = {"column": ["warmth", "damp"], "fill": [25.0, 0.25]}
    recipe["data"]["dataset"]["modalities"]["room"] = room
    run = train(recipe, tmp_path / "run", accelerator="cpu")
    evaluate(run, device="cpu", resamples=10)
    predictor = fusionkit.load(run.path, device="cpu")
    assert predictor.inputs.modalities["room"].marked == ["warmth"]
    answers = predictor.predict(filled)
    stored = dict(zip(json.loads(run.read_predictions()[1]["samples"]), rows_of_run(run), strict=True))
    for answer in answers:
        if answer.id in stored:
            assert answer.targets["load"].prediction == pytest.approx(stored[answer.id], rel=1e-6)
    # An empty number has one answer, however it is given; the mark of `damp` was never seen, and stays zero.
    np.save(tmp_path / "room.npy", np.array([21.0, np.nan], "float32"))
    (tmp_path / "new.csv").write_text("name,motion,sound,warmth,damp\nx,,,21,\n")
    given = [{"room": [21.0, None]}, {"room": np.array([21.0, np.nan])}, {"room": tmp_path / "room.npy"}]
    whole = predictor.predict({"room": torch.tensor([[21.0, 0.25, 0.0, 0.0]])})[0]
    (row,) = predictor.predict(tmp_path / "new.csv")
    assert row.notes == ("damp is empty, which it never was in the training: filled with 0.25",)
    for answer in (row, *predictor.predict(given)):
        assert answer.targets["state"].probabilities == pytest.approx(whole.targets["state"].probabilities, rel=1e-6)
    marked = predictor.predict({"room": [None, 0.5]})[0]
    expected = predictor.predict({"room": torch.tensor([[25.0, 0.5, 1.0, 0.0]])})[0]
    assert marked.targets == expected.targets


def test_sound_of_another_rate_is_resampled_and_told(predictor: Predictor, tmp_path: Path):
    wave = np.sin(np.arange(1600) / 9).astype("float32") * 0.5
    soundfile.write(tmp_path / "fast.wav", wave, 1600)
    soundfile.write(tmp_path / "same.wav", wave[::2], 800)
    fast, same = predictor.predict([{"sound": tmp_path / "fast.wav"}, {"sound": tmp_path / "same.wav"}])
    assert fast.notes == ("sound: resampled from 1600 to 800 samples a second",)
    assert same.notes == ()
    assert fast.targets["load"].prediction == pytest.approx(same.targets["load"].prediction, rel=0.05)


def test_files_of_one_kind_find_their_modality(predictor: Predictor, run: RunFolder, tmp_path: Path):
    sample = samples_of(run)[0]
    np.save(tmp_path / "a.npy", sample["motion"].numpy())
    soundfile.write(tmp_path / "a.wav", sample["sound"].numpy(), small_tables.RATE, subtype="FLOAT")
    np.save(tmp_path / "b.npy", np.zeros((3, 7), "float32"))
    (tmp_path / "notes.txt").write_text("not read")
    answers = predictor.predict(tmp_path)
    assert [(answer.id, answer.present) for answer in answers] == [("a", ("motion", "sound")), ("b", ())]
    assert "of no modality of the network" in answers[1].failure
    np.save(tmp_path / "c.npy", np.zeros(2, "float32"))  # one element of motion, or the vector of the room
    with pytest.raises(DataError, match=r"may be motion, sound or room; say which: motion=c\.npy"):
        predictor.predict(tmp_path / "c.npy")


def test_a_run_is_used_where_its_data_are_gone(run: RunFolder, table: Path, tmp_path: Path):
    moved = tmp_path / "received"
    shutil.copytree(run.path, moved)
    recipe = moved / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(table), "/gone/samples.csv"))
    answers = fusionkit.load(moved, device="cpu").predict(samples_of(run))
    assert torch.equal(rows_of(answers, "load"), small_tables.stored_distribution(run, "load", "fused"))


def test_an_earlier_run_asks_its_dataset_what_it_is_given(run: RunFolder, table: Path, tmp_path: Path):
    earlier = tmp_path / "earlier"
    shutil.copytree(run.path, earlier)
    (earlier / "inputs.json").unlink()
    assert fusionkit.load(earlier, device="cpu").inputs == fusionkit.load(run.path, device="cpu").inputs
    recipe = earlier / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(table), "/gone/samples.csv"))
    with pytest.raises(RunError, match="was trained before runs noted their inputs"):
        fusionkit.load(earlier)


def test_networks_of_several_seeds_answer_by_their_mean(tmp_path: Path, command: Any):
    (tmp_path / "recipe.yaml").write_text(fusionkit.load_recipe(small_runs.recipe()).model_dump_json(by_alias=True))
    (tmp_path / "experiment.yaml").write_text(
        "schema: 1\nrecipe: recipe.yaml\nvariants:\n  late: {overrides: [train.strategy=late_fusion]}\n  joint: {}\n"
        "folds: [0]\nseeds: [0, 1]\n"
    )
    out = tmp_path / "out"
    assert command("experiment", tmp_path / "experiment.yaml", "--out", out).status == 0
    sample = {"motion": torch.ones(3, 3), "posture": torch.ones(1, 4)}
    each = [fusionkit.load(out, variant="joint", seed=seed, device="cpu").predict(sample)[0] for seed in (0, 1)]
    both = fusionkit.load(out, variant="joint", device="cpu").predict(sample)[0]
    for label, said in both.targets["label"].probabilities.items():
        apart = [one.targets["label"].probabilities[label] for one in each]
        assert said == pytest.approx(sum(apart) / 2, rel=1e-6)
        assert apart[0] != apart[1]
    for wrong, match in (({}, "name a variant"), ({"variant": "jiont"}, "did you mean 'joint'")):
        with pytest.raises(RunError, match=match):
            fusionkit.load(out, **wrong)
    with pytest.raises(RunError, match="no run of seed 7"):
        fusionkit.load(out, variant="joint", seed=7)


def test_folders_that_hold_no_run_are_refused(tmp_path: Path, run: RunFolder):
    with pytest.raises(RunError, match="holds neither a run"):
        fusionkit.load(tmp_path)
    with pytest.raises(RunError, match="is no folder"):
        fusionkit.load(tmp_path / "nowhere")
    with pytest.raises(FusionKitError, match="is one run"):
        fusionkit.load(run.path, variant="late")
    with pytest.raises(RunError, match="the branch 'fusde' is not trained; did you mean 'fused'"):
        fusionkit.load(run.path, branch="fusde")


def test_arrays_are_read_in_this_process_until_another_one_pays(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predictor, samples = fusionkit.load(run.path, device="cpu"), samples_of(run)
    expected = predictor.predict(samples, batch_size=3)
    wanted: list[int] = []
    make = feed.make_loader

    def count(*given: Any, workers: int, **options: Any) -> Any:
        wanted.append(workers)
        return make(*given, workers=workers, **options)

    monkeypatch.setattr(feed, "make_loader", count)
    answers = predictor.predict(samples, batch_size=3, workers=None)
    assert list(answers) == list(expected)
    assert not any(wanted)
    monkeypatch.setattr(requests, "_SECONDS_HERE", 1e-9)
    answers = predictor.predict(samples, batch_size=3, workers=None)
    assert list(answers) == list(expected)
    assert wanted[-1] == 1


def test_what_is_asked_is_another_where_any_number_is_another(predictor: Predictor):
    values = np.full((2000, 2), 0.123456, "float32")
    changed = values.copy()
    changed[1000, 1] = 0.123457

    def identify(*given: Any) -> str:
        return predictor.request(list(given)).identity

    same = identify({"motion": values})
    assert same == identify({"motion": values.copy()})
    others = [{"motion": changed}, {"motion": values[:1999]}, {"motion": Path("a.npy")}, {"motion": Path("b.npy")}]
    assert len({same, *map(identify, others), identify({"motion": values}, {"motion": values})}) == 6


def test_a_sound_that_nobody_was_asked_to_read_elsewhere_cannot_end_this_process(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predictor, samples = fusionkit.load(run.path, device="cpu"), samples_of(run)
    soundfile.write(tmp_path / "deadly.wav", np.zeros(900), small_tables.RATE)
    monkeypatch.setattr(media, "read_audio", lambda path, rate: os.kill(os.getpid(), signal.SIGSEGV))
    answers = predictor.predict([samples[0], {"sound": tmp_path / "deadly.wav"}], workers=None)
    assert not answers[0].failure
    assert "worker process" in answers[1].failure


def test_a_process_that_dies_over_a_file_costs_that_sample_alone(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predictor, samples = fusionkit.load(run.path, device="cpu"), samples_of(run)
    np.save(tmp_path / "deadly.npy", np.zeros((3, 2), "float32"))
    read = media.read_array

    def die(path: Path, tensor: str | None) -> torch.Tensor:
        if path.name == "deadly.npy":
            os.kill(os.getpid(), signal.SIGSEGV)
        return read(path, tensor)

    monkeypatch.setattr(media, "read_array", die)
    answers = predictor.predict([*samples[:2], {"motion": tmp_path / "deadly.npy"}, *samples[2:]], workers=1)
    assert "worker process" in answers[2].failure
    others = [answer for position, answer in enumerate(answers) if position != 2]
    expected = small_tables.stored_distribution(run, "load", "fused")
    assert torch.allclose(rows_of(others, "load"), expected, rtol=1e-5)
