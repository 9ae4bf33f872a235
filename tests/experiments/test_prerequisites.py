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
from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.data.sources import Datasets
from fusionkit.errors import DataError, RecipeError, RunError
from fusionkit.execution.workers import count_processors
from fusionkit.experiments import load_experiment, open_experiment
from fusionkit.experiments.prerequisites import find_missing_pretraining, prepare_films
from fusionkit.experiments.study import count_runs_at_a_time
from fusionkit.report.text.paper import starts_sentence
from fusionkit.storage.files import as_json

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
    (todo,) = find_missing_pretraining(load_experiment(path))
    assert todo.wanted == (weights,)
    cost = open_experiment(path, tmp_path / "out").cost(processes=1)
    assert cost.pretraining == (str(tmp_path / "first.yaml"),)
    assert not weights.exists()

    results = open_experiment(path, tmp_path / "out").run(processes=1).plain()

    assert not results["failures"]
    made = weights.stat().st_mtime_ns
    assert not find_missing_pretraining(load_experiment(path))
    open_experiment(path, tmp_path / "out").run(processes=1)
    assert weights.stat().st_mtime_ns == made


def test_a_pretraining_that_does_not_leave_the_wanted_file_is_said_before_any_run(
    tmp_path: Path, faces: dict[str, Any]
) -> None:
    path = written(tmp_path, faces, export=[])
    with pytest.raises(RecipeError, match=r"leaves no encoder_face.safetensors; .*train.export"):
        open_experiment(path, tmp_path / "out").run(processes=1)
    assert not (tmp_path / "out").exists()


def test_networks_that_cannot_be_built_are_all_listed_before_any_run(tmp_path: Path, faces: dict[str, Any]) -> None:
    path = written(tmp_path, faces, export=["face"])
    absent = "model.modalities.face.encoder.0.weights=nowhere.safetensors"
    with pytest.raises(RecipeError) as caught:
        open_experiment(path, tmp_path / "out", [absent]).run(processes=1)
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
        open_experiment(path, tmp_path / "out").run(processes=1)

    assert [problem.place.split(": ")[0].rsplit("/", 1)[-1] for problem in caught.value.problems] == ["first", "second"]
    assert "nowhere" in str(caught.value)
    assert "none.yaml" in str(caught.value)
    without = "do without it by adding model.modalities.face.encoder.0.weights=null (from nothing)"
    assert str(caught.value).count(without) == 2
    assert not (tmp_path / "runs").exists()


def test_the_papers_tables_name_overrides_that_start_them_from_nothing_or_from_timms_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video, audio = "model.modalities.video.encoder", "model.modalities.audio.encoder.1"

    def missing(*overrides: str) -> dict[str, tuple[str, ...]]:
        experiment = load_experiment(find_recipe("aver/ravdess_table_2"), overrides)
        return {todo.folder.name: todo.without for todo in find_missing_pretraining(experiment)}

    assert missing() == {
        f"pretrain_{data}": (
            f"{key}.weights=null (from nothing)",
            f"{key}.weights=null {key}.pretrained=true (from ImageNet, by timm)",
        )
        for data, key in (("fer2013", video), ("voxceleb", audio))
    }
    assert set(missing(f"{video}.weights=null", f"{video}.pretrained=true")) == {"pretrain_voxceleb"}
    assert missing(f"{video}.weights=null", f"{audio}.weights=null") == {}


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"weights": None, "pretrained": False}, "nothing"),
        ({"weights": "runs/a/encoder.safetensors", "pretrained": False}, "runs/a/encoder.safetensors"),
        ({"weights": None, "pretrained": True}, "timm's weights of resnet18"),
    ],
)
def test_results_say_what_their_encoders_started_from(options: dict[str, Any], start: str) -> None:
    recipe = {"model": {"modalities": {"video": {"encoder": [{"type": "timm", "model": "resnet18", **options}]}}}}
    other = {"model": {"modalities": {"video": {"encoder": [{"type": "conv2d", "weights": "x"}]}}}}

    assert starts_sentence({"N1": recipe, "N2": recipe}) == f"video from {start}"
    assert starts_sentence({"N1": recipe, "N2": other}) == f"N1: video from {start}. N2: video from x"
    assert starts_sentence({"old": {}}) == ""


@pytest.fixture
def of_films(tmp_path: Path) -> Path:
    """An experiment on two films that are not prepared."""
    for name, seconds in (("a", 0.5), ("b", 0.6)):
        write_film(tmp_path / f"{name}.mp4", steps(), wave=tone(seconds))
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
        open_experiment(of_films, tmp_path / "out", [override]).run(processes=1)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file, so no runs can be in it"):
        open_experiment(of_films, tmp_path / "file").run(processes=1)
    assert not (tmp_path / "cache").exists()


def test_a_dry_run_on_films_that_wait_says_what_preparing_and_running_them_will_cost(
    tmp_path: Path, of_films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def dry_run(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["experiment", str(of_films), "--out", str(tmp_path / "out"), "--dry-run", *options])
        assert ended.value.code in (0, None)
        return capsys.readouterr().out

    cost = json.loads(dry_run("--json"))
    assert cost["clips_to_prepare"] == 2
    assert not list(tmp_path.glob("cache/*/*"))
    assert cost["runs"] == 4  # two folds of the variant and of the networks alone
    assert cost["hours"] > 0
    (prepared,) = prepare_films(load_experiment(of_films).recipes.values(), Datasets(), processes=1)
    lengths = [record.lengths for record in prepared.records.values()]
    assert cost["elements"]["video"] == sum(each["video"] for each in lengths)
    assert cost["elements"]["audio"] == pytest.approx(sum(each["audio"] for each in lengths), rel=0.1)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_names_what_encoders_lack_after_the_cost(
    tmp_path: Path, faces: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, faces, export=["face"])
    (tmp_path / "first.yaml").write_bytes(
        as_json({**faces, "data": {**faces["data"], "dataset": {"type": "fer2013", "root": str(tmp_path / "nowhere")}}})
    )
    with pytest.raises(SystemExit) as ended:
        main(["experiment", str(path), "--out", str(tmp_path / "out"), "--dry-run"])
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert "runs are left" in " ".join(told.out.split())
    assert "model.modalities.face.encoder.0.weights=null" in told.err


def test_lengths_are_foreseen_from_headers_and_a_film_that_cannot_be_opened_lacks_them(
    tmp_path: Path, of_films: Path
) -> None:
    (tmp_path / "b.mp4").write_bytes(b"no film")
    recipe = load_experiment(of_films).first_recipe
    dataset = Datasets("foreseen").open(recipe.data)
    video, audio = ([dataset.length(row, name) for row in range(2)] for name in ("video", "audio"))
    assert (video, audio) == ([30, 0], [8_000, 0])  # 1.2 and 0.5 seconds
    loaded = dataset.load(0)
    assert (loaded["video"].shape, loaded["video"].dtype) == ((30, 3, 8, 8), torch.uint8)
    assert loaded["audio"].shape == (audio[0],)
    assert float(loaded["audio"].abs().max()) <= 1.0
    assert dataset.load(1) == {}
    with pytest.raises(DataError, match="are not prepared"):
        Datasets().open(recipe.data)


def test_runs_share_no_gpu_unless_they_are_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert count_runs_at_a_time() == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert count_runs_at_a_time() == count_processors()
