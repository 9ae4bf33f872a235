"""A run holds the architecture of its pretrained networks: it needs neither hub nor folder, wherever it goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import recipe, run_of
from tiny_networks import CONFIGS, GIVEN, encoder_of, options_of, save
from torch import Tensor, nn

import fusionkit
from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.initial_weights import drop_weights, find_starts, list_weight_files
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError
from fusionkit.evaluation import evaluate
from fusionkit.inference.export import export_onnx, export_torch, find_form
from fusionkit.inference.export.forms import Padded
from fusionkit.inference.export.fusionkit_runtime import Model
from fusionkit.inference.export.onnx_file import OnnxSession, write_graph
from fusionkit.inference.export.run import open_network
from fusionkit.inference.export.tracing import trace
from fusionkit.nn.jagged import Jagged
from fusionkit.storage.run_folder import RunFolder
from fusionkit.training import train

pytestmark = pytest.mark.xdist_group("transformers")

pytest.importorskip("transformers", reason="not installed: pip install fusionkit-multimodal[transformers]")

DATA = {
    "dataset": {
        "type": "synthetic",
        "groups": 4,
        "samples": 2,
        "modalities": {
            "voice": {"features": 1, "min_length": 40, "max_length": 90, "missing": 0.3},
            "posture": {"features": 4, "min_length": 1, "max_length": 1},
        },
    },
}


def model_of(folder: Path, **options: Any) -> dict[str, Any]:
    voice = {"type": "hf_audio", "model": str(folder), "layers": "weighted", **options}
    return {"modalities": {"voice": {"encoder": voice}, "posture": {"encoder": "mlp"}}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A training from a folder that is gone."""
    home = tmp_path_factory.mktemp("pretrained")
    save("wav2vec2", home / "tiny-voice")
    run = run_of(home / "run", data=DATA, model=model_of(home / "tiny-voice"), epochs=1, export=["voice"])
    shutil.rmtree(home / "tiny-voice")
    evaluate(run, device="cpu", resamples=20)
    return run


def samples() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    waves = [torch.randn(length, 1, generator=generator) for length in (300, 31)]
    return [{"voice": wave, "posture": torch.randn(1, 4, generator=generator)} for wave in waves]


def test_a_run_is_used_without_the_folder_that_its_training_began_from(run: RunFolder, tmp_path: Path) -> None:
    predictor = fusionkit.load(run.path, device="cpu")
    predictor.save_pretrained(tmp_path / "shared")
    shared = fusionkit.load(tmp_path / "shared", device="cpu")

    own, of_others = ([one.plain() for one in each.predict(samples(), branches=True)] for each in (predictor, shared))
    assert own == of_others
    written = json.dumps(run.recipe.plain())
    assert '"model_type": "wav2vec2"' in written
    assert run.read_card().starts["voice"].startswith("the weights of ")
    kept = (tmp_path / "shared" / "recipe.yaml").read_text()
    assert "model: tiny-voice\n" in kept
    assert str(run.path.parent) not in kept


def test_its_network_is_the_one_that_was_trained_and_began_as_the_folder_said(run: RunFolder, tmp_path: Path) -> None:
    save("wav2vec2", tmp_path)
    began = load_file(tmp_path / "model.safetensors")["wav2vec2.encoder.layers.0.attention.k_proj.weight"]
    weights, _ = run.load_weights()
    ended = weights["branches.voice.encoders.0.network.encoder.layers.0.attention.k_proj.weight"]

    assert 0 < (ended - began).abs().max() < 0.02


def test_another_training_starts_from_the_encoder_that_it_left(run: RunFolder, tmp_path: Path) -> None:
    save("wav2vec2", tmp_path / "tiny-voice")
    model = model_of(tmp_path / "tiny-voice", weights=str(run.encoder_file("voice")))
    again = train(recipe(data=DATA, model=model, epochs=1), tmp_path / "again", accelerator="cpu")

    assert again.finished
    assert again.recipe.model.modalities["voice"].encoder[0].options["weights"].endswith("encoder_voice.safetensors")


def test_a_model_that_is_not_there_is_told_with_its_place_before_anything_is_trained(tmp_path: Path) -> None:
    place = r"model.modalities.voice.encoder\[0\]: model: there is no folder"
    with pytest.raises(RecipeError, match=place):
        train(recipe(data=DATA, model=model_of(tmp_path / "nowhere")), tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()


def test_pretrained_weights_are_no_file_and_a_network_of_a_run_takes_none(run: RunFolder) -> None:
    of_run = run.recipe
    encoder = drop_weights(of_run).model.modalities["voice"].encoder[0]

    assert list(list_weight_files(of_run)) == []
    assert encoder.options["weights"] is None
    assert find_starts(of_run.plain())["voice"] == f"the weights of {encoder.options['model']}"
    written = recipe(
        data=DATA, model={**model_of(Path("tiny"), weights="none"), "targets": {"label": "classification"}}
    )
    assert load_recipe(written).model.modalities["voice"].encoder[0].options["weights"] is None


class Graph(nn.Module):
    """An encoder's form, with the arrays that graphs are given."""

    def __init__(self, form: nn.Module) -> None:
        super().__init__()
        self.form = form

    def forward(self, *arrays: Tensor) -> tuple[Tensor, Tensor]:
        encoded, counts = self.form(Padded(*arrays))
        return encoded, counts


BATCHES: dict[str, list[tuple[int, ...]]] = {
    "hf_audio": [(900, 0, 300), (37,), (1500, 81, 0, 1, 1060)],
    "hf_vision": [(5, 0, 3), (1,), (7, 2, 0, 1, 7)],
    "hf_video": [(5, 0, 3), (1,), (7, 2, 0, 1, 7)],
    "hf_text": [(30, 0, 3), (1,), (50, 2, 0, 1, 24)],
}
TRACED = {"hf_audio": (900, 0, 450), "hf_vision": (9, 0, 4), "hf_video": (19, 0, 9), "hf_text": (60, 0, 30)}


def pad(encoder: str, lengths: Sequence[int]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Samples, the same padded with what no answer may depend on, and their lengths."""
    shape, generator = GIVEN[encoder][0], torch.Generator().manual_seed(len(lengths))
    if encoder == "hf_text":
        of = [torch.randint(0, 40, (size,), generator=generator) for size in lengths]
    elif encoder == "hf_audio":
        of = [torch.randn(size, generator=generator) for size in lengths]
    else:
        of = [torch.randint(0, 256, (size, *shape), generator=generator, dtype=torch.uint8) for size in lengths]
    padded = torch.full((len(lengths), max(lengths) + 1, *shape), 33).to(of[0].dtype)
    for row, sample in enumerate(of):
        padded[row, : len(sample)] = sample
    return of, padded, torch.tensor(lengths)


def check(encoder: str, built: Any, run: Callable[[Tensor, Tensor], Sequence[Any]]) -> None:
    for lengths in BATCHES[encoder]:
        of, padded, sizes = pad(encoder, lengths)
        expected = built(Jagged.from_list(of))
        values, counts = (torch.as_tensor(np.asarray(each)) for each in run(padded, sizes))
        assert counts.tolist() == list(expected.sizes)
        for row, count in enumerate(expected.sizes):
            torch.testing.assert_close(values[row, :count], expected[row], atol=5e-5, rtol=5e-5)


def build(name: str) -> Any:
    torch.manual_seed(0)
    encoder = encoder_of(name)
    flexible = encoder == "hf_audio" and name not in ("whisper", "ast")
    options = options_of(name, **({"window_seconds": 0.0625} if flexible else {}))
    return ENCODERS.build(encoder, GIVEN[encoder][0], **options).eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_form_of_every_pretrained_network_answers_as_the_encoder_does(name: str) -> None:
    built = build(name)
    graph = Graph(find_form(built, "torch"))

    with torch.no_grad():
        check(encoder_of(name), built, graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_graphs_of_every_pretrained_network_answer_as_the_encoder_does(name: str, tmp_path: Path) -> None:
    built, encoder = build(name), encoder_of(name)
    with torch.no_grad():
        _, *arrays = pad(encoder, TRACED[encoder])
        program = trace(Graph(find_form(built, "onnx")), arrays)
        check(encoder, built, program.module())
        write_graph(program, tmp_path / "graph.onnx", ["x", "n"], ["y", "m"])
        session = OnnxSession(tmp_path / "graph.onnx", threads=1)
        check(encoder, built, lambda x, n: session({"x": x.numpy(), "n": n.numpy()}))


@pytest.mark.slow
def test_a_run_with_a_pretrained_network_is_exported_and_proven(run: RunFolder, tmp_path: Path) -> None:
    network = open_network([run])
    export_torch(network, tmp_path / "torch")
    export_onnx(network, tmp_path / "onnx")
    (own, _) = fusionkit.load(run.path, device="cpu").predict(samples())
    arrays = {name: of.numpy() for name, of in samples()[0].items()}
    answer = Model(tmp_path / "onnx").predict(arrays)["targets"]["label"]["probabilities"]

    expected = own.plain()["targets"]["label"]["probabilities"]
    np.testing.assert_allclose(list(answer.values()), list(expected.values()), atol=1e-5)
