"""Clips of any length: in evaluation by pieces, in training with activations that are computed again, or compiled."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fusionkit
from fusionkit.config.recipe import load_recipe
from fusionkit.errors import RecipeError
from fusionkit.interfaces import count_at_once
from fusionkit.models import branch
from fusionkit.models.aggregators import final_state
from fusionkit.models.aggregators.final_state import FinalState
from fusionkit.models.build import FusionModel
from fusionkit.models.encoders import FeatureNormEncoder, LogMel, Spectrogram
from fusionkit.nn.activation_checkpointing import recompute
from fusionkit.nn.jagged import Jagged
from fusionkit.training.trainer import refuse_without_compiler

SEGMENTS = {"window": 64, "hop": 16, "segment_seconds": 0.01, "segment_hop_seconds": 0.004}
CHAINS = {
    "faces": ((1, 16, 16), [{"type": "conv2d", "channels": [4, 6]}]),
    "photographs": ((3, 32, 32), [{"type": "timm", "model": "test_resnet"}]),
    "voice": ((), [{"type": "spectrogram", **SEGMENTS}, {"type": "conv2d", "channels": [4]}]),
    "each_by_itself": ((), [{"type": "spectrogram", **SEGMENTS, "mode": "per_segment"}, {"type": "mlp"}]),
    "columns": ((), [{"type": "log_mel", "bands": 10}, {"type": "conv1d", "channels": [6], "kernel": 3}]),
    "sensor": (
        (3,),
        ["feature_norm", {"type": "conv1d", "channels": [6], "kernel": 3}, {"type": "mlp", "norm": "batch"}],
    ),
}


def network(*names: str, **options: object) -> FusionModel:
    torch.manual_seed(0)
    return fusionkit.build(
        {
            "modalities": {
                name: {"shape": list(CHAINS[name][0]), "encoder": CHAINS[name][1], "aggregator": "lstm", **options}
                for name in names
            },
            "targets": {"mood": {"type": "classification", "classes": ["low", "high"]}},
        }
    )


def batch(*names: str, sizes: tuple[int, ...] = (9, 0, 17, 2)) -> dict[str, Jagged]:
    generator = torch.Generator().manual_seed(1)
    longer = {name: 50 if not CHAINS[name][0] else 1 for name in names}
    return {
        name: Jagged.from_sizes(
            torch.randn(sum(sizes) * longer[name], *CHAINS[name][0], generator=generator, dtype=torch.float64),
            [size * longer[name] for size in sizes],
        )
        for name in names
    }


@pytest.mark.parametrize("chunk", [1, 5, 16])
@pytest.mark.parametrize("name", CHAINS)
def test_a_batch_in_pieces_gives_what_it_gives_at_once(name: str, chunk: int) -> None:
    whole, pieces = network(name).double().eval(), network(name, chunk=chunk).double().eval()
    pieces.load_state_dict(whole.state_dict())
    inputs = batch(name)
    with torch.no_grad():
        expected, found = whole(inputs, unimodal=True), pieces(inputs, unimodal=True)
    assert found.sequences[name].sizes == expected.sequences[name].sizes
    torch.testing.assert_close(found.sequences[name].values, expected.sequences[name].values, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.fused["mood"], expected.fused["mood"], rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 900), min_size=1, max_size=5).filter(any),
    most=st.integers(1, 40),
    window=st.sampled_from([32, 48, 64]),
    encoder=st.sampled_from(["slice", "per_segment", "columns"]),
)
def test_waves_of_any_lengths_have_the_same_spectra_in_pieces(
    sizes: list[int], most: int, window: int, encoder: str
) -> None:
    options = {**SEGMENTS, "window": window, "mode": encoder if encoder != "columns" else "slice"}
    spectra = LogMel((), bands=4, window=window, hop=16) if encoder == "columns" else Spectrogram((), **options)
    waves = Jagged.from_sizes(torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0)).double(), sizes)
    spectra = spectra.double().eval()
    expected = spectra(waves)
    pieces = list(spectra.encode_pieces(waves, most))
    assert [sum(of) for of in zip(*(piece.sizes for piece in pieces), strict=True)] == list(expected.sizes)
    assert max(piece.total for piece in pieces) <= most
    # The logarithm of the floor is where rounding shows most.
    torch.testing.assert_close(torch.cat([p.values for p in pieces]), expected.values, rtol=1e-8, atol=1e-8)


def test_no_encoder_is_given_more_than_a_chunk_at_once_in_evaluation() -> None:
    model, given_at_once = network("faces", chunk=5).double().eval(), []
    model.branch("faces").encoders[0].network.register_forward_pre_hook(
        lambda module, values: given_at_once.append(len(values[0]))
    )
    with torch.inference_mode():
        model(batch("faces"))
    assert given_at_once == [5, 5, 5, 5, 5, 3]
    given_at_once.clear()
    model(batch("faces"))  # where a gradient is wanted everything is kept anyway
    model.train()(batch("faces"))
    assert given_at_once == [28, 28]


def test_where_nobody_says_pieces_hold_eight_million_numbers() -> None:
    assert count_at_once((1, 112, 112)) == 2**23 // (112 * 112) == 668
    assert count_at_once(()) == 2**23
    assert count_at_once((2**12, 2**12)) == 1


def gradients(model: FusionModel, inputs: dict[str, Jagged]) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    terms = model.losses(model(inputs), {"mood": torch.tensor([0, 1, 0, 1])})
    torch.stack(list(terms.values())).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CHAINS)
def test_training_with_activations_computed_again_is_the_same(name: str) -> None:
    kept, again = network(name).double().train(), network(name, recompute=True).double().train()
    again.load_state_dict(kept.state_dict())
    inputs = batch(name)
    expected, found = gradients(kept, inputs), gradients(again, inputs)
    assert expected.keys() == found.keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=0, atol=1e-12)
    for (buffer, value), (_, other) in zip(kept.named_buffers(), again.named_buffers(), strict=True):
        assert torch.equal(value, other), f"{buffer} was moved twice"


@pytest.mark.parametrize(("name", "share"), [("faces", 0.01), ("photographs", 0.8)])
def test_activations_that_are_computed_again_are_not_kept(name: str, share: float) -> None:
    def kept(model: FusionModel) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        inputs = batch(name)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = model.double().train().branch(name).encoders[0](inputs[name])
        for tensor in (inputs[name].values, *model.state_dict().values()):
            sizes.pop(tensor.untyped_storage().data_ptr(), None)
        return sum(sizes.values()) if output.values.requires_grad else -1

    assert kept(network(name, recompute=True)) < share * kept(network(name))


def test_a_batch_norm_that_is_run_again_in_the_backward_pass_counts_once() -> None:
    plain = FeatureNormEncoder((3,)).double().train()
    again = copy.deepcopy(plain)
    again.recompute_activations()
    values = Jagged.from_sizes(torch.randn(6, 3, dtype=torch.float64).requires_grad_(), [6])
    for encoder in (plain, again):
        encoder(values).values.square().sum().backward()
    assert torch.equal(plain.norm.running_mean, again.norm.running_mean)
    # What the counting guards against: torch's own recomputation moves the statistics twice.
    moved = copy.deepcopy(plain)
    recompute(moved.norm, values.values).square().sum().backward()
    once = copy.deepcopy(plain)
    once.norm(values.values)
    assert not torch.equal(moved.norm.running_mean, once.norm.running_mean)
    assert again.norm.momentum == plain.norm.momentum == 0.1


def test_compiling_and_computing_again_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match=r"train.compile does not go with recompute of .+; choose one of them"):
        load_recipe("recipes/quickstart/recipe.yaml", ["train.compile=true", *every_modality("recompute=true")])


def every_modality(option: str) -> list[str]:
    names = load_recipe("recipes/quickstart/recipe.yaml").model.modalities
    return [f"model.modalities.{name}.{option}" for name in names]


def test_without_a_compiler_compiling_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RecipeError, match=r"train.compile: no C\+\+ compiler is on PATH .*; install one"):
        refuse_without_compiler()


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="chunk"):
        load_recipe("recipes/quickstart/recipe.yaml", every_modality("chunk=0"))


COMPILED = """
import copy, torch
from torch._dynamo.utils import counters
import sys
sys.path.insert(0, "tests/models")
from test_long_clips import batch, network, gradients

plain, compiled = network("faces").double().train(), network("faces").double().train()
compiled.load_state_dict(plain.state_dict())
compiled.compile_encoders()
generator = torch.Generator().manual_seed(0)
for turn in range(30):
    sizes = torch.randint(1, 30, (4,), generator=generator).tolist()
    inputs = batch("faces", sizes=tuple(sizes))
    expected, found = gradients(plain, inputs), gradients(compiled, inputs)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-10)
graphs = counters["stats"]["unique_graphs"]
assert 1 <= graphs <= 3, graphs
other = copy.deepcopy(compiled)
with torch.no_grad():
    for parameter in other.parameters():
        parameter.zero_()
inputs = batch("faces")
assert other.eval()(inputs).sequences["faces"].values.abs().sum() == 0, "the copy runs the original's weights"
print("graphs", graphs)
"""


MANY_COMPILED = """
import torch, fusionkit

shapes, compile_with = [], torch.compile

def noted(graph, inputs):
    shapes.extend(tuple(each.shape) for each in inputs if isinstance(each, torch.Tensor) and each.ndim == 4)
    return graph.forward

torch.compile = lambda function: compile_with(function, backend=noted)
sides = range(8, 20)  # more than torch compiles of one code
encoder = {"type": "conv2d", "channels": [2]}
model = fusionkit.build({
    "modalities": {f"face{side}": {"shape": [1, side, side], "encoder": encoder} for side in sides},
    "targets": {"emotion": {"type": "classification", "classes": ["calm", "happy"]}},
}).eval()
model.compile_encoders()
for frames in (5, 7, 9):
    with torch.no_grad():
        model({f"face{side}": torch.zeros(2, frames, 1, side, side) for side in sides})
images = [shape[2:] for shape in shapes if shape[1] == 1 and shape[2] in sides]
assert set(images) == {(side, side) for side in sides}, images
assert max(map(images.count, images)) <= 2, images
"""


def test_no_compiled_encoder_uses_up_the_graphs_of_another() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_compiled_encoders_tolerate_lengths_compute_the_same_and_leave_copies_alone() -> None:
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional"), [("lstm", 1, 0), ("gru", 2, 0), ("lstm", 1, 1), ("gru", 1, 1)]
)
def test_a_recurrent_network_reads_long_sequences_in_pieces_to_the_same_end(
    cell: Literal["lstm", "gru"], layers: int, bidirectional: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = FinalState(cell, 3, 5, layers=layers, dropout=0.0, bidirectional=bool(bidirectional)).double().eval()
    sizes = (7, 1, 8, 4, 12, 3)
    sequence = Jagged.from_sizes(torch.randn(sum(sizes), 3).double(), sizes)
    whole = network.read_padded(sequence)
    monkeypatch.setattr(final_state, "PIECE", 4)
    given: list[tuple[int, ...]] = []
    to_padded = Jagged.to_padded
    monkeypatch.setattr(Jagged, "to_padded", lambda batch: given.append(batch.sizes) or to_padded(batch))
    with torch.inference_mode():
        pieces = network(sequence)
    assert torch.allclose(pieces, whole, rtol=0, atol=1e-12)
    assert given == [(4, 1, 4, 4, 4, 3), (3, 4, 4), (4,)] * (1 + bidirectional)
    given.clear()
    network(sequence)  # gradients may be wanted: what is computed for them is needed as a whole
    assert given == [sizes]


def test_pieces_of_a_known_total_are_put_in_their_places() -> None:
    values = torch.arange(14.0).reshape(7, 2)
    pieces = [(values[:3], (3, 0)), (values[3:6], (1, 2)), (values[6:], (0, 1))]
    for total in (7, None):
        whole = branch._gather((Jagged.from_sizes(part, sizes) for part, sizes in pieces), total)
        assert whole.sizes == (4, 3)
        assert torch.equal(whole.values, values)
