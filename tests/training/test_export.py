"""Encoders that a training leaves behind, and networks that start from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from fusionkit.config.recipe import load_recipe
from fusionkit.data.assembly import assemble
from fusionkit.errors import RecipeError
from fusionkit.evaluation import evaluate
from fusionkit.models.build import build
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors
from fusionkit.training import train

LOG_MEL = {"type": "log_mel", "bands": 8, "window": 64, "hop": 50, "sample_rate": 1000, "segment_seconds": 0.4}
CONV = {"type": "conv2d", "channels": [4, 6]}


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for speaker in ("id1", "id2"):
        for video in ("a", "b", "c"):
            folder = tmp_path / "voices" / speaker / video
            folder.mkdir(parents=True)
            soundfile.write(folder / "1.wav", random.normal(0, 0.1, 600), 1000)
    return tmp_path / "voices"


def recipe(voices: Path, *, weights: str | None = None, **training: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "data": {"dataset": {"type": "voxceleb", "root": str(voices), "sample_rate": 1000}, "batch_size": 4},
        "model": {
            "modalities": {"audio": {"shape": [], "encoder": [LOG_MEL, {**CONV, "weights": weights}]}},
            "fusion": "concat",
            "unimodal_heads": False,
            "targets": {"speaker": {"type": "classification", "classes": ["id1", "id2"]}},
        },
        "train": {"epochs": 1, **training},
    }


def test_a_training_leaves_the_encoder_that_it_exports_and_another_starts_from_it(voices: Path, tmp_path: Path) -> None:
    run = train(recipe(voices, export=["audio"]), tmp_path / "first", accelerator="cpu")

    tensors, about = read_tensors(tmp_path / "first" / "encoder_audio.safetensors")
    state = run.load_weights()[0]
    prefix = "branches.audio.encoders.1."
    assert tensors
    assert set(tensors) == {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    assert all(torch.equal(value, state[prefix + name]) for name, value in tensors.items())
    assert about["modality"] == "audio"
    assert json.loads(about["encoder"])["channels"] == [4, 6]
    assert len(about["recipe_sha256"]) == 64

    weights = str(tmp_path / "first" / "encoder_audio.safetensors")
    second = build(load_recipe(recipe(voices, weights=weights)))
    own = second.branch("audio").encoders[1].state_dict()
    assert all(torch.equal(own[name], value) for name, value in tensors.items())


def test_an_exported_encoder_that_was_deleted_is_written_again_by_the_same_command(
    voices: Path, tmp_path: Path
) -> None:
    given = recipe(voices, export=["audio"])
    run = train(given, tmp_path / "run", accelerator="cpu")
    before, about = read_tensors(run.encoder_file("audio"))
    run.encoder_file("audio").unlink()
    train(given, tmp_path / "run", accelerator="cpu")
    again, about_again = read_tensors(run.encoder_file("audio"))
    assert about_again == about
    assert again.keys() == before.keys()
    assert all(torch.equal(again[name], before[name]) for name in before)


def test_a_finished_run_is_evaluated_without_the_file_that_it_started_from(voices: Path, tmp_path: Path) -> None:
    first = train(recipe(voices, export=["audio"]), tmp_path / "first", accelerator="cpu")
    file = first.encoder_file("audio")
    second = train(recipe(voices, weights=str(file)), tmp_path / "second", accelerator="cpu")
    file.unlink()
    card = evaluate(RunFolder.open(second.path), resamples=10).plain()
    assert card["targets"]["speaker"]


def test_a_training_exports_modalities_that_are_there_and_encoders_that_others_can_start_from(voices: Path) -> None:
    with pytest.raises(RecipeError, match=r"train.export names face, the modalities are audio"):
        load_recipe(recipe(voices, export=["face"]))
    given = recipe(voices, export=["audio"])
    given["model"]["modalities"]["audio"]["encoder"] = [{**LOG_MEL, "segment_seconds": None}]
    with pytest.raises(RecipeError, match=r"audio is log_mel, which takes no weights; leave it out.*: conv2d, .*timm"):
        train(given, voices / "run", accelerator="cpu")
    assert assemble(load_recipe(given)).train_ids
