"""The pretraining recipes from data to encoder files, and the figures of a FER2013 run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from repository_scripts import load_script
from written_faces import write_faces

from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.evaluation import evaluate
from fusionkit.models.encoders import TimmImage
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("pretraining")
    faces = write_faces(folder / "FER")
    (faces / "train" / "sad" / "Training_99.jpg").write_bytes(
        (faces / "test" / "happy" / "PublicTest_21.jpg").read_bytes()
    )
    overrides = [
        f"data.dataset.root={faces}",
        "data.batch_size=16",
        "model.modalities.face.encoder.model=test_resnet",
        "train.epochs=2",
    ]
    made = train(find_recipe("aver/pretrain_fer2013"), folder / "run", overrides, accelerator="cpu")
    evaluate(made, device="cpu", resamples=10)
    return made


def test_the_fer2013_recipe_leaves_an_encoder_that_grey_and_colour_films_start_from(run: RunFolder) -> None:
    file = str(run.path / "encoder_face.safetensors")
    grey = TimmImage((1, 112, 112), model="test_resnet", weights=file)
    assert torch.equal(
        grey.network.state_dict()["conv1.0.weight"],
        run.load_weights()[0]["branches.face.encoders.0.network.conv1.0.weight"],
    )
    TimmImage((3, 112, 112), model="test_resnet", weights=file, adapt_channels=True)


def test_the_card_of_a_pretraining_says_that_it_started_from_nothing(run: RunFolder) -> None:
    assert run.read_card().plain()["starts"] == {"face": "nothing"}


def test_the_voxceleb_recipe_leaves_an_encoder_of_spectrograms(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for speaker in ("id10001", "id10002"):
        for video in ("a", "b", "c"):
            folder = tmp_path / "voices" / speaker / video
            folder.mkdir(parents=True)
            soundfile.write(folder / "00001.wav", random.normal(0, 0.1, 18_000), 16_000)
    overrides = [
        f"data.dataset.root={tmp_path / 'voices'}",
        "data.workers=0",
        "model.modalities.audio.encoder.1.model=test_resnet",
        "train.epochs=1",
    ]
    made = train(find_recipe("aver/pretrain_voxceleb"), tmp_path / "run", overrides, accelerator="cpu")
    assert made.recipe.model.targets["speaker"].options["classes"] == ["id10001", "id10002"]
    TimmImage((1, 256, 250), model="test_resnet", weights=str(made.path / "encoder_audio.safetensors"))


def test_a_result_counts_both_test_sets_apart_and_without_faces_that_were_trained_on(run: RunFolder) -> None:
    result = load_script("benchmarks/fer2013").result_of(run)
    tests = result["tests"]
    assert {name: of["samples"] for name, of in tests.items()} == {"PublicTest": 14, "PrivateTest": 14}
    assert {name: of["without_twins"]["samples"] for name, of in tests.items()} == {"PublicTest": 13, "PrivateTest": 14}
    right = sum(of["accuracy"]["value"] * of["samples"] for of in tests.values())
    card = run.read_card().plain()["targets"]["emotion"]["branches"]["fused"]["metrics"]
    assert right / 28 == pytest.approx(card["accuracy"]["value"])
    assert result["wall_seconds"] > 0


def test_the_interval_of_a_share_is_where_the_score_test_does_not_reject() -> None:
    limits = load_script("benchmarks/fer2013").wilson(30, 40)
    for bound in (limits["low"], limits["high"]):
        assert abs(0.75 - bound) / math.sqrt(bound * (1 - bound) / 40) == pytest.approx(1.959963984540054)
