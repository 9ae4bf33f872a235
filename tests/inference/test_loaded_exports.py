"""An exported folder answers by `fusionkit.load` as the network that it was exported from does."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import math
import pickle
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import small_tables
import soundfile
import torch
from served_networks import SENSOR_RATES, SENSORS, Served, served
from small_predictors import make_film_predictor, make_predictor
from written_films import steps, tone, write_film

import fusionkit
from fusionkit.errors import DataError, ExportError, FusionKitError, RunError
from fusionkit.evaluation import evaluate
from fusionkit.inference.answers import Answer, TargetAnswer
from fusionkit.inference.export import export_onnx, export_torch
from fusionkit.inference.export.fusionkit_runtime import Model
from fusionkit.inference.export.onnx_file import OnnxSession
from fusionkit.inference.export.run import describe_network, open_network
from fusionkit.inference.predictor import Predictor
from fusionkit.inference.timeline.records import Timeline
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

NEAR = {"rel": 1e-5, "abs": 1e-6}


pytestmark = pytest.mark.xdist_group("loaded exports")  # one process trains and exports for all of them


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples with missing modalities, some of whose vectors have an empty cell."""
    table = small_tables.write_table(tmp_path_factory.mktemp("table"))
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows[::4]:
        row["damp"] = ""
    write_rows(table, rows)
    return table


def write_rows(file: Path, rows: Sequence[Mapping[str, str]], leave_out: Sequence[str] = ()) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [each for each in rows[0] if each not in leave_out], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def run(table: Path) -> RunFolder:
    """Classes and a number in large units, of sequences, sound, and a vector with empty cells."""
    recipe = small_tables.recipe_of(table)
    recipe["data"]["dataset"]["modalities"]["room"] = {"column": ["warmth", "damp"], "fill": [25.0, 0.25]}
    run = train(recipe, table.parent / "run", accelerator="cpu")
    evaluate(run, device="cpu", resamples=10)
    return run


@pytest.fixture(scope="module")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "network"
    export_onnx(open_network([run]), out)
    return out


@pytest.fixture(scope="module")
def trained(run: RunFolder) -> Predictor:
    return fusionkit.load(run.path, device="cpu")


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Predictor:
    return fusionkit.load(exported)


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def export_drawn(predictor: Predictor, out: Path) -> Predictor:
    """Exports a network of drawn weights, and loads what was exported."""
    assert predictor.recipe is not None
    export_onnx(describe_network(predictor.networks[0], predictor.recipe, predictor.inputs), out)
    return fusionkit.load(out)


def assert_same(given: Sequence[Answer], wanted: Sequence[Answer]) -> None:
    """Asserts that answers are the same, numbers to rounding."""
    assert [(one.id, one.present, one.notes, one.failure) for one in given] == [
        (one.id, one.present, one.notes, one.failure) for one in wanted
    ]
    for one, other in zip(given, wanted, strict=True):
        assert_same_targets(one.targets, other.targets)
        assert one.branches.keys() == other.branches.keys()
        for branch in other.branches:
            assert_same_targets(one.branches[branch], other.branches[branch])


def assert_same_targets(given: Mapping[str, TargetAnswer], wanted: Mapping[str, TargetAnswer]) -> None:
    assert given.keys() == wanted.keys()
    for name, other in wanted.items():
        said, numbers = given[name].prediction, not other.probabilities
        assert said == (pytest.approx(other.prediction, **NEAR) if numbers else other.prediction)
        assert given[name].probabilities == pytest.approx(other.probabilities, **NEAR)


def draw_samples(count: int = 4) -> list[dict[str, Any]]:
    """Samples of every modality, with an empty cell in the vector of the first."""
    draw = np.random.default_rng(3)
    return [
        {
            "motion": draw.normal(size=(3 + place, 2)).astype(np.float32),
            "sound": draw.normal(size=500 + 61 * place).astype(np.float32) / 10,
            "room": np.array([math.nan if place == 0 else 25.0, 0.4], np.float32),
        }
        for place in range(count)
    ]


def list_subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))


def test_answers_by_every_subset_of_modalities_are_those_of_the_run(trained: Predictor, loaded: Predictor) -> None:
    subsets = list_subsets(trained.modalities)
    samples = [{name: one[name] for name in subset} for subset in subsets for one in draw_samples()]
    wanted, given = (each.predict(samples, branches=True) for each in (trained, loaded))

    assert len(subsets) == 7
    assert_same(list(given), list(wanted))
    assert given.columns == wanted.columns
    assert {one.present for one in given} == set(subsets)
    assert set(given[-1].branches) == {"motion", "sound", "room"}
    assert 4000 < float(given[0].targets["load"].prediction) < 10_000  # type: ignore[arg-type]
    assert (loaded.networks, loaded.recipe, loaded.main) == ((), None, "fused")
    assert loaded.identity != trained.identity


def test_a_branch_may_answer(run: RunFolder, exported: Path) -> None:
    wanted, given = (fusionkit.load(each, branch="sound", device="cpu") for each in (run.path, exported))

    assert_same(list(given.predict(draw_samples())), list(wanted.predict(draw_samples())))
    assert given.predict([{"room": [20.0, 1.0]}, draw_samples()[0]])[0].failure.startswith("has no sound")


def test_the_command_answers_to_a_table_as_with_the_run(
    command: Any, run: RunFolder, exported: Path, table: Path, tmp_path: Path
) -> None:
    draw = np.random.default_rng(5)
    soundfile.write(tmp_path / "fast.wav", draw.normal(size=1600) / 10, 1600, subtype="FLOAT")
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row |= {name: str(table.parent / row[name]) for name in ("motion", "sound") if row[name]}
    rows[0]["sound"], rows[1]["motion"] = str(tmp_path / "fast.wav"), str(tmp_path / "broken.npy")
    for row in rows[8:12]:  # a whole batch that cannot be used
        row |= {"motion": str(tmp_path / "broken.npy"), "sound": "", "warmth": "", "damp": ""}
    write_rows(tmp_path / "new.csv", rows, leave_out=("person", "state", "load"))

    said = {}
    for name, where in (("run", run.path), ("export", exported)):
        answers = tmp_path / f"{name}.csv"
        options = ("--out", answers, "--processes", 0, "--batch-size", 2, "--device", "cpu")
        assert command("predict", where, tmp_path / "new.csv", *options).status == 1
        with answers.open() as stream:
            said[name] = list(csv.DictReader(stream))

    assert len(said["run"]) == 16
    for one, other in zip(said["export"], said["run"], strict=True):
        texts = ("id", "state", "present", "notes", "failure")
        assert [one[each] for each in texts] == [other[each] for each in texts]
        for each in set(other) - set(texts):
            assert (one[each] == other[each] == "") or float(one[each]) == pytest.approx(float(other[each]), **NEAR)
    assert "resampled from 1600 to 800" in said["export"][0]["notes"]
    assert "broken.npy" in said["export"][1]["failure"]


def test_predictions_are_those_of_the_heads_and_not_the_most_probable_class(tmp_path: Path) -> None:
    modalities = {"motion": {"shape": [3], "aggregator": "mean"}}
    grades = [f"grade {place}" for place in range(6)]
    targets = {
        "grade": {"type": "ordinal", "classes": grades},
        "signs": {"type": "multilabel", "labels": ["a", "b", "c"], "threshold": 0.2},
        "place": {"type": "regression", "outputs": 2},
    }
    drawn = make_predictor(modalities, {"motion": 10.0}, targets=targets)
    with torch.no_grad():  # doubtful, so that the median class is often not the most probable one
        for parameter in drawn.networks[0].head("grade").parameters():
            parameter.mul_(0.1)
    samples = [{"motion": values} for values in np.random.default_rng(0).normal(size=(40, 5, 3)).astype(np.float32)]
    wanted, given = drawn.predict(samples), export_drawn(drawn, tmp_path / "out").predict(samples)
    grade = [one.targets["grade"] for one in given]

    assert_same(list(given), list(wanted))
    assert any(one.prediction != max(one.probabilities, key=lambda name: one.probabilities[name]) for one in grade)
    assert given.columns == wanted.columns
    assert {"place.0", "place.1", "signs.c"} <= set(given.columns)


def test_films_are_prepared_as_for_the_run(tmp_path: Path) -> None:
    drawn = make_film_predictor()
    film = write_film(tmp_path / "film.mp4", steps(14), wave=tone(1.4))
    loaded = export_drawn(drawn, tmp_path / "out")

    assert_same(list(loaded.predict(film)), list(drawn.predict(film)))
    assert loaded.predict(film)[0].present == ("video", "audio")
    assert_same_over_time(loaded.timeline(film, every=0.5, window=1.0), drawn.timeline(film, every=0.5, window=1.0))


def assert_same_over_time(given: Timeline, wanted: Timeline) -> None:
    assert [one.time for one in given] == [one.time for one in wanted]
    assert_same([one.answer for one in given], [one.answer for one in wanted])


def test_a_stream_and_a_timeline_answer_anew_for_every_window(tmp_path: Path) -> None:
    modalities = {**SENSORS, "motion": {**SENSORS["motion"], "aggregator": {"type": "gru", "hidden": 4}}}
    drawn = make_predictor(modalities, SENSOR_RATES)
    loaded = export_drawn(drawn, tmp_path / "out")
    rows = np.random.default_rng(1).normal(size=(90, 3)).astype(np.float32)
    sample = {"motion": rows, "posture": [*rows[0].tolist(), 0.5]}
    streams = [each.stream(window=1.0) for each in (loaded, drawn)]
    for stream in streams:
        stream.push("posture", sample["posture"], at=0.0)
        for begin in range(0, 90, 10):
            stream.push("motion", rows[begin : begin + 10], at=begin / 20)
    answers = [[stream.predict(), stream.predict(without=["posture"], branches=True)] for stream in streams]

    assert_same(*answers)
    assert streams[0].counts == {"motion": 20, "posture": 1}
    assert_same_over_time(loaded.timeline(sample, every=0.7), drawn.timeline(sample, every=0.7))
    with pytest.raises(DataError, match="an array of shape"):
        streams[0].push("motion", rows[:, :2])


def test_folds_and_seeds_become_one_network_that_answers_by_their_mean(command: Any, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(small_runs.recipe(epochs=1)))
    variants = {"late": {"overrides": ["train.strategy=late_fusion"]}}
    plain = {"schema": 1, "recipe": "recipe.yaml", "variants": variants, "seeds": [0, 1]}
    (tmp_path / "experiment.yaml").write_text(json.dumps(plain))
    experiment, out = tmp_path / "experiment", tmp_path / "out"
    assert command("experiment", tmp_path / "experiment.yaml", "--out", experiment, "--processes", 1).status == 0
    samples = [
        {"motion": np.random.default_rng(place).normal(size=(4, 3)).astype(np.float32), "posture": [0.1, 1, -1, place]}
        for place in range(5)
    ]
    samples += [{name: one[name]} for one in samples for name in ("motion", "posture")]
    wanted = fusionkit.load(experiment, variant="late", device="cpu")
    ended = command("export", experiment, "--variant", "late", "--branch", "motion", "--out", out)
    assert ended.status == 0, ended.err
    given = fusionkit.load(out, branch="fused")

    assert (fusionkit.load(out).main, given.backend.count, wanted.backend.count) == ("motion", 2, 2)
    assert_same(list(given.predict(samples, branches=True)), list(wanted.predict(samples, branches=True)))
    alone = fusionkit.load(experiment, variant="late", seed=0, device="cpu").predict(samples)[0].targets["label"]
    both = given.predict(samples)[0].targets["label"]
    arrays = {"motion": samples[0]["motion"], "posture": np.array([samples[0]["posture"]], np.float32)}
    by_runtime = Model(out).predict(arrays, branches=True)
    assert both.probabilities != pytest.approx(alone.probabilities, abs=1e-3)
    assert by_runtime["branches"]["fused"]["label"]["probabilities"] == pytest.approx(both.probabilities, **NEAR)
    assert "name a variant" in command("export", experiment, "--out", tmp_path / "new").err


@pytest.fixture(scope="module")
def server(exported: Path) -> Any:
    with served(fusionkit.load(exported), exported) as running:
        yield running


def test_an_export_is_served(server: Served, trained: Predictor, tmp_path: Path) -> None:
    sample = {name: values.tolist() for name, values in draw_samples()[1].items()}
    wanted = trained.predict(sample)[0].plain()
    with server.client() as client:
        answer = client.post("/predict", json=sample)
        hidden = client.post("/predict?without=sound&branches=true", json=sample).json()
        card = client.get("/card").json()
        over_time = client.post("/timeline?every=0.2&window=0.3", json=sample)
        refused = client.post("/predict", json={"motion": [[1, 2, 3]]})

    assert answer.status_code == over_time.status_code == 200
    assert answer.json()["targets"]["state"]["probabilities"] == pytest.approx(
        wanted["targets"]["state"]["probabilities"], **NEAR
    )
    assert answer.json()["targets"]["load"]["prediction"] == pytest.approx(
        wanted["targets"]["load"]["prediction"], **NEAR
    )
    assert hidden["present"] == ["motion", "room"]
    assert set(hidden["branches"]) == {"motion", "room"}
    assert (card["fusion"], card["networks"], card["answers"], card["card"]) == ("mrpn", 1, "fused", None)
    assert len(over_time.json()["instants"]) > 2
    assert refused.status_code == 422


def change(folder: Path, **keys: Any) -> None:
    """Changes keys of the description."""
    file = folder / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def lose_graph(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def change_graph(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-3] ^= 1
    (folder / "model.onnx").write_bytes(content)


def spoil_graph(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no graph")
    change(folder, sha256={"model.onnx": hashlib.sha256(b"no graph").hexdigest()})


def swap_modalities(folder: Path) -> None:
    plain = json.loads((folder / "model.json").read_text())
    one, other = plain["modalities"]["motion"], plain["modalities"]["room"]
    for key in ("input", "length_input"):
        one[key], other[key] = other[key], one[key]
    change(folder, modalities=plain["modalities"])


def add_class(folder: Path) -> None:
    plain = json.loads((folder / "model.json").read_text())
    plain["targets"]["state"]["classes"].append("c")
    change(folder, targets=plain["targets"])


def change_shape(folder: Path) -> None:
    plain = json.loads((folder / "model.json").read_text())
    plain["inputs"]["modalities"]["motion"]["shape"] = [5]
    change(folder, inputs=plain["inputs"])


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lose_graph, ExportError, r"model\.onnx: cannot be read \(No such file"),
        (
            change_graph,
            ExportError,
            r"model\.onnx: has the hash \w{12}\.\.\., and model\.json is of \w{12}\.\.\.; copy",
        ),
        (spoil_graph, ExportError, r"model\.onnx: onnxruntime cannot read it"),
        (swap_modalities, ExportError, r"model\.onnx: is another graph than model\.json describes"),
        (add_class, ExportError, r"model\.onnx: is another graph than model\.json describes"),
        (change_shape, RunError, "inputs: other modalities, shapes or rates than those of the graph"),
        (
            lambda folder: change(folder, format=1),
            RunError,
            r"of format 1; this version reads format 2; update .* else export the run again",
        ),
        (
            lambda folder: change(folder, format=3),
            RunError,
            r"of format 3; this version reads format 2; update fusionkit",
        ),
        (lambda folder: change(folder, graph="../network/model.onnx"), RunError, r"graph: .*'\.\./network"),
        (lambda folder: change(folder, sha256={}), RunError, r"sha256: lacks model\.onnx"),
        (lambda folder: change(folder, main="motions"), RunError, "main: no output is of the branch 'motions'"),
        (lambda folder: (folder / "model.json").write_text("{"), RunError, r"model\.json"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(
    copied: Path, damage: Callable[[Path], object], kind: type[FusionKitError], message: str, command: Any
) -> None:
    damage(copied)

    with pytest.raises(kind, match=message):
        fusionkit.load(copied)
    ended = command("predict", copied, "motion=nowhere.npy")
    assert (ended.status, ended.out, ended.err.count("Traceback")) == (2, "", 0)


def test_a_program_of_torch_is_not_loaded_since_that_can_run_anything(tmp_path: Path) -> None:
    drawn = make_predictor({"motion": {"shape": [3], "aggregator": "mean"}}, {"motion": 10.0})
    assert drawn.recipe is not None
    network = describe_network(drawn.networks[0], drawn.recipe, drawn.inputs)
    export_torch(network, tmp_path / "out", compiled=False)

    with pytest.raises(ExportError, match=r"model\.pt2: is a program of torch\.export, .*run with --to onnx"):
        fusionkit.load(tmp_path / "out")


def test_a_missing_onnxruntime_is_named_with_the_extra(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fusionkit.inference.export.packages.importlib.util.find_spec", lambda name: None if "runtime" in name else 1
    )

    with pytest.raises(ExportError, match=r"needs onnxruntime: pip install 'fusionkit-multimodal\[export\]'"):
        fusionkit.load(exported)


@pytest.mark.parametrize(
    ("target", "spoiled", "message"),
    [
        ("state", lambda values: values + 7, "fused/state: predicts what is none of the 2 classes"),
        ("state", lambda values: values - 1 - values.max(), "fused/state: predicts what is none of the 2 classes"),
        ("state", lambda values: values * np.float32(np.nan), "fused/state: predicts what is none of the 2 classes"),
        ("state", lambda values: np.stack([values, values], 1), "fused/state: predicts what is none of the 2"),
        ("state", lambda values: values[:0], r"fused/state: answers of shape \(1, 2\) and \(0,\) are not to 1 samples"),
        ("load", lambda values: np.stack([values, values], 1), r"fused/load: predictions of shape \(1, 2.* not 1 each"),
    ],
)
def test_a_stranger_s_graph_that_predicts_what_is_none_is_told_sample_by_sample(
    exported: Path, target: str, spoiled: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(session: OnnxSession, arrays: Any, names: Sequence[str]) -> list[Any]:
        outputs = answer(session, arrays, names)
        place = names.index(f"fused/{target}/prediction")
        return [*outputs[:place], spoiled(outputs[place]), *outputs[place + 1 :]]

    answer, stranger = OnnxSession.__call__, fusionkit.load(exported)
    monkeypatch.setattr(OnnxSession, "__call__", spoil)

    for each in stranger.predict([draw_samples(), draw_samples()]):
        assert not each.targets
        assert re.search(rf"model\.onnx: {message}.*; export the run again, or ask its author", each.failure)


def test_a_copy_answers_as_it_does_and_a_changed_graph_is_refused(copied: Path) -> None:
    loaded, sample = fusionkit.load(copied), draw_samples()
    sent = pickle.dumps(loaded)

    assert copy.deepcopy(loaded).predict(sample)[0] == loaded.predict(sample)[0]
    assert pickle.loads(sent).predict(sample)[0] == loaded.predict(sample)[0]
    change_graph(copied)
    with pytest.raises(ExportError, match=r"model\.onnx: has the hash"):
        pickle.loads(sent)


def test_nothing_of_the_folder_is_run_as_python(copied: Path, tmp_path: Path) -> None:
    for name in ("fusionkit_runtime.py", "__init__.py", "conftest.py"):
        (copied / name).write_text(f"open({str(tmp_path / 'sang')!r}, 'w').close()\n")

    assert fusionkit.load(copied).predict(draw_samples())[0].present == ("motion", "sound", "room")
    assert not (tmp_path / "sang").exists()


def test_a_graph_that_names_another_file_is_refused(copied: Path) -> None:
    import onnx
    import onnxruntime

    file = copied / "model.onnx"
    model = onnx.load(file)
    onnx.save_model(model, file, save_as_external_data=True, location="secret.bin", size_threshold=4096)
    change(copied, sha256={"model.onnx": hashlib.sha256(file.read_bytes()).hexdigest()})

    assert onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])  # it would be read
    with pytest.raises(ExportError, match=r"model\.onnx: onnxruntime cannot read it"):
        fusionkit.load(copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "late", "seed": 1}, "is an exported network; leave out variant and seed"),
        ({"branch": "sond"}, "has no branch 'sond'; did you mean 'sound'"),
        ({"precision": "bf16"}, "computes on the CPU in single precision; leave out precision bf16"),
    ],
)
def test_options_that_an_export_lacks_are_refused(exported: Path, options: Any, message: str) -> None:
    with pytest.raises(FusionKitError, match=message):
        fusionkit.load(exported, **options)


def test_other_devices_are_refused(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionkit.inference.export.reader.choose_device", torch.device)

    with pytest.raises(FusionKitError, match="computes on the CPU in single precision; leave out device cuda"):
        fusionkit.load(exported, device="cuda")
    assert fusionkit.load(exported).device == torch.device("cpu")


def test_what_only_a_run_can_do_is_refused(command: Any, exported: Path, loaded: Predictor, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="an exported network holds no calibration; load the run"):
        loaded.predict(draw_samples(), level=0.9)
    with pytest.raises(RunError, match="come from no run folder; load a run"):
        loaded.save_pretrained(tmp_path / "shared")
    for words in (("calibrate",), ("evaluate",), ("export", "--out", tmp_path / "again")):
        ended = command(words[0], exported, *words[1:])
        assert ended.status == 2
        assert "is an exported network; name the run that it was exported from" in ended.err, words


def test_numbers_that_the_graph_does_not_take_are_told_sample_by_sample(tmp_path: Path) -> None:
    modalities = {"photo": {"shape": [1, 8, 8], "encoder": [{"type": "conv2d", "channels": [3]}]}}
    loaded = export_drawn(make_predictor(modalities, {"photo": None}), tmp_path / "out")
    bytes_ = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8)).astype(np.uint8)
    answers = loaded.predict([{"photo": bytes_}, {"photo": bytes_ / 255}])

    assert not answers[0].failure
    assert answers[1].failure == (
        "photo: numbers are torch.float32; the exported graph takes torch.uint8; give them as for the training"
    )
