"""Films are prepared on the fly, to the answers of those that were prepared for the evaluation."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from written_films import RATE, SIZE, SOUND_RATE, cut_short, steps, tone, write_film, write_sound

import fusionkit
from fusionkit.data.assembly import assemble
from fusionkit.data.films.preparation import prepare
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError
from fusionkit.evaluation import evaluate
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train


def recipe_of(table: Path, cache: Path) -> dict[str, Any]:
    """The recipe of a small network on films."""
    mel = {"type": "log_mel", "sample_rate": SOUND_RATE, "window": 512, "hop": 256, "bands": 8}
    return {
        "schema": 1,
        "data": {
            "dataset": {
                **{"type": "manifest", "path": str(table), "film": "film", "sound": "voice"},
                **{"targets": ["label"], "group": "person", "id": "name"},
            },
            "prepare": {
                "cache": str(cache),
                "frame_rate": RATE,
                "face": {"size": SIZE, "detector": {"type": "center"}},
            },
            "batch_size": 2,
        },
        "model": {
            "modalities": {
                "video": {"transforms": ["spatial"], "encoder": [{"type": "timm", "model": "test_resnet"}]},
                "audio": {"encoder": [mel, "conv1d"], "aggregator": "gru"},
            },
            "targets": {"label": "classification"},
        },
        "train": {"epochs": 1},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Films with their own sound, with one of a file beside them, and without any; a sound alone."""
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for number in range(8):
        row = {"name": f"n{number}", "person": f"p{number}", "label": "ab"[number % 2], "film": "", "voice": ""}
        wave = tone(0.9, hertz=300 + 200 * (number % 2))
        if number % 4 != 3:
            images = steps(8 + number)
            write_film(folder / f"f{number}.mp4", images, wave=wave if number % 4 in (0, 2) else None)
            row["film"] = f"f{number}.mp4"
        if number % 4 in (1, 3):
            write_sound(folder / f"v{number}.wav", wave)
            row["voice"] = f"v{number}.wav"
        rows.append(row)
    with (folder / "clips.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    recipe = fusionkit.load_recipe(recipe_of(folder / "clips.csv", folder / "cache"))
    source = Datasets().source(recipe.data)
    assert recipe.data.prepare is not None
    prepare(source, recipe.data.prepare, kind="manifest", processes=1)
    run = train(recipe.plain(), folder / "run", accelerator="cpu")
    evaluate(run, device="cpu", resamples=10)
    return run


def table_of(run: RunFolder) -> Path:
    return run.path.parent / "clips.csv"


def test_films_answer_as_they_were_evaluated_bit_for_bit(run: RunFolder):
    names = set(assemble(run.recipe).test_ids)
    with table_of(run).open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["name"] in names]
    new = run.path.parent / "new.csv"
    with new.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["name", "film", "voice"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    stored = run.read_predictions()[0]["distribution/label/fused"].double()
    predictor = fusionkit.load(run.path, device="cpu")
    for workers in (0, 2):
        answers = predictor.predict(new, workers=workers)
        said = torch.tensor([list(answer.targets["label"].probabilities.values()) for answer in answers])
        assert torch.equal(said.double(), stored)


def test_single_films_sounds_and_pairs_are_taken(run: RunFolder, tmp_path: Path):
    folder, predictor = run.path.parent, fusionkit.load(run.path, device="cpu")
    film, sound = folder / "f1.mp4", folder / "v1.wav"
    whole = predictor.predict(folder / "f0.mp4")[0]
    assert whole.present == ("video", "audio")
    assert predictor.predict(film)[0].present == ("video",)
    assert predictor.predict(sound)[0].present == ("audio",)
    named = predictor.predict({"film": film, "sound": sound})[0]
    beside = predictor.predict({"video": film, "audio": sound})[0]
    assert named.targets == beside.targets
    assert named.present == ("video", "audio")
    for name in ("f1.mp4", "v1.wav"):
        shutil.copy(folder / name, tmp_path / f"one{Path(name).suffix}")
    shutil.copy(folder / "f0.mp4", tmp_path / "two.mp4")
    answers = predictor.predict(tmp_path)
    assert [answer.id for answer in answers] == ["one", "two"]
    for answer, other in zip(answers, (named, whole), strict=True):
        assert answer.targets["label"].probabilities == pytest.approx(other.targets["label"].probabilities, rel=1e-5)


def test_crops_and_samples_are_taken_as_they_were_prepared(run: RunFolder, tmp_path: Path):
    assembly, predictor = assemble(run.recipe), fusionkit.load(run.path, device="cpu")
    prepared = dict(assembly.dataset.load(0))
    from_file = predictor.predict(run.path.parent / "f0.mp4")[0]
    from_tensors = predictor.predict(prepared)[0]
    assert from_tensors.targets == from_file.targets
    sixteen_bits = (prepared["audio"] * 32768).round().to(torch.int16).numpy()
    assert predictor.predict({"video": prepared["video"], "audio": sixteen_bits})[0].targets == from_file.targets
    # Pixels of other whole numbers, as JSON and lists have them, are bytes too, not light of 255.
    for pixels in (
        prepared["video"].tolist(),
        prepared["video"].to(torch.int64),
        prepared["video"].numpy().astype("i4"),
    ):
        assert predictor.predict({"video": pixels, "audio": sixteen_bits})[0].targets == from_file.targets
    for name in ("video", "audio"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "one.npy", prepared[name].numpy())
    (answer,) = predictor.predict(tmp_path)
    assert (answer.id, answer.present, answer.targets) == ("one", ("video", "audio"), from_file.targets)
    for pixels in (prepared["video"].float(), prepared["video"].int() + 1000, prepared["video"].int() - 300):
        with pytest.raises(DataError, match=r"pixels from .*; give whole numbers in 0..255"):
            predictor.predict({"video": pixels})
    light = predictor.predict({"video": prepared["video"].float() / 255, "audio": sixteen_bits})[0]
    assert light.targets["label"].probabilities == pytest.approx(from_file.targets["label"].probabilities, rel=1e-4)


def test_a_film_that_cannot_be_used_is_a_row_with_its_reason(run: RunFolder, tmp_path: Path):
    folder, predictor = run.path.parent, fusionkit.load(run.path, device="cpu")
    for name in ("good", "torn"):
        shutil.copy(folder / "f0.mp4", tmp_path / f"{name}.mp4")
    cut_short(tmp_path / "torn.mp4", 0.3)
    (tmp_path / "text.mp4").write_text("no film")
    answers = {answer.id: answer for answer in predictor.predict(tmp_path, workers=2)}
    assert answers["good"].failure == ""
    assert "torn.mp4" in answers["torn"].failure
    assert "text.mp4" in answers["text"].failure
    with pytest.raises(DataError, match=r"text\.mp4"):
        predictor.predict(tmp_path / "text.mp4")
    with pytest.raises(DataError, match="a path is expected"):
        predictor.predict({"film": np.zeros(3)})
    short = tmp_path / "short.mp4"
    write_film(short, steps(3), wave=tone(0.3))
    assert any("lasts 0.30 s" in note for note in predictor.predict(short)[0].notes)
