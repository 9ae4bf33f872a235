"""The network, against N0, N1 and N2 restated in NumPy, and in every state its samples can be in."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fusionkit import Jagged, RecipeError, ShapeError, Stream, build, load_recipe
from fusionkit.config.components.registry import ENCODERS, FUSIONS
from fusionkit.config.schema import ModelSpec
from fusionkit.config.shipped_recipes import find_recipe
from fusionkit.config.yaml import write_yaml
from fusionkit.interfaces import Encoder, Fusion
from fusionkit.models.build import FusionModel
from fusionkit.models.inputs import refuse_other_numbers
from fusionkit.models.loss_heads.target_scale import TargetScale
from fusionkit.models.random_inputs import assume_lengths

EPS = 1e-5
CLASSES = ("calm", "happy", "sad")
Spec = dict[str, Any]
Arrays = Mapping[str, np.ndarray]

ENCODED: list[Spec] = [
    {"shape": [4], "encoder": {"type": "mlp", "hidden": [6], "out": 5, "activation": "tanh"}, "aggregator": "mean"},
    {"shape": [3], "encoder": "identity", "aggregator": "last"},
    {"shape": [2, 3], "encoder": {"type": "mlp", "hidden": [4], "out": 3, "activation": "tanh"}, "aggregator": "last"},
    {"shape": [5], "encoder": "identity", "aggregator": "mean"},
    {"shape": [2], "encoder": {"type": "mlp", "hidden": [3], "out": 4, "activation": "tanh"}, "aggregator": "mean"},
]
NETWORKS: dict[str, Spec] = {
    "N0": {"fusion": "concat", "unimodal_heads": False},
    "N1": {"fusion": "concat", "unimodal_heads": True},
    "N2": {"fusion": "mrpn", "unimodal_heads": True},
}
EMOTION: Spec = {"emotion": {"type": "classification", "classes": list(CLASSES)}}
BOTH: Spec = {**EMOTION, "pain": {"type": "regression", "outputs": 2}}


def spec_of(count: int, network: str = "N2", targets: Spec | None = None, **also: Any) -> Spec:
    modalities = {f"m{index}": ENCODED[index] for index in range(count)}
    return {"modalities": modalities, "targets": targets or EMOTION, "fused_hidden": 7, **NETWORKS[network], **also}


def network(spec: Spec, seed: int = 0) -> FusionModel:
    """A network in float64 whose every parameter and statistic is a number of its own."""
    model = build(spec).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in sorted(model.state_dict().items()):
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(drawn.square() + 0.5 if name.endswith("running_var") else drawn)
    for module in model.modules():
        if isinstance(module, TargetScale):
            module.spread.abs_().add_(0.5)
        if hasattr(module, "class_weights"):
            module.class_weights.fill_(1.0)
    return model


def jagged(spec: Spec, name: str, lengths: list[int], seed: int = 0) -> Jagged:
    generator = torch.Generator().manual_seed(seed + sum(map(ord, name)))
    shape = spec["modalities"][name]["shape"]
    samples = [torch.randn(length, *shape, generator=generator, dtype=torch.float64) for length in lengths]
    return Jagged.from_list(samples)


def batch_of(spec: Spec, lengths: list[int] | None = None) -> dict[str, Jagged]:
    return {name: jagged(spec, name, lengths or [2, 1, 3, 1, 2, 4]) for name in spec["modalities"]}


class Reference:
    """N0, N1 and N2 of the paper from their formulas: eqs. (1), (2), (4), (6)-(9)."""

    def __init__(self, model: FusionModel, spec: Spec, training: bool) -> None:
        self.state = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
        self.spec, self.training = spec, training

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.training:
            mean, variance = x.mean(0), x.var(0)
        scaled = (x - mean) / np.sqrt(variance + EPS)
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def feature(self, name: str, samples: list[np.ndarray]) -> np.ndarray:
        rows = []
        for sample in samples:
            x = sample.reshape(len(sample), -1)
            if isinstance(self.spec["modalities"][name]["encoder"], dict):
                hidden = np.tanh(self.dense(x, f"branches.{name}.encoders.0.units.0"))
                x = self.dense(hidden, f"branches.{name}.encoders.0.units.4")
            rows.append(x.mean(0) if self.spec["modalities"][name]["aggregator"] == "mean" else x[-1])
        return self.norm(np.stack(rows), f"branches.{name}.norm")

    def fused(self, features: Arrays) -> np.ndarray:
        concat, bent = "fusion", dict(features)
        if self.spec["fusion"] == "mrpn":
            concat = "fusion.fusion"
            for index, (name, f) in enumerate(features.items()):
                dense = self.dense(f, f"fusion.perceptrons.{index}.dense")
                bent[name] = f + self.norm(1 / (1 + np.exp(-dense)), f"fusion.perceptrons.{index}.norm")
        blocks = [self.norm(f, f"{concat}.norms.{index}") for index, f in enumerate(bent.values())]
        return np.concatenate(blocks, axis=1)

    def scored(self, x: np.ndarray, target: str) -> np.ndarray:
        hidden = np.maximum(self.dense(x, f"heads.{target}.scores.0"), 0)
        return self.dense(self.norm(hidden, f"heads.{target}.scores.2"), f"heads.{target}.scores.3")


def cross_entropy(scores: np.ndarray, classes: np.ndarray) -> float:
    shifted = scores - scores.max(1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-logarithms[np.arange(len(classes)), classes].mean())


def close(given: Tensor | float, reference: Any) -> None:
    value = given.detach().numpy() if isinstance(given, Tensor) else given
    np.testing.assert_allclose(value, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("kind", ["N0", "N1", "N2"])
def test_the_networks_of_the_paper_and_their_losses_are_their_formulas(kind, count, training):
    spec = spec_of(count, kind)
    model = network(spec).train(training)
    reference = Reference(model, spec, training)
    inputs, targets = batch_of(spec), np.array([0, 2, 1, 1, 0, 2])

    output = model(inputs, unimodal=True)
    terms = model.losses(output, {"emotion": torch.tensor(targets)})

    samples = {name: [sample.numpy() for sample in value.unbind()] for name, value in inputs.items()}
    features = {name: reference.feature(name, of) for name, of in samples.items()}
    scores = reference.scored(reference.fused(features), "emotion")
    expected = {"fused/emotion": cross_entropy(scores, targets)}
    close(output.fused["emotion"], scores)
    for name, f in features.items():
        close(output.features[name], f)
        if kind != "N0":
            alone = reference.dense(f, f"branches.{name}.heads.emotion.scores")
            close(output.unimodal[name]["emotion"], alone)
            expected[f"{name}/emotion"] = cross_entropy(alone, targets)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        close(terms[name], value)


@pytest.mark.parametrize("kind", ["N0", "N1", "N2"])
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "with missing modalities and targets"])
def test_gradients_agree_with_finite_differences(kind, missing):
    spec = spec_of(2, kind, BOTH, fused_hidden=4)
    model = network(spec).train()
    lengths = {"m0": [2, 0, 1, 3, 1] if missing else [2, 1, 1, 3, 1], "m1": [1, 2, 0, 0, 2] if missing else [1] * 5}
    inputs = {name: jagged(spec, name, sizes) for name, sizes in lengths.items()}
    nan = float("nan")
    pain = torch.tensor([[1.0, 2.0], [nan, nan], [0.5, nan], [1.0, 1.0], [0.0, 3.0]] if missing else [[1.0, 2.0]] * 5)
    targets = {"emotion": torch.tensor([0, 1, -1, 2, 1] if missing else [0, 1, 0, 2, 1]), "pain": pain.double()}
    values = tuple(value.values.clone().requires_grad_() for value in inputs.values())
    parameters = tuple(parameter for _, parameter in sorted(model.named_parameters()))

    def total(*given: Tensor) -> Tensor:
        batch = {name: inputs[name].with_values(given[index]) for index, name in enumerate(inputs)}
        return torch.stack(list(model.losses(model(batch), targets).values())).sum()

    assert torch.autograd.gradcheck(total, (*values, *parameters), atol=1e-6)


@pytest.mark.parametrize("present", [[1, 0, 2, 0, 1, 1], [0, 0, 0, 1, 0, 0], [0] * 6], ids=["some", "one", "nobody"])
@pytest.mark.parametrize("hidden", [None, 4], ids=["dense unit", "scoring"])
def test_absent_samples_enter_neither_a_loss_nor_a_statistic_of_their_branch(present, hidden):
    spec = spec_of(2, "N2", unimodal_hidden=hidden)
    model, alone = network(spec).train(), network(spec).train()
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    complete, partial = jagged(spec, "m0", [1] * 6), jagged(spec, "m1", present)
    output = model({"m0": complete, "m1": partial})
    terms = model.losses(output, {"emotion": targets})
    where = torch.tensor(present) > 0

    assert output.present["m1"].tolist() == where.tolist()
    assert not output.features["m1"][~where].any()
    assert not output.unimodal["m1"]["emotion"][~where].any()
    if where.any():
        expected = alone({"m0": complete[where], "m1": partial[where]})
        torch.testing.assert_close(output.features["m1"][where], expected.features["m1"])
        close(
            terms["m1/emotion"],
            alone.losses(expected, {"emotion": targets[where]})["m1/emotion"].detach().numpy(),
        )
    else:
        assert terms["m1/emotion"].item() == 0.0
    for name, tensor in model.branch("m1").named_buffers():
        torch.testing.assert_close(tensor, dict(alone.branch("m1").named_buffers())[name])
    sum(terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_modality_that_is_left_out_is_missing_for_everyone():
    spec = spec_of(3)
    model, inputs = network(spec).eval(), batch_of(spec)
    without = {name: value for name, value in inputs.items() if name != "m1"}
    nobody = {**inputs, "m1": Jagged.empty(6, (3,), like=inputs["m0"].values)}
    left_out, empty, not_wanted = model(without), model(nobody), model(inputs, modalities=("m0", "m2"))
    for output in (empty, not_wanted):
        torch.testing.assert_close(output.fused["emotion"], left_out.fused["emotion"], rtol=0, atol=0)
    assert not left_out.present["m1"].any()
    assert not torch.allclose(left_out.fused["emotion"], model(inputs).fused["emotion"])


def test_the_placeholder_of_a_missing_modality_is_learned():
    spec = spec_of(2, "N1")
    model = network(spec).train()
    inputs = {"m0": jagged(spec, "m0", [1] * 6), "m1": jagged(spec, "m1", [1, 0, 2, 0, 1, 1])}
    model.losses(model(inputs), {"emotion": torch.tensor([0, 1, 2, 0, 1, 2])})["fused/emotion"].backward()
    gradients = [placeholder.grad for placeholder in model.placeholders.values()]
    assert gradients[0] is None or not gradients[0].any()
    assert gradients[1].any()
    assert model.parts()["fusion"] is not None
    in_fusion = {id(parameter) for parameter in model.parts()["fusion"].parameters()}
    assert {id(placeholder) for placeholder in model.placeholders.values()} <= in_fusion


def test_parts_hold_every_parameter_once():
    model = network(spec_of(3, "N2", BOTH))
    held = [id(parameter) for part in model.parts().values() for parameter in part.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    assert set(model.parts()) == {"m0", "m1", "m2", "fusion"}


def test_missing_targets_are_ignored_and_never_nan():
    spec = spec_of(2, "N1", BOTH)
    model = network(spec).eval()
    inputs = batch_of(spec)
    output = model(inputs, unimodal=True)
    nan = float("nan")
    pain = torch.tensor([[nan, nan], [1.0, 2.0], [nan, nan], [3.0, 1.0], [nan, nan], [nan, nan]]).double()
    terms = model.losses(output, {"emotion": torch.tensor([-1, 2, -1, 1, -1, -1]), "pain": pain})
    known = [1, 3]
    some = model({name: value[known] for name, value in inputs.items()}, unimodal=True)
    expected = model.losses(some, {"emotion": torch.tensor([2, 1]), "pain": pain[known]})
    assert set(terms) == {f"{branch}/{target}" for branch in ("fused", "m0", "m1") for target in ("emotion", "pain")}
    for name, value in terms.items():
        close(value, expected[name].detach().numpy())


def test_a_batch_in_which_no_target_is_known_has_zero_losses_and_zero_gradients():
    spec = spec_of(2, "N2", BOTH)
    model = network(spec).train()
    targets = {"emotion": torch.full((6,), -1), "pain": torch.full((6, 2), float("nan")).double()}
    terms = model.losses(model(batch_of(spec)), targets)
    assert all(term.item() == 0.0 for term in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6).flatmap(
        lambda sizes: st.tuples(
            st.just(sizes),
            st.lists(st.sampled_from(range(len(sizes))), min_size=1, max_size=6),
        )
    )
)
def test_in_evaluation_a_sample_never_depends_on_its_batch_mates(drawn):
    sizes, chosen = drawn
    spec = spec_of(2, "N2", BOTH, unimodal_hidden=3)
    model = network(spec).eval()
    inputs = {f"m{index}": jagged(spec, f"m{index}", [size[index] for size in sizes]) for index in range(2)}
    whole = model(inputs, unimodal=True)
    some = model({name: value[chosen] for name, value in inputs.items()}, unimodal=True)
    for target in ("emotion", "pain"):
        torch.testing.assert_close(some.fused[target], whole.fused[target][chosen], rtol=1e-12, atol=1e-12)
        for name in inputs:
            expected = whole.unimodal[name][target][chosen]
            torch.testing.assert_close(some.unimodal[name][target], expected, rtol=1e-12, atol=1e-12)


def test_the_order_of_the_modalities_in_a_mapping_of_inputs_does_not_matter():
    spec = spec_of(3)
    model, inputs = network(spec).eval(), batch_of(spec)
    expected = model(inputs).fused["emotion"]
    for order in permutations(inputs):
        assert torch.equal(model({name: inputs[name] for name in order}).fused["emotion"], expected)


@pytest.mark.parametrize("kind", ["N1", "N2"])
def test_permuted_modalities_with_permuted_weights_are_the_same_network(kind):
    spec = spec_of(3, kind)
    order = ["m2", "m0", "m1"]
    permuted = {**spec, "modalities": {name: spec["modalities"][name] for name in order}}
    model, other = network(spec).eval(), build(permuted).double().eval()
    state = model.state_dict()
    widths = [model.branch(name).out_features for name in model.modalities]
    columns = dict(zip(model.modalities, torch.arange(sum(widths)).split(widths), strict=True))
    place = {index: model.modalities.index(name) for index, name in enumerate(order)}
    moved = {}
    for key in other.state_dict():
        parts = key.split(".")
        source = [str(place[int(part)]) if part.isdigit() and parts[0] == "fusion" else part for part in parts]
        moved[key] = state[".".join(source)]
    first = "heads.emotion.scores.0.weight"
    moved[first] = state[first][:, torch.cat([columns[name] for name in order])]
    other.load_state_dict(moved)
    inputs = batch_of(spec)
    torch.testing.assert_close(other(inputs).fused["emotion"], model(inputs).fused["emotion"], rtol=1e-12, atol=1e-12)


def test_tensors_stand_for_one_element_each_or_for_sequences_of_one_length():
    spec = spec_of(3)
    model = network(spec).eval()
    one = {name: jagged(spec, name, [1] * 4) for name in spec["modalities"]}
    three = {name: jagged(spec, name, [3] * 4) for name in spec["modalities"]}
    expected = model({**three, "m0": one["m0"]}).fused["emotion"]
    tensors = {"m0": one["m0"].values, "m1": three["m1"].to_padded(), "m2": three["m2"].to_padded()}
    assert torch.equal(model(tensors).fused["emotion"], expected)


def test_inputs_that_do_not_fit_are_refused_by_name():
    spec = spec_of(3)
    model, inputs = network(spec).eval(), batch_of(spec)
    for wrong, message in [
        ({"mm0": inputs["m0"]}, "inputs: unknown modality 'mm0'; did you mean 'm0'"),
        ({}, "inputs: no modality is given; known: m0, m1, m2"),
        ({"m0": inputs["m1"]}, r"m0: elements of shape \(3,\), the model was built for \(4,\)"),
        ({"m0": torch.zeros(6, 3)}, r"m0: a tensor of shape \(6, 3\) is neither \(batch, \*\(4,\)\) nor"),
        ({"m0": inputs["m0"], "m1": inputs["m1"][:3]}, "batches differ in size: {'m0': 6, 'm1': 3}"),
    ]:
        with pytest.raises(ShapeError, match=message):
            model(wrong)
    with pytest.raises(ShapeError, match="modalities: unknown modality 'm9'"):
        model(inputs, modalities=("m0", "m9"))


@pytest.mark.parametrize("wide", [True, False])
def test_numbers_of_another_precision_are_refused_by_name(wide):
    spec = spec_of(2)
    model = network(spec)
    inputs = {name: value.to_padded()[:, 0] for name, value in batch_of(spec, [1, 1]).items()}

    with pytest.raises(ShapeError, match=r"m0: numbers are torch.float\d\d, .*; convert them with \.to\(torch.float"):
        model(inputs | {"m0": inputs["m0"].float()}) if wide else model.float()(inputs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.bool, torch.complex128])
@pytest.mark.parametrize("encoder", ["identity", "mlp", "conv1d", "feature_norm"])
def test_numbers_that_the_first_encoder_does_not_take_are_refused_by_name(encoder, dtype):
    model = build({"modalities": {"m": {"shape": [4], "encoder": encoder}}, "targets": {"y": "regression"}})
    with pytest.raises(ShapeError) as caught:
        model.eval()({"m": torch.zeros(2, 3, 4, dtype=dtype)})
    remedy = "convert them as for the training"
    if dtype == torch.int16:
        remedy = "divide 16-bit sound by 32768, and convert other numbers as for the training"
    said = f"m: numbers are {dtype}, its first encoder takes torch.float32; {remedy}"
    if dtype.is_complex:  # converting them would drop imaginary parts
        said = "m: complex numbers; give real and imaginary part side by side, as torch.view_as_real(values) does"
    assert str(caught.value) == said
    model({"m": torch.zeros(2, 0, 4, dtype=dtype)})  # a missing modality has no numbers


def test_half_precision_is_refused_but_under_autocast():
    model = build({"modalities": {"m": {"shape": [4], "encoder": "mlp"}}, "targets": {"y": "regression"}})
    halves = {"m": torch.randn(2, 3, 4).bfloat16()}
    with pytest.raises(ShapeError, match=r"m: numbers are torch.bfloat16, those of the network torch.float32"):
        model.eval()(halves)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(halves).fused["y"].isfinite().all()
        with pytest.raises(ShapeError, match=r"m: numbers are torch.float64"):
            model({"m": halves["m"].double()})
    assert model.bfloat16()(halves).fused["y"].dtype == torch.bfloat16


def test_an_encoder_that_does_not_say_what_it_takes_is_given_all_but_another_precision():
    for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.bool):
        refuse_other_numbers("m", dtype, None, torch.zeros(1))
    with pytest.raises(ShapeError, match=r"m: numbers are torch\.float64, those of the network torch\.float32"):
        refuse_other_numbers("m", torch.float64, None, torch.zeros(1))


def test_an_encoder_of_ones_own_may_take_token_ids(toys):
    words = {"shape": [], "encoder": "toy_tokens"}
    model = build({"modalities": {"words": words}, "targets": {"y": "regression"}}).eval()
    ids = torch.tensor([[3, 1, 2], [0, 0, 4]])
    output = model({"words": ids})
    assert torch.equal(output.sequences["words"].values, model.branch("words").encoders[0].table.weight[ids.flatten()])
    stream = Stream(model, window={"words": 3})
    stream.push("words", ids[1])
    torch.testing.assert_close(stream.predict().fused["y"], output.fused["y"][1:])


def test_targets_that_do_not_fit_are_refused_by_name():
    spec = spec_of(2, "N1", BOTH)
    model = network(spec).eval()
    output = model(batch_of(spec))
    with pytest.raises(ShapeError, match=r"targets: \['pain'\] missing"):
        model.losses(output, {"emotion": torch.zeros(6, dtype=torch.int64)})
    with pytest.raises(ShapeError, match="targets: 'emotion' has 5 samples, the output has 6"):
        model.losses(output, {"emotion": torch.zeros(5, dtype=torch.int64), "pain": torch.zeros(6, 2)})
    with pytest.raises(ShapeError, match="unknown target 'emotio': did you mean 'emotion'"):
        model.losses(output, {"emotio": torch.zeros(6, dtype=torch.int64), "pain": torch.zeros(6, 2)})


@pytest.mark.parametrize("kind", ["classification", "ordinal"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.tensor([0, 1, 2, 3, 0, 0]), "targets: 'y': 3 is no class; its 3 classes count from 0: low, mid, high"),
        (torch.zeros(6), "targets: 'y': the numbers are torch.float32; give indices of the classes low, mid, high"),
        (torch.zeros(6, dtype=torch.int32), "targets: 'y': the numbers are torch.int32"),
        (torch.zeros(6, 1, dtype=torch.int64), "targets: 'y': one class per sample is expected, given shape (6, 1)"),
        (torch.tensor(1), "targets: 'y': a number per sample is expected, given a single one"),
    ],
)
def test_targets_that_are_no_classes_are_refused_by_name(kind, given, said):
    spec = spec_of(2, "N1", {"y": {"type": kind, "classes": ["low", "mid", "high"]}})
    model = network(spec).eval()
    output = model(batch_of(spec))
    with pytest.raises(ShapeError, match=re.escape(said)):
        model.losses(output, {"y": given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(6, 2, dtype=torch.int64), "the numbers are torch.int64; convert them with .to(torch.float32)"),
        (torch.zeros(6, 3), "2 numbers per sample are expected, given shape (6, 3)"),
        (torch.zeros(6), "2 numbers per sample are expected, given shape (6,)"),
    ],
)
def test_targets_that_are_not_the_numbers_of_a_head_are_refused_by_name(given, said):
    spec = spec_of(2, "N1", {"y": {"type": "regression", "outputs": 2}})
    model = network(spec).eval()
    output = model(batch_of(spec))
    with pytest.raises(ShapeError, match=re.escape(f"targets: 'y': {said}")):
        model.losses(output, {"y": given})


def test_what_is_of_another_type_than_any_input_target_or_recipe_is_refused_in_words():
    """In a process of its own, for here types are checked before our code is reached."""
    script = """
        import torch
        from fusionkit import FusionKitError, build

        mood = {"type": "classification", "classes": ["calm", "happy"]}
        model = build({"modalities": {"m": {"shape": [3], "encoder": "mlp"}}, "targets": {"y": mood}})
        output = model({"m": torch.zeros(2, 3)})
        tried = [lambda: model([1]), lambda: model(torch.zeros(2, 3)), lambda: model({1: torch.zeros(2, 3)})]
        tried += [lambda: model.losses(output, {"y": [0, 1]}), lambda: build(3), lambda: build(None)]
        for each in tried:
            try:
                each()
            except FusionKitError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    wanted = "inputs: a mapping from modality to tensor is expected, with keys of m; given "
    assert lines[:3] == [f"{wanted}list", f"{wanted}Tensor", "inputs: unknown modality 1; known: m"]
    assert lines[3] == "targets: 'y': a tensor is expected, given list"
    expected = "a path or the name of a shipped recipe is expected, given "
    assert [line.partition(";")[0] for line in lines[4:]] == [f"{expected}3", f"{expected}null"]


def test_a_shipped_name_stands_for_its_recipe_unless_a_file_has_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("quickstart/recipe") == load_recipe(find_recipe("quickstart/recipe"))
    assert build("quickstart/recipe").modalities == ("motion", "sound", "posture")
    with pytest.raises(RecipeError, match="is an experiment, not a recipe; run it with `fusionkit experiment`"):
        build("quickstart/experiment")
    with pytest.raises(RecipeError, match="quickstart/recip: is neither a file nor a shipped recipe; did you mean"):
        load_recipe("quickstart/recip")
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "recipe").write_text(
        write_yaml({"schema": 1, "data": {"dataset": "synthetic"}, "model": spec_of(2)})
    )
    assert build("quickstart/recipe").modalities == ("m0", "m1")


def test_uni_modal_scores_are_given_in_training_and_when_asked_for():
    spec = spec_of(2, "N1")
    model, inputs = network(spec), batch_of(spec)
    assert set(model.train()(inputs).unimodal) == {"m0", "m1"}
    assert model.train()(inputs, unimodal=False).unimodal == {}
    assert model.eval()(inputs).unimodal == {}
    assert set(model.eval()(inputs, unimodal=True, modalities=("m1",)).unimodal) == {"m1"}
    assert model.eval()(inputs, unimodal=True, fused=False).fused == {}
    assert network(spec_of(2, "N0")).eval()(inputs, unimodal=True).unimodal == {}


def test_weights_of_samples_scale_their_losses_in_their_term_only():
    spec = spec_of(2, "N1")
    model = network(spec).eval()
    output = model(batch_of(spec), unimodal=True)
    targets = {"emotion": torch.tensor([0, 2, -1, 1, 0, 2])}
    plain = model.losses(output, targets)
    weighted = model.losses(output, targets, {"m0/emotion": torch.full((6,), 3.0).double()})
    close(weighted["m0/emotion"], 3 * plain["m0/emotion"].item())
    assert weighted["fused/emotion"].item() == plain["fused/emotion"].item()


def test_the_hook_replaces_what_is_fused_and_leaves_the_branches_alone():
    spec = spec_of(2, "N1")
    model, inputs = network(spec).eval(), batch_of(spec)

    def drop_m1(features, present):
        return features, {**present, "m1": torch.zeros_like(present["m1"])}

    hooked = model(inputs, unimodal=True, replace=drop_m1)
    without = model({"m0": inputs["m0"]})
    whole = model(inputs, unimodal=True)
    torch.testing.assert_close(hooked.fused["emotion"], without.fused["emotion"], rtol=0, atol=0)
    assert torch.equal(hooked.unimodal["m1"]["emotion"], whole.unimodal["m1"]["emotion"])
    assert torch.equal(hooked.features["m1"], whole.features["m1"])


@pytest.fixture
def toys():
    """Components that show what the model gives them; gone after the test."""
    seen: dict[str, Any] = {}

    class Reader(Fusion):
        """Remembers the sequences."""

        reads_sequences = True

        def __init__(self, in_features: Mapping[str, int], sequence_features: Mapping[str, int]) -> None:
            super().__init__()
            seen["widths"] = (dict(in_features), dict(sequence_features))
            self.out_features = sum(in_features.values())

        def forward(self, features, present, sequences=None):
            seen["sequences"], seen["present"] = sequences, present
            return torch.cat(list(features.values()), dim=1)

    class Halving(Encoder):
        """Keeps every second element and drops the last one, so short samples become empty."""

        def __init__(self, in_shape: tuple[int, ...]) -> None:
            super().__init__()
            self.out_shape = in_shape

        def forward(self, elements: Jagged) -> Jagged:
            assert elements.total > 0
            return Jagged.from_list([sample[1::2] for sample in elements.unbind()])

    class Tokens(Encoder):
        """Vectors of token ids."""

        def __init__(self, in_shape: tuple[int, ...]) -> None:
            super().__init__()
            self.table, self.out_shape = nn.Embedding(5, 4), (*in_shape, 4)

        def forward(self, elements: Jagged) -> Jagged:
            return elements.with_values(self.table(elements.values))

    before = {registry: dict(registry._components) for registry in (ENCODERS, FUSIONS) if registry.names()}
    FUSIONS.register("toy_reader")(Reader)
    ENCODERS.register("toy_halving")(Halving)
    ENCODERS.register("toy_tokens")(Tokens)
    yield seen
    for registry, components in before.items():
        registry._components.clear()
        registry._components.update(components)


def test_a_fusion_that_reads_sequences_is_given_their_widths_and_the_encoded_sequences(toys):
    spec = spec_of(2, fusion="toy_reader")
    model = network(spec).eval()
    model({"m0": jagged(spec, "m0", [2, 0]), "m1": jagged(spec, "m1", [1, 3])})
    assert toys["widths"] == ({"m0": 5, "m1": 3}, {"m0": 5, "m1": 3})
    assert toys["sequences"]["m0"].sizes == (2, 0)
    assert toys["sequences"]["m0"].element_shape == (5,)
    assert toys["present"]["m0"].tolist() == [True, False]
    assert toys["present"]["m1"] is None


def test_samples_that_an_encoder_leaves_without_elements_are_absent(toys):
    spec = spec_of(2)
    spec["modalities"]["m1"] = {**ENCODED[1], "encoder": ["toy_halving", "toy_halving", "identity"]}
    model = network(spec).eval()
    output = model({"m0": jagged(spec, "m0", [1, 1]), "m1": jagged(spec, "m1", [4, 3])})
    assert output.present["m1"].tolist() == [True, False]
    output = model({"m0": jagged(spec, "m0", [1, 1]), "m1": jagged(spec, "m1", [1, 1])})
    assert output.present["m1"].tolist() == [False, False]
    assert not output.features["m1"].any()


@pytest.mark.parametrize("name", ["type", "values", "items", "forward", "float", "keys", "state_dict"])
def test_modalities_and_targets_may_have_the_names_of_attributes(name):
    spec = {"modalities": {name: ENCODED[0], "m1": ENCODED[1]}, "targets": {name: EMOTION["emotion"]}}
    model = network(spec).train()
    output = model({name: torch.zeros(2, 4).double(), "m1": torch.zeros(2, 3).double()})
    assert set(model.losses(output, {name: torch.tensor([0, 1])})) == {f"fused/{name}", f"{name}/{name}", f"m1/{name}"}
    model.load_state_dict(network(spec, seed=1).state_dict())


def test_a_spec_a_mapping_a_recipe_and_its_path_build_the_same_network(tmp_path):
    model = spec_of(2)
    recipe = {"schema": 1, "data": {"dataset": "synthetic"}, "model": model}
    path = tmp_path / "recipe.yaml"
    path.write_text(write_yaml(recipe), encoding="utf-8")
    built = [build(source) for source in (model, ModelSpec.model_validate_json(_json(model)), recipe, path, str(path))]
    built.append(build(load_recipe(path)))
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in built]
    assert all(each == shapes[0] for each in shapes)


def _json(value: Spec) -> str:
    import json

    return json.dumps(value)


def test_everything_that_cannot_be_wired_is_reported_once_with_its_place():
    spec = spec_of(3)
    spec["modalities"] = {**spec["modalities"], "m0": {"encoder": "identity"}, "m2": {"shape": [2, 3]}}
    spec["targets"] = {"emotion": {"type": "classification", "classes": ["only"]}, "pain": "regression"}
    with pytest.raises(RecipeError) as error:
        build(spec)
    places = [problem.place for problem in error.value.problems]
    assert sorted(places) == ["model.modalities.m0", "model.modalities.m2", "model.targets.emotion"]
    text = str(error.value)
    assert "the shape of an element is not known; state `shape:` or give the dataset" in text
    assert "the encoder 'identity' gives elements of shape (2, 3), an aggregator reads vectors; add an encoder" in text


def test_dropout_acts_in_training_only():
    spec = spec_of(2, "N1", dropout=0.5)
    model, inputs = network(spec), batch_of(spec)
    assert (model.train()(inputs).dropout["m0"] == 0).any()
    assert not model.eval()(inputs).dropout


class Waits(TorchDispatchMode):
    """Counts how often the host asks a tensor for its number, for which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("missing", [False, True])
def test_loss_terms_do_not_ask_the_device_one_after_another(missing):
    model = network(spec_of(3, targets=BOTH)).train()
    shapes = [(f"m{index}", ENCODED[index]) for index in range(3)]
    inputs = {name: Jagged.from_list(list(torch.ones(4, 2, *of["shape"]).double())) for name, of in shapes}
    if missing:
        inputs["m0"] = Jagged.from_sizes(inputs["m0"].values[:6], (2, 2, 2, 0))
    output = model(inputs)
    with Waits() as waits:
        terms = model.losses(output, {"emotion": torch.tensor([0, 1, 2, 0]), "pain": torch.ones(4, 2).double()})
    assert len(terms) == 8
    assert waits.count == 0


@pytest.mark.parametrize(
    ("shape", "encoder", "aggregator", "length"),
    [
        ([4], "mlp", "mean", 1),
        ([4], ["feature_norm", "identity"], "last", 1),
        ([4], "mlp", "lstm", 100),
        ([4], ["mlp", "conv1d"], "mean", 100),
        ([1, 8, 8], {"type": "conv2d", "channels": [4]}, "mean", 10),
        ([], {"type": "log_mel", "bands": 4}, "mean", 48_000),
    ],
)
def test_one_element_is_assumed_where_encoders_and_aggregator_suit_it(shape, encoder, aggregator, length):
    modalities = {"signal": {"shape": shape, "encoder": encoder, "aggregator": aggregator}}
    model = build({"modalities": modalities, "targets": {"age": "regression"}})

    assert assume_lengths(model) == {"signal": length}
    assert assume_lengths(model, {"signal": 7}) == {"signal": 7}
