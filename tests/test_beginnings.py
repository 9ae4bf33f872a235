"""What is done before the runs of an experiment: missing encoders are trained, and every network is built once."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from written_films import steps, tone, write_film

from fusionkit.cli import main
from fusionkit.errors import RecipeError, RunError
from fusionkit.experiments import estimate_experiment, load_experiment, run_experiment
from fusionkit.experiments.beginnings import missing_pretraining
from fusionkit.experiments.running import runs_at_a_time
from fusionkit.processes import processors
from fusionkit.whole_files import as_json

USAGES = ("Training", "Training", "PublicTest")
CONV: dict[str, Any] = {"type": "conv2d", "channels": [2, 2]}


@pytest.fixture
def faces(tmp_path: Path) -> dict[str, Any]:
    """A recipe on made faces in the layout of Kaggle's csv."""
    draws = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    for emotion in range(7):
        for usage in USAGES:
            pixels = " ".join(map(str, draws.integers(0, 256, 48 * 48)))
            lines.append(f"{emotion},{pixels},{usage}")
    (tmp_path / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return {
        "schema": 1,
        "data": {"dataset": {"type": "fer2013", "root": str(tmp_path / "fer2013.csv")}, "folds": "given"},
        "model": {
            "modalities": {"face": {"encoder": [CONV]}},
            "fusion": "concat",
            "targets": {"emotion": "classification"},
        },
        "train": {"epochs": 1},
    }


def written(folder: Path, recipe: dict[str, Any], export: list[str]) -> Path:
    """An experiment whose encoder starts from what a recipe beside it leaves."""
    first, main = copy.deepcopy(recipe), copy.deepcopy(recipe)
    first["train"]["export"] = export
    runs = folder / "runs" / "first"
    main["model"]["modalities"]["face"]["encoder"] = [{**CONV, "weights": str(runs / "encoder_face.safetensors")}]
    (folder / "first.yaml").write_bytes(as_json(first))
    (folder / "main.yaml").write_bytes(as_json(main))
    path = folder / "experiment.yaml"
    experiment = {
        "schema": 1,
        "recipe": "main.yaml",
        "pretraining": {str(runs): str(folder / "first.yaml")},
        "variants": {"alone": {"overrides": ["train.strategy=unimodal"]}, "joint": {}},
    }
    path.write_bytes(as_json(experiment))
    return path


def test_the_encoders_that_an_experiment_starts_from_are_trained_first_and_only_once(
    tmp_path: Path, faces: dict[str, Any]
) -> None:
    path = written(tmp_path, faces, export=["face"])
    weights = tmp_path / "runs" / "first" / "encoder_face.safetensors"
    (todo,) = missing_pretraining(load_experiment(path))
    assert todo.wanted == (weights,)
    cost = estimate_experiment(path, tmp_path / "out", processes=1)
    assert cost.pretraining == (str(tmp_path / "first.yaml"),)
    assert not weights.exists()

    results = run_experiment(path, tmp_path / "out", processes=1)

    assert not results["failures"]
    made = weights.stat().st_mtime_ns
    assert not missing_pretraining(load_experiment(path))
    run_experiment(path, tmp_path / "out", processes=1)
    assert weights.stat().st_mtime_ns == made


def test_a_pretraining_that_does_not_leave_the_wanted_file_is_said_before_any_run(
    tmp_path: Path, faces: dict[str, Any]
) -> None:
    path = written(tmp_path, faces, export=[])
    with pytest.raises(RecipeError, match=r"leaves no encoder_face.safetensors; .*train.export"):
        run_experiment(path, tmp_path / "out", processes=1)
    assert not (tmp_path / "out").exists()


def test_networks_that_cannot_be_built_are_all_listed_before_any_run(tmp_path: Path, faces: dict[str, Any]) -> None:
    path = written(tmp_path, faces, export=["face"])
    absent = "model.modalities.face.encoder.0.weights=nowhere.safetensors"
    with pytest.raises(RecipeError) as caught:
        run_experiment(path, tmp_path / "out", processes=1, overrides=[absent])
    places = [problem.place for problem in caught.value.problems]
    assert [place.split(":")[0] for place in places] == ["variants.alone", "variants.joint"]
    assert "nowhere.safetensors do not exist" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_pretrainings_that_cannot_be_done_are_all_said_before_any_is_trained(
    tmp_path: Path, faces: dict[str, Any]
) -> None:
    path = written(tmp_path, faces, export=["face"])
    experiment = json.loads(path.read_text())
    experiment["pretraining"][str(tmp_path / "runs" / "second")] = str(tmp_path / "none.yaml")
    override = f"model.modalities.face.encoder.0.weights={tmp_path / 'runs' / 'second' / 'encoder_face.safetensors'}"
    experiment["variants"]["other"] = {"overrides": [override]}
    path.write_bytes(as_json(experiment))
    (tmp_path / "first.yaml").write_bytes(
        as_json({**faces, "data": {**faces["data"], "dataset": {"type": "fer2013", "root": str(tmp_path / "nowhere")}}})
    )

    with pytest.raises(RecipeError) as caught:
        estimate_experiment(path, tmp_path / "out", processes=1)

    assert [problem.place.split(": ")[0].rsplit("/", 1)[-1] for problem in caught.value.problems] == ["first", "second"]
    assert "nowhere" in str(caught.value)
    assert "none.yaml" in str(caught.value)
    assert "`weights` of the experiment's encoders to null" in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def of_films(tmp_path: Path) -> Path:
    """An experiment on two films that are not prepared."""
    for name in "ab":
        write_film(tmp_path / f"{name}.mp4", steps(), wave=tone(0.5))
    (tmp_path / "films.csv").write_text("clip,film,mood,who\na,a.mp4,calm,1\nb,b.mp4,happy,2\n")
    face = {"size": 8, "detector": "center"}
    columns = {"film": "film", "targets": {"mood": "mood"}, "id": "clip", "group": "who"}
    recipe = {
        "schema": 1,
        "data": {
            "dataset": {"type": "manifest", "path": str(tmp_path / "films.csv"), **columns},
            "prepare": {"cache": str(tmp_path / "cache"), "frame_rate": 25, "face": face},
            "folds": "leave_one_group_out",
        },
        "model": {
            "modalities": {"video": {"encoder": CONV}, "audio": {"encoder": ["log_mel", "conv1d"]}},
            "targets": {"mood": "classification"},
        },
        "train": {"epochs": 1},
    }
    (tmp_path / "recipe.yaml").write_bytes(as_json(recipe))
    path = tmp_path / "experiment.yaml"
    path.write_bytes(as_json({"schema": 1, "recipe": "recipe.yaml", "variants": {"joint": {}}, "target": "mood"}))
    return path


@pytest.mark.parametrize(
    ("override", "said"),
    [("folds=[nobody]", "no fold 'nobody'"), ("metric=acuracy", "did you mean 'accuracy'")],
)
def test_what_is_wrong_with_an_experiment_is_said_before_its_films_are_prepared(
    tmp_path: Path, of_films: Path, override: str, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        run_experiment(of_films, tmp_path / "out", processes=1, overrides=[override])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file, so no runs can be in it"):
        run_experiment(of_films, tmp_path / "file", processes=1)
    assert not (tmp_path / "cache").exists()


def test_a_dry_run_on_films_that_wait_says_what_preparing_them_will_cost(
    tmp_path: Path, of_films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def dry_run(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["experiment", str(of_films), "--out", str(tmp_path / "out"), "--dry-run", *options])
        assert ended.value.code in (0, None)
        return capsys.readouterr().out

    assert "2 clips have to be prepared first, about" in " ".join(dry_run().split())
    assert json.loads(dry_run("--json"))["clips_to_prepare"] == 2
    assert not list(tmp_path.glob("cache/*/*"))


def test_runs_share_no_gpu_unless_they_are_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runs_at_a_time() == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runs_at_a_time() == processors()
