"""The examples are executed, and what they show holds."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import small_tables
import torch
from small_predictors import make_film_predictor
from written_films import steps, tone, write_film

import fusionkit
from fusionkit.config.recipe import load_recipe
from fusionkit.config.yaml import read_yaml
from fusionkit.evaluation import evaluate
from fusionkit.training import train

FOLDER = Path(__file__).parents[2] / "examples"
TESTED = {"custom_encoder", "plain_loop", "missing_modalities", "lightning_trainer"}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in TESTED:
        sys.modules.pop(name, None)


def test_every_example_is_tested_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == TESTED


def test_custom_encoder_takes_less_than_40_lines_and_trains(example: Any, tmp_path: Path) -> None:
    recipe = load_recipe(FOLDER / "custom_encoder.yaml", ["train.epochs=1"])

    run = train(recipe, tmp_path / "run")

    assert run.finished
    assert recipe.model.modalities["motion"].encoder[0].options == {"scale": 2.0}
    assert len((FOLDER / "custom_encoder.py").read_text().splitlines()) < 40


def test_custom_encoder_keeps_our_contract(example: Any) -> None:
    testing = importlib.import_module("fusionkit.testing")

    testing.check_encoder(example("custom_encoder").Differences)


def test_plain_loop_learns(example: Any) -> None:
    assert example("plain_loop").main() > 0.9


def test_missing_modalities_are_predicted_without_and_better_with_both(example: Any) -> None:
    errors = example("missing_modalities").main()

    assert errors["both"] < min(errors["heart only"], errors["motion only"])
    assert max(errors.values()) < 20  # percent; always answering the mean errs by 25


# Lightning's own use of torch's trees is announced to change, and it advises more loader processes and log steps.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches", "ignore::DeprecationWarning:pytorch_lightning")
def test_a_model_trains_inside_a_lightning_trainer(example: Any) -> None:
    pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is not installed (pip install '.[examples]')")

    losses = example("lightning_trainer").main(epochs=8)

    assert set(losses) == {"fused_label", "motion_label", "posture_label"}
    assert losses["fused_label"] < 0.7  # guessing among four classes has 1.39


@pytest.fixture
def first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that pages speak of, in this folder."""
    monkeypatch.chdir(tmp_path)
    sensor = {"features": 3, "min_length": 8, "max_length": 12}
    modalities = {"accelerometer": sensor, "gyroscope": sensor}
    recipe = {
        "schema": 1,
        "data": {"dataset": {"type": "synthetic", "groups": 4, "samples": 1, "modalities": modalities}},
        "model": {
            "modalities": {name: {"encoder": "conv1d"} for name in modalities},
            "targets": {"label": "classification"},
        },
        "train": {"epochs": 1},
    }
    evaluate(train(recipe, "runs/first"))


def run_page(file: Path, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs the Python of a page, one block after another, and returns its names."""
    names = dict(known or {})
    programs = re.findall(r"```python\n(.*?)```", file.read_text(), flags=re.DOTALL)
    assert programs
    for program in programs:
        exec(compile(program, file.name, "exec"), names)
    return names


@pytest.mark.usefixtures("first_run")
def test_the_python_of_the_readme_runs_and_its_recipe_is_valid() -> None:
    numbers = [f"{row % 3},{row * 0.7 % 1:.2f},{row * 0.3 % 1:.2f}" for row in range(12)]
    Path("new.csv").write_text("machine,sound,shake\n" + "\n".join(numbers))
    worn = [f"{line},{20 + row}.5" for row, line in enumerate(numbers)]
    Path("samples.csv").write_text("machine,sound,shake,wear\n" + "\n".join(worn))
    names = run_page(FOLDER.parent / "README.md")
    recipes = re.findall(r"```yaml\n(.*?)```", (FOLDER.parent / "README.md").read_text(), flags=re.DOTALL)

    assert names["answer"].present == ("accelerometer",)
    assert all(isinstance(answer.targets["wear"].prediction, float) for answer in names["answers"])
    assert recipes
    for recipe in recipes:
        load_recipe(read_yaml(recipe, "README.md").value)


@pytest.mark.usefixtures("first_run")
def test_the_page_on_trained_networks_does_what_it_shows() -> None:
    known = run_page(FOLDER.parent / "docs" / "how_to" / "trained_network.md")

    assert known["probabilities"].shape == (2, 4)
    assert known["predictions"]["distribution/label/fused"].shape == (len(json.loads(known["about"]["samples"])), 4)


def test_the_page_on_predictions_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = small_tables.write_table(tmp_path, 8)
    small_tables.finished_run(tmp_path / "runs" / "first", table)
    (tmp_path / "s0.wav").rename(tmp_path / "a.wav")
    table.write_text(table.read_text().replace("s0.wav", "a.wav"))
    table.rename(tmp_path / "new.csv")
    monkeypatch.chdir(tmp_path)

    known = run_page(FOLDER.parent / "docs" / "how_to" / "predict.md", {"motion": np.zeros((5, 2))})

    assert known["answer"].present == ("motion", "sound")
    assert len(known["answers"]) == 8


def test_the_page_on_streams_does_what_it_shows() -> None:
    segments = {"window": 64, "hop": 32, "segment_seconds": 0.1, "segment_hop_seconds": 0.1, "type": "spectrogram"}
    model = fusionkit.build(
        {
            "modalities": {
                "video": {"shape": [3, 112, 112], "encoder": {"type": "conv2d", "channels": [2]}},
                "audio": {"shape": [], "encoder": [segments, {"type": "conv2d", "channels": [2]}]},
            },
            "targets": {"emotion": {"type": "classification", "classes": ["calm", "happy"]}},
        }
    ).eval()
    page = (FOLDER.parent / "docs" / "how_to" / "streams.md").read_text()
    known: dict[str, Any] = {"model": model, "recording": [(torch.rand(6, 3, 112, 112), torch.randn(3200))] * 2}

    first, second, timed = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(first, "streams.md", "exec"), known)
    assert known["probabilities"].shape == (2,)
    assert known["stream"].counts == {"video": 12, "audio": 6400}
    exec(compile(second, "streams.md", "exec"), known)
    wave = 5 + torch.randn(3200)
    known["stream"].push("audio", wave)
    with torch.inference_mode():
        expected = model({"audio": (wave - wave.mean())[None] / wave.std(correction=0)}).fused["emotion"]
    torch.testing.assert_close(known["stream"].predict().fused["emotion"], expected)
    exec(compile(timed, "streams.md", "exec"), known)
    assert known["stream"].counts == {"video": 12, "audio": 3200}


def test_the_page_on_answers_over_time_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "film.mp4", steps(12), wave=tone(1.2))
    frames, block = np.zeros((6, 24, 32, 3), np.uint8), np.zeros(9600, np.int16)
    given = [(place * 0.2, frames, block) for place in range(3)]
    known: dict[str, Any] = {"predictor": make_film_predictor("emotion"), "camera_and_microphone": given}
    page = (FOLDER.parent / "docs" / "how_to" / "live.md").read_text()

    for program in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(program, "live.md", "exec"), known)

    assert (tmp_path / "said.vtt").read_text().startswith("WEBVTT")
    assert known["answer"].present == ("video", "audio")
    assert known["stream"].counts == {"video": 6, "audio": 9592}  # a resampler waits for what comes next


def test_the_page_on_tables_of_ones_own_drafts_and_fits_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    page = (FOLDER.parent / "docs" / "how_to" / "init.md").read_text()
    known: dict[str, Any] = {}

    for program in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(program, "init.md", "exec"), known)

    said = capsys.readouterr().out
    assert "Groups are those of column machine (4), by its name" in said
    assert "Modality shake: the numbers shake_x, shake_y, one vector." in said
    assert known["done"].run.finished
    assert known["done"].experiment_file.is_file()
    assert len(known["answers"]) == 32
