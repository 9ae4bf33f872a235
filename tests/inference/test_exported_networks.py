"""An export is proven before it appears, and its runtime answers without torch as the evaluation of the run did."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import run_of
from torch import Tensor

import fusionkit
from fusionkit.errors import ExportError
from fusionkit.evaluation import evaluate
from fusionkit.inference.export import TrainedNetwork, export_onnx, export_torch
from fusionkit.inference.export.forms import aggregators
from fusionkit.inference.export.fusionkit_runtime import InputError, Model, read_file
from fusionkit.inference.export.graph import NetworkGraph
from fusionkit.inference.export.proof import prove
from fusionkit.inference.export.trials import choose_lengths, choose_subsets, draw_trials
from fusionkit.interfaces import ModalityInfo
from fusionkit.storage.records.document import load_document
from fusionkit.storage.records.export import ExportCard, ExportedModel
from fusionkit.storage.run_folder import RunFolder

MODEL: dict[str, Any] = {
    "modalities": {
        "motion": {
            "transforms": [{"type": "subsample", "every": 2}, "standardize"],
            "encoder": [{"type": "mlp", "hidden": [6], "out": 5}, {"type": "conv1d", "channels": [6]}],
            "aggregator": {"type": "gru", "hidden": 6},
        },
        "posture": {"encoder": "mlp"},
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    model = {**MODEL, "targets": {"label": "classification"}}
    folder = run_of(tmp_path_factory.mktemp("run") / "run", model=model)
    evaluate(folder)
    return folder


@pytest.fixture(scope="module")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command leaves."""
    from fusionkit.cli import main

    out = tmp_path_factory.mktemp("export") / "network"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run.path), "--out", str(out), "--quantize", "int8", "--json"])
    assert not ended.value.code
    return out


def network(modalities: dict[str, Any] | None = None, **options: Any) -> TrainedNetwork:
    """A small network with numbers of its own."""
    given = modalities or {"motion": {"shape": [3], "aggregator": "mean"}, "posture": {"shape": [2], "encoder": "mlp"}}
    targets = {"mood": {"type": "classification", "classes": ["low", "high"]}, "age": "regression"}
    torch.manual_seed(0)
    model = fusionkit.build({"modalities": given, "targets": targets, **options}).eval()
    model.fit_targets({"age": torch.tensor([20.0, 40.0, 60.0])})
    infos = {name: ModalityInfo(model.branch(name).in_shape, 10.0) for name in model.modalities}
    return TrainedNetwork(model, infos, longest=dict.fromkeys(model.modalities, 9))


def test_the_runtime_answers_as_the_evaluation_of_the_run_did(run: RunFolder, exported: Path) -> None:
    from fusionkit.data.assembly import assemble

    assembly = assemble(run.recipe)
    rows = [row.id for row in assembly.dataset.rows]
    samples = [
        {name: values.numpy() for name, values in assembly.dataset.load(rows.index(each)).items()}
        for each in assembly.test_ids
    ]
    tensors, about = run.read_predictions()
    answers = Model(exported, threads=1).predict(samples, branches=True, batch_size=3)

    assert json.loads(about["samples"]) == list(assembly.test_ids)
    for row, answer in enumerate(answers):
        said = answer["targets"]["label"]
        wanted = tensors["distribution/label/fused"][row]
        np.testing.assert_allclose(list(said["probabilities"].values()), wanted, atol=1e-5)
        assert said["prediction"] == list(said["probabilities"])[int(wanted.argmax())]
        motion, of_motion = answer["branches"]["motion"]["label"], tensors["distribution/label/motion"][row]
        assert (motion is None) == bool(of_motion.isnan().all()) == ("motion" not in answer["present"])
        if motion is not None:
            np.testing.assert_allclose(list(motion["probabilities"].values()), of_motion, atol=1e-5)


def test_the_card_tells_what_was_compared_and_how_far_the_answers_are_apart(run: RunFolder, exported: Path) -> None:
    card = load_document(ExportCard, exported / "card.json")
    exact, rough = card.proofs

    assert card.weights_sha256 == [run.sha256_of_weights()]
    assert (exact.file, exact.subsets, exact.all_subsets, exact.batch_sizes) == ("model.onnx", 3, 3, [1, 2, 5])
    assert set(exact.by_subset) == {"motion", "posture", "motion+posture"}
    assert exact.elements == "of the test part"
    assert len(exact.lengths["motion"]) == 5
    assert exact.lengths["motion"][-1] > 5  # longer than any sample
    assert set(exact.differences) == {"fused/label", "motion/label", "posture/label"}
    assert 0 < exact.largest <= 1e-5
    assert rough.limit is None
    assert rough.largest > exact.largest


def test_weights_of_8_bits_are_measured_on_the_test_part(exported: Path) -> None:
    card = load_document(ExportCard, exported / "card.json")
    assert card.quantization is not None
    metrics = card.quantization.metrics["label"]

    assert card.quantization.bytes_quantized == (exported / "model.int8.onnx").stat().st_size
    assert card.quantization.speed_ratio > 0
    assert card.quantization.samples == 8
    assert set(metrics.exact) == set(metrics.quantized) == {"accuracy", "uar", "f1", "ece"}
    assert Model(exported, quantized=True).predict({"posture": np.ones((1, 4))})["targets"]["label"]["prediction"]


def test_the_description_holds_what_a_program_has_to_know(exported: Path) -> None:
    about = load_document(ExportedModel, exported / "model.json")

    assert about.modalities["motion"].shape == [3]
    assert about.modalities["motion"].transforms[0]["every"] == 2
    assert (about.modalities["motion"].dtype, about.main) == ("float32", "fused")
    assert about.targets["label"].classes == ["rest", "walk", "run", "jump"]
    assert str(Path.home()) not in (exported / "model.json").read_text()


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "fusionkit", "onnx", "pydantic", "scipy"}:
            raise ImportError(name + " is not to be imported")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
"""


def run_alone(exported: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the file beside the graph, where neither torch nor fusionkit can be imported."""
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported / "fusionkit_runtime.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=exported)


def test_the_command_of_the_runtime_answers_without_torch(exported: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((6, 3), dtype=np.float32))
    ended = run_alone(exported, str(exported), f"motion={tmp_path / 'a.npy'}", "--branches")

    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["present"] == ["motion"]
    assert answer["targets"]["label"]["prediction"] in ("rest", "walk", "run", "jump")
    assert answer["branches"]["posture"]["label"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage:"),
        (["{out}", "motion"], "usage:"),
        (["nowhere", "motion={a}"], "nowhere: is no exported network"),
        (["{out}", "moton={a}"], "unknown modality 'moton'"),
        (["{out}", "posture={a}"], r"sample 0: posture: an array of shape (6, 3); expected is (length, 4)"),
        (["{out}", "motion=nowhere.npy"], "nowhere.npy: cannot be read"),
    ],
)
def test_mistakes_are_told_in_a_sentence(exported: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    from fusionkit.inference.export.fusionkit_runtime import main

    np.save(tmp_path / "a.npy", np.ones((6, 3), dtype=np.float32))
    filled = [each.format(out=exported, a=tmp_path / "a.npy") for each in arguments]
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda text, **_: said.append(text))
        assert main(filled) == 2

    assert message in said[-1]


def test_the_runtime_refuses_what_the_network_was_not_trained_on(exported: Path) -> None:
    model = Model(exported)

    with pytest.raises(InputError, match="has no modality"):
        model.predict({"motion": None})
    with pytest.raises(InputError, match="numbers of complex128; the network takes float32"):
        model.predict([{"motion": np.ones((2, 3))}, {"motion": np.ones((2, 3)) * 1j}])
    for numbers in (np.array([[1, np.nan, 1.0]], np.float32), np.array([[1, 1e200, 1.0]])):
        with pytest.raises(InputError, match=r"motion.*: 1 of 3 numbers are (NaN or infinite|too large for float32)"):
            model.predict({"motion": numbers})
    assert model.predict([]) == []


@pytest.mark.filterwarnings("error")
def test_the_runtime_refuses_numbers_that_are_not_finite(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fusionkit.inference.export.fusionkit_runtime import main

    motion = np.ones((80, 3))
    motion[4], motion[5, 0] = np.nan, np.inf
    for given in (motion, motion.astype(np.float32)):
        with pytest.raises(InputError, match="motion: 4 of 240 numbers are NaN or infinite"):
            Model(exported).predict({"motion": given})
    with pytest.raises(InputError, match="motion: all 6 numbers are too large for float32"):
        Model(exported).predict({"motion": np.full((2, 3), 1e300)})
    np.save(tmp_path / "a.npy", motion)
    assert main([str(exported), f"motion={tmp_path / 'a.npy'}"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_the_runtime_gives_no_answer_that_is_not_finite(tmp_path: Path) -> None:
    export_onnx(network(), tmp_path / "out")
    near, far = ({"motion": np.full((9, 3), value)} for value in (1.0, 3e38))

    with pytest.raises(InputError, match="sample 1: fused answers mood by numbers that are not finite; its elements"):
        Model(tmp_path / "out").predict([near, far])


def test_a_sound_is_read_at_the_rate_of_the_modality(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(800)
        sound.writeframes(np.array([0, 16384, -32768], dtype="<i2").tobytes())

    np.testing.assert_array_equal(read_file(str(file), 800.0), np.array([0, 0.5, -1], dtype=np.float32))
    with pytest.raises(InputError, match="800 samples a second; resample it to 16000"):
        read_file(str(file), 16000.0)


def test_a_form_that_is_wrong_is_found_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_padding_too(sequence: Any) -> Tensor:
        averaged: Tensor = sequence.values.mean(dim=1)
        return averaged

    monkeypatch.setattr(aggregators, "_take_mean", take_padding_too)

    with pytest.raises(ExportError, match=r"model.onnx does not answer as the network does: .* differs by"):
        export_onnx(network(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def _leave(outputs: list[Any]) -> list[Any]:
    return outputs


def _shift(outputs: list[Any]) -> list[Any]:
    shifted = {1, len(outputs) // 2 + 1}  # the numbers, of a spread of 16, and what is predicted by them
    return [values + 0.1 if place in shifted else values for place, values in enumerate(outputs)]


def _forget(outputs: list[Any]) -> list[Any]:
    return [np.where(outputs[0] > 0.5, np.nan, outputs[0]), *outputs[1:]]


def _turn(outputs: list[Any]) -> list[Any]:
    return [*outputs[:2], 1 - outputs[2], *outputs[3:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_shift, r"x does not answer as the network does: fused/age differs by 0\.00"),
        (_forget, "x: fused/mood is .* not finite"),
        (_turn, "x: fused/mood is .* predicts something else"),
    ],
)
def test_numbers_probabilities_and_predictions_are_all_compared(change: Any, message: str) -> None:
    trained = network().freeze()
    graph = NetworkGraph(trained, "torch").eval()

    def run(arrays: Any, change: Any) -> list[Any]:
        with torch.no_grad():
            return change([each.numpy() for each in graph(*(torch.from_numpy(arrays[name]) for name in arrays))])

    assert prove(trained, lambda arrays: run(arrays, _leave), file="x", runs_on="torch").largest < 1e-6
    with pytest.raises(ExportError, match=message):
        prove(trained, lambda arrays: run(arrays, change), file="x", runs_on="torch")


def test_powers_of_sound_are_not_quantized(tmp_path: Path) -> None:
    import onnx

    spectrum = {"type": "log_mel", "bands": 4, "window": 32, "hop": 8, "sample_rate": 800}
    sound = {"shape": [], "encoder": [spectrum, "mlp"], "aggregator": "mean"}
    export_onnx(network({"sound": sound}), tmp_path / "out", quantized="int8")
    nodes = onnx.load(tmp_path / "out" / "model.int8.onnx").graph.node
    exact = {
        node.op_type: name.rpartition(".")[2] for node in nodes for name in node.input if name.endswith(".filters")
    }
    exact |= {node.op_type: name.rpartition(".")[2] for node in nodes for name in node.input if "fourier" in name}

    assert exact == {"MatMul": "filters", "Conv": "fourier"}
    assert any(node.op_type == "MatMulInteger" for node in nodes)


def test_numbers_come_in_their_own_unit_and_films_as_bytes(tmp_path: Path) -> None:
    film = {
        "shape": [1, 8, 8],
        "encoder": {"type": "conv2d", "channels": [4]},
        "aggregator": {"type": "lstm", "hidden": 4},
    }
    trained = network({"film": film, "person": {"shape": [2], "encoder": "mlp"}}, fusion="gated")
    card = export_onnx(trained, tmp_path / "out")
    about = load_document(ExportedModel, tmp_path / "out" / "model.json")
    frames = np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8))
    said = Model(tmp_path / "out").predict({"film": frames, "person": np.ones((1, 2))})

    assert card.proofs[0].elements == "noise"
    assert about.modalities["film"].dtype == "uint8"
    inputs = {"film": torch.from_numpy(frames)[None].to(torch.uint8), "person": torch.ones(1, 1, 2)}
    with torch.no_grad():
        wanted = trained.model.head("age").distribution(trained.model(inputs).fused["age"])
    assert said["targets"]["age"]["prediction"] == pytest.approx(float(wanted), rel=1e-5)
    with pytest.raises(InputError, match="numbers of float64; the network takes uint8"):
        Model(tmp_path / "out").predict({"film": frames / 255})


def test_networks_that_were_trained_alone_answer_by_their_ensemble(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", strategy="unimodal")
    evaluate(folder)
    from fusionkit.inference.export.run import open_network

    card = export_onnx(open_network([folder]), tmp_path / "out")
    about = load_document(ExportedModel, tmp_path / "out" / "model.json")

    assert about.main == "ensemble"
    names = {"motion/label", "posture/label", "ensemble/label", "ensemble (log)/label"}
    assert set(card.proofs[0].differences) == names


def test_a_program_of_torch_export_is_proven_too(tmp_path: Path) -> None:
    modalities = {
        "motion": {"shape": [3], "aggregator": {"type": "gru", "hidden": 4, "bidirectional": True}},
        "posture": {"shape": [2], "aggregator": {"type": "lstm", "hidden": 3, "layers": 2}},
    }
    card = export_torch(network(modalities), tmp_path / "out", compiled=False)
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    outputs = program(
        torch.ones(4, 20, 3), torch.tensor([20, 3, 0, 1]), torch.ones(4, 1, 2), torch.tensor([1, 1, 1, 0])
    )

    assert [proof.file for proof in card.proofs] == ["model.pt2"]
    assert card.proofs[0].largest <= 1e-5
    assert outputs[0].shape == (4, 2)


def test_a_program_stands_where_machine_code_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(program: Any, file: Path) -> Any:
        file.write_bytes(b"half of it")
        raise ExportError("the network cannot be compiled")

    monkeypatch.setattr("fusionkit.inference.export.folder.has_compiler", lambda: True)
    monkeypatch.setattr("fusionkit.inference.export.folder.compile_program", fail)
    card = export_torch(network(), tmp_path / "out")
    assert card.notes[-1] == "There is no machine code: the network cannot be compiled."
    assert [proof.file for proof in card.proofs] == ["model.pt2"]
    assert not (tmp_path / "out" / "model.aoti.pt2").exists()
    with pytest.raises(ExportError, match="cannot be compiled"):
        export_torch(network(), tmp_path / "asked", compiled=True)
    assert not (tmp_path / "asked").exists()


@pytest.mark.slow
def test_machine_code_of_the_program_is_proven_too(tmp_path: Path) -> None:
    modalities = {"motion": {"shape": [3], "aggregator": {"type": "gru", "hidden": 4}}}
    card = export_torch(network(modalities), tmp_path / "out", compiled=True)

    assert [proof.file for proof in card.proofs] == ["model.pt2", "model.aoti.pt2"]
    assert card.proofs[1].largest <= 1e-5


def test_a_folder_that_holds_something_is_left_alone(command: Any, run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    ended = command("export", run.path, "--out", tmp_path)

    assert (ended.status, ended.out) == (2, "")
    assert "exists and is not empty; take a new or empty folder" in ended.err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_mistakes_of_the_command_end_with_status_2(command: Any, run: RunFolder, tmp_path: Path) -> None:
    no_run = command("export", tmp_path, "--out", tmp_path / "out")
    both = command("export", run.path, "--out", tmp_path / "out", "--to", "torch", "--quantize", "int8")

    assert (no_run.status, both.status) == (2, 2)
    assert "holds neither a run" in no_run.err
    assert "--quantize is for graphs of ONNX" in both.err


def test_a_missing_package_is_named_with_the_extra(
    command: Any, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusionkit.inference.export.packages._PACKAGES", ("onnx", "no_such_onnxscript"))
    ended = command("export", run.path, "--out", tmp_path / "out")

    assert ended.status == 2
    assert "needs no_such_onnxscript: pip install 'fusionkit-multimodal[export]'" in ended.err


def test_modalities_whose_inputs_would_share_a_name_are_refused(tmp_path: Path) -> None:
    twins = {"a": {"shape": [2]}, "a_length": {"shape": [2]}}

    with pytest.raises(ExportError, match="would have one name: a_length; rename"):
        export_onnx(network(twins), tmp_path / "out")


def test_help_imports_no_package_of_exports() -> None:
    asked = "import sys, fusionkit; from fusionkit.cli import app; import fusionkit.cli.trained.export"
    code = f"{asked}; print([each for each in ('onnx', 'onnxscript', 'onnxruntime', 'torch') if each in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_subset_of_six_modalities_is_tried_and_64_of_seven() -> None:
    assert len(choose_subsets("abcdef")) == 63
    chosen = choose_subsets("abcdefg")

    assert len(chosen) == len(set(chosen)) == 64
    assert tuple("abcdefg") in chosen
    assert {(name,) for name in "abcdefg"} <= set(chosen)


def test_trials_have_every_length_and_samples_that_lack_a_modality() -> None:
    trials = list(draw_trials(network()))
    both = [sample for trial in trials if len(trial.subset) == 2 for sample in trial.samples]

    assert sorted(len(trial.samples) for trial in trials) == [1, 1, 1, 2, 2, 2, 5, 5, 5]
    for name in ("motion", "posture"):
        tried = {len(sample[name]) for trial in trials if trial.subset == (name,) for sample in trial.samples}
        assert tried == set(choose_lengths(9))
    assert {tuple(sample) for sample in both} == {("motion", "posture"), ("motion",), ("posture",)}


def test_the_runtime_imports_numpy_and_the_library_of_python_alone() -> None:
    module: ModuleType = sys.modules["fusionkit.inference.export.fusionkit_runtime"]
    lines = Path(str(module.__file__)).read_text().splitlines()
    asked = {line.split()[1].partition(".")[0] for line in lines if line.lstrip().startswith(("import ", "from "))}

    assert asked - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}
